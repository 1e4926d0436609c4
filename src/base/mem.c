// Memory: the one place that checks allocations (failure aborts), and arenas.
//
// An arena is a list of blocks, newest first. Memory is cut from the newest block; an
// allocation larger than a block gets its own block behind it, so that the rest of the
// newest one is not wasted. Freed blocks of the usual size are kept by the thread for its
// next arenas, up to SPARE_MAX: every request has an arena, and a block is larger than
// what malloc caches. Arenas with blocks of another size, which hold a batch at a time,
// keep their own for the next one: malloc would give such blocks back to the system.
// Invariants: allocations are zeroed and aligned for any type; `used` of a block is a
// multiple of that alignment. Under AddressSanitizer, the unused part of each block is
// poisoned and allocations are separated, so that overflows are detected.
// Threads: an arena belongs to one thread at a time.
#include "base/mem.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

#if PL_MEM_CHECKED
#include <sanitizer/asan_interface.h>
#define ARENA_GAP            16
#define arena_poison(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define arena_unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define ARENA_GAP            0
#define arena_poison(p, n)   ((void)0)
#define arena_unpoison(p, n) ((void)0)
#endif

#define ARENA_ALIGN         alignof(max_align_t)
#define ARENA_BLOCK_DEFAULT 4096
// bytes; malloc has freed pieces of up to this at hand, which calloc does not take (glibc
// 2.36)
#define AT_HAND_MAX         1024
#define SPARE_MAX           256 // blocks of a thread: 1 MiB
#define IDLE_MAX            32  // resets after which an arena's blocks that were not needed are freed
#define TRIM_GROWTH         ((size_t)8 << 20)
#define TRIM_PAUSE_MAX      64

struct pl_arena {
	struct block *blocks; // the newest first: the one that pieces are cut from
	struct block *kept;   // by the last reset
	size_t block_size;
	int idle; // resets since a second block was last needed
};

struct block {
	struct block *next;
	size_t size, used;     // of data[]
	struct pl_arena arena; // where this is its first block
	alignas(max_align_t) unsigned char data[];
};

void *pl_malloc(size_t size)
{
	void *p = malloc(size ? size : 1);
	if (p == NULL)
		pl_die("out of memory: %zu bytes", size);
	return p;
}

void *pl_calloc(size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes))
		pl_die("out of memory: %zu times %zu bytes", n, size);
	if (bytes <= AT_HAND_MAX)
		return memset(pl_malloc(bytes), 0, bytes);
	void *p = calloc(n, size);
	if (p == NULL)
		pl_die("out of memory: %zu times %zu bytes", n, size);
	return p;
}

void *pl_realloc(void *p, size_t size)
{
	void *q = realloc(p, size ? size : 1);
	if (q == NULL)
		pl_die("out of memory: %zu bytes", size);
	return q;
}

char *pl_strdup(const char *s)
{
	return pl_strndup(s, strlen(s));
}

char *pl_strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *copy = pl_malloc(len + 1);
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

// ---- giving back

