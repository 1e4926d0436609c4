// See core_dump.h.
//
// Passwords of databases and of the broker, private keys and the records themselves are
// in memory: in the arenas of the configuration, and in copies of libpq, librdkafka and
// GnuTLS that MADV_DONTDUMP does not reach. So it is all or nothing. The limit of one
// byte is too small for any file, and to the kernel it also means that a program named by
// core_pattern is not started, which a limit of 0 does not. PR_SET_DUMPABLE would do the
// same, but keep debuggers of the daemon's own user away as well, so it is only for a
// process that may not set that limit, because its hard limit is 0.
#include "base/core_dump.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/faults.h"
#include "base/log.h"

void pl_core_dump_prevent(void)
{
	const struct rlimit none = { .rlim_cur = 1, .rlim_max = 1 };

	if (setrlimit(RLIMIT_CORE, &none) == 0 || prctl(PR_SET_DUMPABLE, 0) == 0)
		return;
	pl_faults_set_risk(PL_RISK_CORE_DUMPS, true);
	pl_warning("core dumps cannot be turned off: %s", strerror(errno));
}
