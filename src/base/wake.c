// A wake-up: an eventfd.
//
// A commit of a worker signals the relay; a stop signals the relay, the applier and their
// sessions. A stop is signalled and never drained, so that every later wait sees it as
// well.
// Threads: any (see the header).
#include "base/wake.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"

struct pl_wake {
	int fd;
};

struct pl_wake *pl_wake_new(void)
{
	struct pl_wake *wake = pl_malloc(sizeof(*wake));
	wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (wake->fd < 0)
		pl_die("eventfd: %s", strerror(errno));
	return wake;
}

void pl_wake_free(struct pl_wake **wake_p)
{
	if (*wake_p == NULL)
		return;
	close((*wake_p)->fd);
	free(*wake_p);
	*wake_p = NULL;
}

void pl_wake_ring(struct pl_wake *wake)
{
	// EAGAIN means that the counter is full, so the descriptor is readable already.
	// errno is preserved for signal handlers.
	int saved = errno;
	uint64_t one = 1;
	while (write(wake->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = saved;
}

void pl_wake_drain(struct pl_wake *wake)
{
	uint64_t count;
	while (read(wake->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

int pl_wake_fd(const struct pl_wake *wake)
{
	return wake->fd;
}
