// For tests that run an event loop: turns it until a condition holds, and fails after
// ten seconds.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"

typedef bool await_condition(void *arg);

struct await {
	struct pl_loop *loop;
	await_condition *condition;
	void *arg;
	void (*turn)(void *arg); // called once per turn, like the program's; may be NULL
	void *turn_arg;
	int64_t deadline_us;
	bool seen;
};

static inline int await_turn(void *arg)
{
	struct await *await = arg;

	if (await->turn)
		await->turn(await->turn_arg);
	await->seen = await->condition(await->arg);
	if (await->seen || pl_mono_us() > await->deadline_us)
		pl_loop_stop(await->loop);
	return 10;
}

static inline bool await_for(struct pl_loop *loop, int64_t us, void (*turn)(void *arg), void *turn_arg,
                             await_condition *condition, void *arg)
{
	struct await await = { loop, condition, arg, turn, turn_arg, pl_mono_us() + us, false };

	pl_loop_run(loop, await_turn, &await);
	return await.seen;
}

#define await_until(loop, condition, arg) assert_true(await_for(loop, 10000000, NULL, NULL, condition, arg))
