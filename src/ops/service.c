// See service.h. The protocol is a datagram for each state, so no library is needed.
//
// The watchdog thread (ops/watchdog) sees calls into Lua that hang. What hangs elsewhere,
// in a library or for a lock, is seen here: a worker that turns takes a sample of itself
// several times a second.
#include "ops/service.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/faults.h"
#include "base/log.h"
#include "ops/ops_private.h"
#include "ops/stats.h"

// The service manager then believes that this process hangs, and ends it.
static void tell_unsent(const char *state)
{
	static struct pl_log_limit limit;
	int failed = errno;
	pl_faults_lost(PL_LOSS_SERVICE_MESSAGE);
	if (pl_log_limit_ok(&limit, 60 * 1000000))
		pl_warning("service: %s was not sent to the service manager at %s: %s", state,
		           getenv("NOTIFY_SOCKET"), strerror(failed));
}

void pl_service_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, strlen(path));
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr, len) < 0)
		tell_unsent(state);
	close(fd);
}

int64_t pl_service_interval_us(void)
{
	const char *period = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	if (!period || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	long long us = strtoll(period, NULL, 10);
	return us > 0 ? us / 2 : 0; // as sd_watchdog_enabled(3) recommends
}

void pl_service_alive(struct pl_daemon *daemon)
{
	int64_t age_us = pl_stats_age_us(daemon->stats);
	if (age_us < pl_service_interval_us())
		pl_service_notify("WATCHDOG=1");
	else
		pl_err("service: a worker has done nothing for %.1f s; unless it goes on, the service "
		       "manager will end this process (WatchdogSec)",
		       (double)age_us / 1e6);
}
