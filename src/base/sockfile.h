// A listening socket that has its name in the file system, and who removes what.
//
// Stands under ops/control (the operators' socket) and ops/daemon (where an NGINX on the same machine finds the workers).
// Threads: any; the descriptor may be accepted on by several.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include "base/error.h"

#define PL_SOCKFILE_PATH_MAX 107 // bytes that the path of a socket may have

struct pl_sockfile;

// Listens at `path`, not blocking, with this mode, and at no moment with a wider one. A socket that nobody answers at is replaced, what is no socket is
// not touched; the directory is made if only it is missing. NULL with PL_EINVAL, PL_EBUSY (somebody answers there), PL_EUNAVAIL or PL_EINTERNAL,
// the text beginning with the path.
struct pl_sockfile *pl_sockfile_new(const char *path, mode_t mode, int backlog, struct pl_error *err);
// The address of a path, for who listens there and who connects. 0 or PL_EINVAL: the path is too long.
int pl_sockfile_address(const char *path, struct sockaddr_un *addr_r, struct pl_error *err);
int pl_sockfile_fd(const struct pl_sockfile *sockfile);
// Nobody finds it any more; who has connected can still be accepted. A file that another process has put there meanwhile stays.
void pl_sockfile_hide(struct pl_sockfile *sockfile);
// Hides and closes it.
void pl_sockfile_free(struct pl_sockfile **sockfile);
