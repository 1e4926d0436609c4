// See sockfile.h. Invariant: only the file that was created here is removed at the end.
#include "base/sockfile.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

struct pl_sockfile {
	char *path;
	int fd;
	bool visible;
	struct stat made; // the file that we bound
};

int pl_sockfile_address(const char *path, struct sockaddr_un *addr_r, struct pl_error *err)
{
	*addr_r = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) > PL_SOCKFILE_PATH_MAX)
		return pl_error_set(err, PL_EINVAL, "the path of a socket may have at most %d bytes",
		                    PL_SOCKFILE_PATH_MAX);
	strcpy(addr_r->sun_path, path);
	return 0;
}

// Whether a process listens on the path; if not, the leftover socket is removed.
static int clear_path(const struct sockaddr_un *addr, struct pl_error *err)
{
	struct stat there;
	if (lstat(addr->sun_path, &there) != 0)
		return errno == ENOENT ? 0 : pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
	if (!S_ISSOCK(there.st_mode))
		return pl_error_set(err, PL_EINVAL, "the file exists and is not a socket");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return pl_error_set(err, PL_EINTERNAL, "socket: %s", strerror(errno));
	int failed = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 ? errno : 0;
	close(fd);
	if (failed != ECONNREFUSED)
		return pl_error_set(err, PL_EBUSY, "another daemon is listening on it");
	return unlink(addr->sun_path) == 0 ? 0 : pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
}

// The directory of the socket may be a temporary one (/run/plist): it is created if its
// parent exists.
static void make_directory(const char *path)
{
	char *directory = pl_strdup(path);
	char *slash = strrchr(directory, '/');
	if (slash && slash != directory) {
		*slash = '\0';
		if (mkdir(directory, 0755) != 0 && errno != EEXIST)
			pl_debug("%s: %s", directory, strerror(errno));
	}
	free(directory);
}

static int bind_path(struct pl_sockfile *sockfile, mode_t mode, int backlog, struct pl_error *err)
{
	struct sockaddr_un addr;
	if (pl_sockfile_address(sockfile->path, &addr, err) != 0)
		return err->code;
	make_directory(sockfile->path);
	if (clear_path(&addr, err) != 0)
		return err->code;
	sockfile->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sockfile->fd < 0)
		return pl_error_set(err, PL_EINTERNAL, "socket: %s", strerror(errno));
	// bind applies the mode of the descriptor, minus the umask, to the file: at no
	// moment do more users have access.
	if (fchmod(sockfile->fd, mode) != 0 ||
	    bind(sockfile->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
	sockfile->visible = lstat(sockfile->path, &sockfile->made) == 0;
	if (!sockfile->visible || chmod(sockfile->path, mode) != 0 || listen(sockfile->fd, backlog) != 0)
		return pl_error_set(err, PL_EUNAVAIL, "%s", strerror(errno));
	return 0;
}

struct pl_sockfile *pl_sockfile_new(const char *path, mode_t mode, int backlog, struct pl_error *err)
{
	struct pl_sockfile *sockfile = pl_calloc(1, sizeof(*sockfile));
	sockfile->path = pl_strdup(path);
	sockfile->fd = -1;
	if (bind_path(sockfile, mode, backlog, err) != 0) {
		pl_error_prefix(err, "%s", path);
		pl_sockfile_free(&sockfile);
	}
	return sockfile;
}

int pl_sockfile_fd(const struct pl_sockfile *sockfile)
{
	return sockfile->fd;
}

void pl_sockfile_hide(struct pl_sockfile *sockfile)
{
	struct stat there;
	if (sockfile->visible && lstat(sockfile->path, &there) == 0 &&
	    there.st_dev == sockfile->made.st_dev && there.st_ino == sockfile->made.st_ino)
		unlink(sockfile->path);
	sockfile->visible = false;
}

void pl_sockfile_free(struct pl_sockfile **sockfile_p)
{
	struct pl_sockfile *sockfile = *sockfile_p;
	if (!sockfile)
		return;
	*sockfile_p = NULL;
	pl_sockfile_hide(sockfile);
	if (sockfile->fd >= 0)
		close(sockfile->fd);
	free(sockfile->path);
	free(sockfile);
}