// Resident pages of the process; 0: unknown.
static size_t resident(void)
{
	char text[128];
	size_t pages = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	const char *blank = strchr(text, ' '); // before it: all pages, also those not resident
	if (blank != NULL)
		pages = strtoull(blank + 1, NULL, 10);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

void pl_mem_trim(void)
{
#ifdef __GLIBC__
	static size_t lowest, least;  // ever; after the last time, or smaller if it has shrunk since
	static int pause = 1, waited; // calls
	size_t now = resident(), after;

	if (now < least || least == 0)
		least = now;
	if (now < lowest || lowest == 0)
		lowest = now;
	if (now < least + TRIM_GROWTH && (now < lowest + TRIM_GROWTH || ++waited < pause))
		return;
	malloc_trim(0);
	after = resident();
	// What was in use a moment ago may be free now, so it tries again soon, and less
	// and less often as long as that gives little back.
	if (now > after + TRIM_GROWTH / 4)
		pause = 1;
	else if (pause < TRIM_PAUSE_MAX)
		pause *= 2;
	waited = 0;
	least = after;
#endif
}

void pl_mem_give_back(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

// ---- spare blocks, of each thread its own

struct spares {
	struct block *blocks;
	int n;
};

static pthread_key_t spares_key; // only for its destructor
static pthread_once_t spares_once = PTHREAD_ONCE_INIT;
static _Thread_local struct spares spares;
static _Thread_local bool spares_end_known;

static void spares_free(void *arg)
{
	struct spares *own = arg;
	for (struct block *block = own->blocks, *next; block != NULL; block = next) {
		next = block->next;
		arena_unpoison(block->data, block->size);
		free(block);
	}
	*own = (struct spares){ .n = SPARE_MAX }; // whatever else ends in this thread keeps nothing
}

static void spares_begin(void)
{
	if (pthread_key_create(&spares_key, spares_free) != 0)
		pl_die("no thread-specific keys left");
}

static struct block *spare_take(void)
{
	struct block *block = spares.blocks;
	if (block != NULL) {
		spares.blocks = block->next;
		spares.n--;
	}
	return block;
}

static bool spare_keep(struct block *block)
{
	if (spares.n >= SPARE_MAX)
		return false;
	if (!spares_end_known) {
		pthread_once(&spares_once, spares_begin);
		if (pthread_setspecific(spares_key, &spares) != 0)
			return false;
		spares_end_known = true;
	}
	block->next = spares.blocks;
	spares.blocks = block;
	spares.n++;
	return true;
}

// ---- arenas

static struct block *block_new(size_t size)
{
	if (size > SIZE_MAX - sizeof(struct block))
		pl_die("out of memory: %zu bytes", size);
	struct block *block = size == ARENA_BLOCK_DEFAULT ? spare_take() : NULL;
	if (block == NULL)
		block = pl_malloc(sizeof(*block) + size);
	block->next = NULL;
	block->size = size;
	block->used = 0;
	arena_poison(block->data, size);
	return block;
}

static void block_free(struct block *block)
{
	if (block->size == ARENA_BLOCK_DEFAULT && spare_keep(block))
		return;
	arena_unpoison(block->data, block->size);
	free(block);
}

struct pl_arena *pl_arena_new(size_t block)
{
	size_t size = block ? block : ARENA_BLOCK_DEFAULT;
	if (size < 8 * ARENA_ALIGN)
		size = 8 * ARENA_ALIGN;
	struct block *first = block_new(size);
	first->arena = (struct pl_arena){ .blocks = first, .block_size = size };
	return &first->arena;
}

static struct block *first_block(struct pl_arena *arena)
{
	return (struct block *)((char *)arena - offsetof(struct block, arena));
}

size_t pl_arena_size(const struct pl_arena *arena)
{
	size_t bytes = 0;
	for (const struct block *block = arena->blocks; block != NULL; block = block->next)
		bytes += block->size;
	return bytes;
}

static void free_blocks(struct block **list)
{
	for (struct block *block = *list, *next; block != NULL; block = next) {
		next = block->next;
		block_free(block);
	}
	*list = NULL;
}

// Takes the first block out of the arena's list. It is the last one, apart from large
// ones.
static struct block *take_first(struct pl_arena *arena)
{
	struct block *first = first_block(arena), **at = &arena->blocks;
	while (*at != first)
		at = &(*at)->next;
	*at = first->next;
	first->next = NULL;
	return first;
}

void pl_arena_free(struct pl_arena **arena_p)
{
	struct pl_arena *arena = *arena_p;
	if (arena == NULL)
		return;
	*arena_p = NULL;
	struct block *first = take_first(arena);
	free_blocks(&arena->blocks);
	free_blocks(&arena->kept);
	block_free(first); // and the arena with it
}

void pl_arena_give_back(struct pl_arena *arena)
{
	free_blocks(&arena->kept);
}

// Whether the arena keeps the block for itself.
static bool is_kept(const struct pl_arena *arena, const struct block *block)
{
	return block->size == arena->block_size && block->size != ARENA_BLOCK_DEFAULT;
}

void pl_arena_reset(struct pl_arena *arena)
{
	struct block *first = take_first(arena);
	if (arena->blocks != NULL)
		arena->idle = 0;
	else if (++arena->idle == IDLE_MAX)
		free_blocks(&arena->kept);
	for (struct block *block = arena->blocks, *next; block != NULL; block = next) {
		next = block->next;
		if (!is_kept(arena, block)) {
			block_free(block);
			continue;
		}
		arena_poison(block->data, block->size);
		block->next = arena->kept;
		arena->kept = block;
	}
	arena->blocks = first;
	first->used = 0;
	arena_poison(first->data, first->size);
}

// An allocation with its own block, inserted behind the newest one.
static void *alloc_big(struct pl_arena *arena, size_t size)
{
	struct block *block = block_new(size);
	block->used = size;
	block->next = arena->blocks->next;
	arena->blocks->next = block;
	return block->data;
}

static void *cut(struct pl_arena *arena, size_t room)
{
	struct block *block = arena->blocks;
	if (room > block->size - block->used) {
		// An allocation larger than a quarter of a block would waste too much of
		// it.
		if (room > arena->block_size / 4)
			return alloc_big(arena, room);
		block = arena->kept;
		if (block != NULL) {
			arena->kept = block->next;
			block->used = 0;
		} else {
			block = block_new(arena->block_size);
		}
		block->next = arena->blocks;
		arena->blocks = block;
	}
	void *p = block->data + block->used;
	block->used += room;
	return p;
}

void *pl_arena_alloc(struct pl_arena *arena, size_t size)
{
	if (size > SIZE_MAX / 2)
		pl_die("out of memory: %zu bytes", size);
	size_t room = (size + ARENA_GAP + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	if (room == 0)
		room = ARENA_ALIGN; // each piece has an address of its own
	void *p = cut(arena, room);
	arena_unpoison(p, size);
	return memset(p, 0, size);
}

void *pl_arena_array(struct pl_arena *arena, size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes))
		pl_die("out of memory: %zu times %zu bytes", n, size);
	return pl_arena_alloc(arena, bytes);
}

char *pl_arena_strdup(struct pl_arena *arena, const char *s)
{
	return pl_arena_strndup(arena, s, strlen(s));
}

char *pl_arena_strndup(struct pl_arena *arena, const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *copy = pl_arena_alloc(arena, len + 1);
	memcpy(copy, s, len);
	return copy;
}

char *pl_arena_printf(struct pl_arena *arena, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	char *text = pl_arena_alloc(arena, n < 0 ? 1 : (size_t)n + 1);
	if (n > 0)
		vsnprintf(text, (size_t)n + 1, fmt, again);
	va_end(again);
	return text;
}
