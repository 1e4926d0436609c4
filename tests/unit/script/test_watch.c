// The watch: another thread finds Lua calls that do not return, with their script and
// line.
#include <lauxlib.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "script/call.h"
#include "script/script_private.h"
#include "script/watch.h"
#include "world.h"

#define LIMIT_US 20000

struct stage {
	struct pl_config *config;
	struct pl_vm *vm;
	pthread_t thread;
	sem_t inside, leave;
	bool spins;
	_Atomic long spinning; // the thread that does, as the kernel numbers it
	enum pl_call_end end;
	// reported by the watch
	int began, sightings, fatal, returned;
	struct pl_sighting last;
};

// In place of a C function that hangs: no hook is called, and nothing checks the
// budget.
static int block(lua_State *L)
{
	struct stage *stage = lua_touserdata(L, lua_upvalueindex(1));

	sem_post(&stage->inside);
	while (sem_wait(&stage->leave) != 0)
		;
	return 0;
}

static int spin(lua_State *L)
{
	struct stage *stage = lua_touserdata(L, lua_upvalueindex(1));

	atomic_store(&stage->spinning, syscall(SYS_gettid));
	while (atomic_load(&stage->spinning))
		;
	return 0;
}

static int body(lua_State *L)
{
	static const char text[] = "local block = ...\n\nblock()\n";
	struct stage *stage = lua_touserdata(L, 1);

	if (luaL_loadbufferx(L, text, strlen(text), "@handlers/hangs.lua", "t") != LUA_OK)
		return lua_error(L);
	lua_pushlightuserdata(L, stage);
	lua_pushcclosure(L, stage->spins ? spin : block, 1);
	lua_call(L, 1, 0);
	return 0;
}

static void *call(void *arg)
{
	struct stage *stage = arg;
	struct pl_budget budget = pl_call_budget(&stage->vm->limits);
	struct pl_error err;

	stage->vm->place = "handlers/hangs.lua";
	stage->end = pl_call(stage->vm, body, stage, &budget, &err);
	return NULL;
}

static void sighted(const struct pl_sighting *sighting, void *arg)
{
	struct stage *stage = arg;

	stage->began += sighting->began;
	stage->fatal += sighting->fatal;
	stage->returned += sighting->returned;
	stage->sightings++;
	stage->last = *sighting;
}

static void look(struct stage *stage)
{
	nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL); // elapsed time is what is measured
	pl_watch_look(sighted, stage);
}

static void open_stage(struct stage *stage)
{
	static const struct world_file file = { "handlers/a.lua", "return { handle = function() end }" };

	*stage = (struct stage){ .config = world_config(&file, 1) };
	stage->config->handler_limits.wall_us = LIMIT_US;
	stage->config->stuck_after_us = 50000;
	stage->config->abort_after_us = 400000;
	stage->vm = world_vm(stage->config, PL_CONTEXT_HANDLER);
	sem_init(&stage->inside, 0, 0);
	sem_init(&stage->leave, 0, 0);
}

static void close_stage(struct stage *stage)
{
	pl_vm_free(&stage->vm);
	pl_config_unref(&stage->config);
	sem_destroy(&stage->inside);
	sem_destroy(&stage->leave);
}

static void call_that_does_not_return_is_found_with_its_script_and_line(void **state)
{
	struct stage stage;
	int64_t began_us;

	open_stage(&stage);
	assert_int_equal(pthread_create(&stage.thread, NULL, call, &stage), 0);
	sem_wait(&stage.inside);
	began_us = pl_mono_us();
	while (stage.began == 0 && pl_mono_us() - began_us < 10000000)
		look(&stage);
	assert_int_equal(stage.began, 1);
	assert_true(pl_mono_us() - began_us >= 5 * LIMIT_US); // not before several times its limit
	assert_string_equal(stage.last.script, "handlers/hangs.lua");
	look(&stage);
	assert_string_equal(stage.last.where, "handlers/hangs.lua:3");
	assert_int_equal(stage.last.limit_us, LIMIT_US);
	assert_int_equal(stage.fatal, 0);
	while (stage.fatal == 0 && pl_mono_us() - began_us < 10000000)
		look(&stage);
	assert_true(stage.last.lasted_us >= 400000);
	assert_int_equal(stage.began, 1); // reported once
	sem_post(&stage.leave);
	pthread_join(stage.thread, NULL);
	assert_int_equal(stage.returned, 0);
	look(&stage);
	look(&stage);
	assert_int_equal(stage.returned, 1); // reported once, too
	close_stage(&stage);
}

