// Core dumps: a process that has turned them off leaves none.
#include "base/core_dump.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

// In a child that has these limits: turns core dumps off, checks that and crashes.
static void crash(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = { soft, hard };
	signal(SIGABRT, SIG_DFL);
	if (setrlimit(RLIMIT_CORE, &limit) != 0)
		_exit(1);
	pl_core_dump_prevent();
	if (getrlimit(RLIMIT_CORE, &limit) != 0)
		_exit(2);
	if ((limit.rlim_cur != 1 || limit.rlim_max != 1) && prctl(PR_GET_DUMPABLE) != 0)
		_exit(3);
	abort();
}

static void no_core_is_dumped_whatever_the_limit_was(void **state)
{
	struct rlimit mine;
	int status;
	assert_return_code(getrlimit(RLIMIT_CORE, &mine), 0);
	const rlim_t soft[] = { mine.rlim_max, 0, 0 }, hard[] = { mine.rlim_max, mine.rlim_max, 0 };
	for (size_t i = 0; i < sizeof(soft) / sizeof(soft[0]); i++) {
		pid_t pid = fork();
		assert_return_code(pid, 0);
		if (pid == 0)
			crash(soft[i], hard[i]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
		assert_false(WCOREDUMP(status));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(no_core_is_dumped_whatever_the_limit_was) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
