// See file.h.
//
// The file is opened with O_NONBLOCK, because opening a FIFO without a writer would
// block, and checked through its descriptor, so that it cannot be replaced in between.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 65536

static const char *kind_of(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISFIFO(mode))
		return "a FIFO";
	if (S_ISSOCK(mode))
		return "a socket";
	return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

// A file may grow while it is read, so the size is checked again.
static int read_all(int fd, size_t max, struct pl_buf *text, struct pl_error *err)
{
	size_t from = text->len;

	for (;;) {
		ssize_t n;

		pl_buf_reserve(text, PIECE);
		n = read(fd, text->data + text->len, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
		text->len += (size_t)n;
		text->data[text->len] = '\0';
		if (text->len - from > max)
			return pl_error_set(err, PL_EINVAL, "is larger than %zu bytes", max);
		if (n == 0)
			return 0;
	}
}

// Whether nobody can read or change the file but those who may know a secret.
static int check_private(const struct stat *st, struct pl_error *err)
{
	unsigned mode = st->st_mode & 0777;
	uid_t user = geteuid();

	if (user != 0 && st->st_uid != user && st->st_uid != 0)
		return pl_error_set(
			err, PL_EINVAL,
			"belongs to another user; it must belong to root or to the user that runs "
			"this program");
	if ((mode & 027) != 0 || ((mode & 040) != 0 && st->st_uid != 0))
		return pl_error_set(
			err, PL_EINVAL,
			"holds secrets but has mode %04o; run chmod 600 on it (640 if root owns it)", mode);
	return 0;
}

static int read_file(const char *file, size_t max, bool private, struct pl_buf *text, struct pl_error *err)
{
	int fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), rc = 0;
	size_t from = text->len;
	struct stat st;

	if (fd < 0 && errno == ENXIO) // a socket, or a device that is not there
		return pl_error_set(err, PL_EINVAL, "is not a regular file");
	if (fd < 0)
		return pl_error_set(err, PL_ENOTFOUND, "%s", strerror(errno));
	if (fstat(fd, &st) < 0)
		rc = pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
	else if (!S_ISREG(st.st_mode))
		rc = pl_error_set(err, PL_EINVAL, "is %s, not a regular file", kind_of(st.st_mode));
	else if (st.st_size > 0 && (size_t)st.st_size > max)
		rc = pl_error_set(err, PL_EINVAL, "is larger than %zu bytes", max);
	else
		rc = private ? check_private(&st, err) : 0;
	if (rc == 0)
		rc = read_all(fd, max, text, err);
	close(fd);
	if (rc && text->data) {
		text->len = from;
		text->data[from] = '\0';
	}
	return rc;
}

int pl_file_read(const char *file, size_t max, struct pl_buf *text, struct pl_error *err)
{
	return read_file(file, max, false, text, err);
}

int pl_file_read_private(const char *file, size_t max, struct pl_buf *text, struct pl_error *err)
{
	return read_file(file, max, true, text, err);
}
