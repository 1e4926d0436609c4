// Memory: arenas of many sizes, alignment, and what a reset keeps and frees.
#include "base/mem.h"

#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void pieces_are_zeroed_aligned_and_apart(void **state)
{
	struct pl_arena *arena = pl_arena_new(256);
	unsigned char *pieces[500];
	size_t sizes[500];
	for (int i = 0; i < 500; i++) {
		sizes[i] = (size_t)(i * 7 % 300);
		pieces[i] = pl_arena_alloc(arena, sizes[i]);
		assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(pieces[i][k], 0);
		memset(pieces[i], i & 0xFF, sizes[i]);
	}
	// If two pieces overlapped, the later one would have overwritten the earlier
	// one.
	for (int i = 0; i < 500; i++)
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(pieces[i][k], i & 0xFF);
	pl_arena_free(&arena);
	assert_null(arena);
}

static void an_empty_piece_has_an_address_of_its_own(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	void *a = pl_arena_alloc(arena, 0), *b = pl_arena_alloc(arena, 0);
	assert_ptr_not_equal(a, b);
	pl_arena_free(&arena);
}

static void a_piece_may_be_larger_than_a_block(void **state)
{
	struct pl_arena *arena = pl_arena_new(128);
	char *before = pl_arena_strdup(arena, "before");
	char *big = pl_arena_alloc(arena, 1 << 20);
	memset(big, 'x', 1 << 20);
	char *after = pl_arena_strdup(arena, "after");
	assert_string_equal(before, "before");
	assert_string_equal(after, "after");
	// The rest of the block before it is still used.
	assert_in_range(labs((long)(after - before)), 1, 128);
	pl_arena_free(&arena);
}

static void a_reset_arena_is_zeroed_again_and_takes_no_new_block(void **state)
{
	struct pl_arena *arena = pl_arena_new(4096);
	char *first = pl_arena_alloc(arena, 1000);
	memset(first, 'x', 1000);
	pl_arena_alloc(arena, 100000);
	for (int i = 0; i < 50; i++) {
		pl_arena_reset(arena);
		char *again = pl_arena_alloc(arena, 1000);
		assert_ptr_equal(again, first);
		for (int k = 0; k < 1000; k++)
			assert_int_equal(again[k], 0);
		memset(again, 'y', 1000);
	}
	pl_arena_free(&arena);
}

// Batch after batch needs about the same.
static void an_arena_with_large_blocks_uses_them_again(void **state)
{
	enum { BLOCK = 8192, N = 20 };
	struct pl_arena *arena = pl_arena_new(BLOCK);
	char *before[N];
	for (int i = 0; i < N; i++)
		before[i] = memset(pl_arena_alloc(arena, BLOCK / 5), 'x', BLOCK / 5);
	size_t size = pl_arena_size(arena);
	for (int round = 0; round < 3; round++) {
		int same = 0;
		pl_arena_alloc(arena, 10 * BLOCK); // has a block of its own, which is freed
		pl_arena_reset(arena);
		assert_int_equal(pl_arena_size(arena), BLOCK);
		for (int i = 0; i < N; i++) {
			char *again = pl_arena_alloc(arena, BLOCK / 5);
			for (int j = 0; j < N; j++)
				same += again == before[j];
			assert_int_equal(again[0] | again[BLOCK / 5 - 1], 0);
			memset(again, 'y', BLOCK / 5);
		}
		assert_int_equal(same, N);
		assert_int_equal(pl_arena_size(arena), size);
	}
	pl_arena_free(&arena);
}

#ifdef __GLIBC__
static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

// Neither after a while without need nor when asked does it keep them.
static void blocks_that_are_not_needed_are_freed(void **state)
{
	enum { BLOCK = 8192, N = 100 };
	struct pl_arena *arena = pl_arena_new(BLOCK);
	for (int asked = 0; asked < 2 && !PL_MEM_CHECKED; asked++) { // the sanitizer counts otherwise
		size_t empty = in_use();
		for (int i = 0; i < N; i++)
			pl_arena_alloc(arena, BLOCK / 5);
		pl_arena_reset(arena);
		assert_true(in_use() > empty + N * BLOCK / 10);
		if (asked)
			pl_arena_give_back(arena);
		for (int i = 0; !asked && i < 32; i++)
			pl_arena_reset(arena);
		assert_true(in_use() < empty + BLOCK);
	}
	pl_arena_free(&arena);
}
#endif

#if defined(__GLIBC__) && !PL_MEM_CHECKED
static size_t resident_mib(void)
{
	FILE *statm = fopen("/proc/self/statm", "r");
	size_t all, resident = 0;
	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%zu %zu", &all, &resident), 2);
	fclose(statm);
	return (resident * (size_t)sysconf(_SC_PAGESIZE)) >> 20;
}