static void call_that_ends_in_time_is_not_reported(void **state)
{
	struct stage stage;

	open_stage(&stage);
	for (int i = 0; i < 5; i++) {
		sem_post(&stage.leave);
		assert_int_equal(pthread_create(&stage.thread, NULL, call, &stage), 0);
		look(&stage);
		pthread_join(stage.thread, NULL);
	}
	look(&stage);
	assert_int_equal(stage.sightings, 0);
	close_stage(&stage);
}

static void process_that_was_stopped_blames_no_script(void **state)
{
	struct stage stage;

	open_stage(&stage);
	stage.config->stuck_after_us = 1500000;
	assert_int_equal(pthread_create(&stage.thread, NULL, call, &stage), 0);
	sem_wait(&stage.inside);
	look(&stage);
	nanosleep(&(struct timespec){ .tv_sec = 2 }, NULL); // nobody has checked in the meantime
	look(&stage);
	assert_int_equal(stage.sightings, 0);
	sem_post(&stage.leave);
	pthread_join(stage.thread, NULL);
	close_stage(&stage);
}

// Stops a thread of this process as if it were not given a processor. Returns the process
// that does, which lets it go when its standard input ends.
static pid_t stop_thread(long thread, int *input_r)
{
	int input[2], ready[2];
	char byte;
	pid_t child;

	assert_int_equal(pipe(input) | pipe(ready), 0);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	child = fork();
	if (child == 0) {
		close(input[1]);
		if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) == 0 &&
		    ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) == 0 &&
		    waitpid((pid_t)thread, NULL, __WALL) == thread && write(ready[1], "s", 1) == 1 &&
		    read(input[0], &byte, 1) == 0)
			ptrace(PTRACE_DETACH, thread, NULL, NULL);
		_exit(0);
	}
	close(input[0]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*input_r = input[1];
	return child;
}

// It may be in the middle of changing its stack, and go on while that is read.
static void line_of_a_thread_that_gets_no_processor_is_not_read(void **state)
{
	struct stage stage;
	pid_t child;
	int input;

	open_stage(&stage);
	stage.spins = true;
	assert_int_equal(pthread_create(&stage.thread, NULL, call, &stage), 0);
	while (!atomic_load(&stage.spinning))
		sched_yield();
	child = stop_thread(atomic_load(&stage.spinning), &input);
	look(&stage);
	for (int64_t began_us = pl_mono_us(); stage.began == 0 && pl_mono_us() - began_us < 10000000;)
		look(&stage);
	assert_int_equal(stage.began, 1);
	assert_string_equal(stage.last.where, "");
	close(input);
	assert_int_equal(waitpid(child, NULL, 0), child);
	for (int64_t began_us = pl_mono_us(); !stage.last.where[0] && pl_mono_us() - began_us < 10000000;)
		look(&stage);
	assert_string_equal(stage.last.where, "handlers/hangs.lua:3"); // it works, and does not return
	atomic_store(&stage.spinning, 0);
	pthread_join(stage.thread, NULL);
	close_stage(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(call_that_does_not_return_is_found_with_its_script_and_line),
		cmocka_unit_test(call_that_ends_in_time_is_not_reported),
		cmocka_unit_test(process_that_was_stopped_blames_no_script),
		cmocka_unit_test(line_of_a_thread_that_gets_no_processor_is_not_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
