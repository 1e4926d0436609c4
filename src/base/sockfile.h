// A listening UNIX socket with a path in the file system, and the removal of that path.
//
// Used by ops/control (the control socket) and ops/daemon (where an NGINX on the same
// machine reaches the workers).
// Threads: any; several threads may accept on the descriptor.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include "base/error.h"

#define PL_SOCKFILE_PATH_MAX 107 // maximum length of the path of a socket, in bytes

struct pl_sockfile;

// Listens on `path`, non-blocking, with the given mode and never with a wider one. A
// socket that nobody listens on is replaced; another kind of file is not touched; the
// directory is created if only its last component is missing. Returns NULL with
// PL_EINVAL, PL_EBUSY (another process listens on it), PL_EUNAVAIL or PL_EINTERNAL; the
// text begins with the path.
struct pl_sockfile *pl_sockfile_new(const char *path, mode_t mode, int backlog, struct pl_error *err);
// The address of a path, for listening and connecting. Returns 0, or PL_EINVAL if the
// path is too long.
int pl_sockfile_address(const char *path, struct sockaddr_un *addr_r, struct pl_error *err);
int pl_sockfile_fd(const struct pl_sockfile *sockfile);
// Removes the path: no further client can connect, but connections that are waiting can
// still be accepted. A file that another process has put there in the meantime stays.
void pl_sockfile_hide(struct pl_sockfile *sockfile);
// Removes the path and closes the socket.
void pl_sockfile_free(struct pl_sockfile **sockfile_p);
