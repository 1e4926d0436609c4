// See keyring_file.h.
//
// The new text is written to "<file>.new", which is created exclusively, and so
// serves as the lock. It gets the owner and mode of the old file. Threads: any; used by
// the tool only.
#include "auth/keyring_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define FILE_MAX ((size_t)32 << 20)

static const char header[] =
	"# API keys of plist: id, SHA-256, principal, roles, created, expires. plist-admin keys changes\n"
	"# this file; SIGHUP makes the daemons read it.\n";

static int read_old(struct pl_keyring_file *file, bool create, struct pl_error *err)
{
	struct pl_error own = { 0 };
	int rc = pl_file_read_private(file->path, FILE_MAX, &file->text, &own);

	if (rc == PL_ENOTFOUND && create && access(file->path, F_OK) != 0 && errno == ENOENT) {
		pl_buf_adds(&file->text, header);
		rc = 0;
	}
	if (rc == 0)
		rc = pl_keyring_parse(file->arena, file->text.data, &file->ring, &own);
	return rc == 0 ? 0 : pl_error_set(err, rc, "%s: %s", file->path, own.text);
}

int pl_keyring_file_open(struct pl_keyring_file *file, struct pl_arena *arena, const char *path, bool create,
                         struct pl_error *err)
{
	*file = (struct pl_keyring_file){ .arena = arena };
	file->path = pl_arena_strdup(file->arena, path);
	file->fresh = pl_arena_printf(file->arena, "%s.new", path);
	file->fd = open(file->fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = 0, code = errno;
	if (file->fd < 0)
		rc = pl_error_set(
			err, code == EEXIST ? PL_EBUSY : PL_EUNAVAIL, "%s: %s%s", file->fresh, strerror(code),
			code == EEXIST ? ": another change is running; if none is, remove the file" : "");
	else
		rc = read_old(file, create, err);
	if (rc != 0 && file->fd >= 0)
		pl_keyring_file_abandon(file);
	return rc;
}

static void end(struct pl_keyring_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	pl_buf_fini(&file->text);
}

void pl_keyring_file_abandon(struct pl_keyring_file *file)
{
	unlink(file->fresh);
	end(file);
}

static void print_key(struct pl_buf *buf, const struct pl_api_key *key)
{
	char hash[PL_SHA256_HEX], time[PL_TIME_TEXT_MAX];

	pl_buf_printf(buf, "%s %s %s ", key->id, pl_sha256_hex(key->sha256, hash), key->identity.principal);
	for (int i = 0; i < key->identity.roles.n; i++)
		pl_buf_printf(buf, "%s%s", i > 0 ? "," : "", key->identity.roles.names[i]);
	pl_buf_printf(buf, "%s %s ", key->identity.roles.n == 0 ? "-" : "",
	              pl_clock_format_time(key->created_us, time));
	pl_buf_printf(buf, "%s\n", key->expires_us ? pl_clock_format_time(key->expires_us, time) : "-");
}

void pl_keyring_file_add(struct pl_keyring_file *file, const struct pl_api_key *key)
{
	if (file->text.len > 0 && file->text.data[file->text.len - 1] != '\n')
		pl_buf_addc(&file->text, '\n');
	print_key(&file->text, key);
}

// Replaces the line with this number, from 1, by `text`.
static void put_line(struct pl_keyring_file *file, int line, const char *text)
{
	struct pl_buf changed = { 0 };
	const char *at = file->text.data;

	for (int i = 1; i < line; i++)
		at = strchr(at, '\n') + 1;
	size_t len = strcspn(at, "\n");
	pl_buf_add(&changed, file->text.data, (size_t)(at - file->text.data));
	pl_buf_adds(&changed, text);
	pl_buf_adds(&changed, at + len + (at[len] == '\n'));
	pl_buf_fini(&file->text);
	file->text = changed;
}

void pl_keyring_file_remove(struct pl_keyring_file *file, int line)
{
	put_line(file, line, "");
}

void pl_keyring_file_replace(struct pl_keyring_file *file, int line, const struct pl_api_key *key)
{
	struct pl_buf text = { 0 };

	print_key(&text, key);
	put_line(file, line, text.data);
	pl_buf_fini(&text);
}

static int write_all(int fd, const struct pl_buf *text)
{
	for (size_t done = 0; done < text->len;) {
		ssize_t n = write(fd, text->data + done, text->len - done);
		if (n < 0 && errno != EINTR)
			return -1;
		done += n > 0 ? (size_t)n : 0;
	}
	return fsync(fd);
}

// Gives the new file the owner and mode of the old one, if there is one.
static int keep_owner(const struct pl_keyring_file *file)
{
	struct stat st;

	if (stat(file->path, &st) != 0)
		return 0;
	if (fchmod(file->fd, st.st_mode & 0777) != 0)
		return -1;
	return st.st_uid == geteuid() && st.st_gid == getegid() ? 0 : fchown(file->fd, st.st_uid, st.st_gid);
}

int pl_keyring_file_commit(struct pl_keyring_file *file, struct pl_error *err)
{
	int rc = 0;

	if (write_all(file->fd, &file->text) != 0 || keep_owner(file) != 0 ||
	    rename(file->fresh, file->path) != 0) {
		rc = pl_error_set(err, PL_EUNAVAIL, "%s: %s", file->path, strerror(errno));
		unlink(file->fresh);
	}
	end(file);
	return rc;
}