// The watchdog may look just when a request needs its memory. What is freed after that
// lies between other blocks, and the process does not grow any more.
static void memory_that_was_in_use_at_the_last_trim_is_given_back_later(void **state)
{
	enum { BLOCKS = 30000, SIZE = 1000 };
	static char *blocks[BLOCKS];
	size_t before, full;
	int calls = 0;

	pl_mem_trim();
	before = resident_mib();
	for (int i = 0; i < BLOCKS; i++)
		memset(blocks[i] = pl_malloc(SIZE), 1, SIZE);
	char *last = pl_malloc(SIZE); // malloc cannot shrink its heap below it
	full = resident_mib();
	assert_true(full >= before + 28);
	for (int i = 0; i < 20; i++) // a long time in use, so that it looks rarely
		pl_mem_trim();
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	assert_true(resident_mib() >= full - 1); // malloc alone gives nothing back
	while (resident_mib() > before + 2) {
		assert_true(++calls <= 64);
		pl_mem_trim();
	}
	free(last);
}
#endif

static void texts_are_copied_whole_or_up_to_n(void **state)
{
	struct pl_arena *arena = pl_arena_new(64);
	assert_string_equal(pl_arena_strdup(arena, ""), "");
	assert_string_equal(pl_arena_strndup(arena, "price", 3), "pri");
	assert_string_equal(pl_arena_strndup(arena, "price", 99), "price");
	assert_string_equal(pl_arena_printf(arena, "%s=%d%%", "bedrooms", 3), "bedrooms=3%");
	char *wide = pl_arena_printf(arena, "%5000d", 7);
	assert_int_equal(strlen(wide), 5000);
	char *copy = pl_strndup("price", 2);
	assert_string_equal(copy, "pr");
	free(copy);
	pl_arena_free(&arena);
}

// The sanitizers' own malloc would end the program; it must return NULL like malloc.
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

// Runs fn in a child process and returns the signal that ended it; 0 if there was none.
static int fatal_signal(void (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// volatile: the compiler must not analyse it and warn.
static volatile size_t huge = SIZE_MAX;

static void ask_for_too_much(void)
{
	pl_malloc(huge / 2);
}
static void ask_for_an_overflow(void)
{
	pl_calloc(huge / 4 + 2, 4);
} // 2^64 + 4, which is 4
static void ask_an_arena_for_too_much(void)
{
	struct pl_arena *arena = pl_arena_new(0);
	pl_arena_alloc(arena, huge - 8);
}
static void ask_an_arena_for_an_overflow(void)
{
	struct pl_arena *arena = pl_arena_new(0);
	pl_arena_array(arena, huge / 4 + 2, 4);
}
static void ask_for_little(void)
{
	free(pl_malloc(0));
}

static void a_failed_allocation_ends_the_program(void **state)
{
	assert_int_equal(fatal_signal(ask_for_too_much), SIGABRT);
	assert_int_equal(fatal_signal(ask_for_an_overflow), SIGABRT);
	assert_int_equal(fatal_signal(ask_an_arena_for_too_much), SIGABRT);
	assert_int_equal(fatal_signal(ask_an_arena_for_an_overflow), SIGABRT);
	assert_int_equal(fatal_signal(ask_for_little), 0);
}

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
static void a_write_past_a_piece_is_detected_by_the_sanitizer(void **state)
{
	struct pl_arena *arena = pl_arena_new(4096);
	char *piece = pl_arena_alloc(arena, 24);
	pl_arena_alloc(arena, 24);
	assert_false(__asan_address_is_poisoned(piece + 23));
	assert_true(__asan_address_is_poisoned(piece + 24));
	pl_arena_reset(arena);
	assert_true(__asan_address_is_poisoned(piece));
	pl_arena_free(&arena);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
		cmocka_unit_test(an_empty_piece_has_an_address_of_its_own),
		cmocka_unit_test(a_piece_may_be_larger_than_a_block),
		cmocka_unit_test(a_reset_arena_is_zeroed_again_and_takes_no_new_block),
		cmocka_unit_test(an_arena_with_large_blocks_uses_them_again),
#ifdef __GLIBC__
		cmocka_unit_test(blocks_that_are_not_needed_are_freed),
#endif
#if defined(__GLIBC__) && !PL_MEM_CHECKED
		cmocka_unit_test(memory_that_was_in_use_at_the_last_trim_is_given_back_later),
#endif
		cmocka_unit_test(texts_are_copied_whole_or_up_to_n),
		cmocka_unit_test(a_failed_allocation_ends_the_program),
#ifdef WITH_ASAN
		cmocka_unit_test(a_write_past_a_piece_is_detected_by_the_sanitizer),
#endif
	};
	return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
