// Memory: allocation that never returns NULL (a failure aborts, in this one place), and
// arenas.
//
// Each request, event and configuration owns an arena; everything that belongs to it is
// freed together.
// Threads: an arena belongs to one thread at a time.
#pragma once

#include <stdarg.h>
#include <stddef.h>

// Whether AddressSanitizer is in use: memory that is kept for reuse is then poisoned as
// far as possible.
#if defined(__SANITIZE_ADDRESS__)
#define PL_MEM_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PL_MEM_CHECKED 1
#endif
#endif
#ifndef PL_MEM_CHECKED
#define PL_MEM_CHECKED 0
#endif

void *pl_malloc(size_t size);
void *pl_calloc(size_t n, size_t size);
void *pl_realloc(void *p, size_t size);
char *pl_strdup(const char *s);
char *pl_strndup(const char *s, size_t n);

// Returns memory that malloc holds but does not need to the system: if the process has
// grown by more than a few MiB since the last time, and now and then as long as it is
// larger than it once was. To be called ten times a second; most calls only read its
// size, the others take milliseconds. Threads: one, whichever.
void pl_mem_trim(void);
// The same at once, after work that has used much more memory than is needed now.
void pl_mem_give_back(void);

struct pl_arena;

// `block` is the size in bytes of each allocation from malloc; 0 means 4096.
struct pl_arena *pl_arena_new(size_t block);
void pl_arena_free(struct pl_arena **arena_p);
// Frees all allocations, but keeps blocks for reuse: one, or all that were needed
// recently if they have a size of their own. The second function frees those.
void pl_arena_reset(struct pl_arena *arena);
void pl_arena_give_back(struct pl_arena *arena);

size_t pl_arena_size(const struct pl_arena *arena); // bytes of its blocks

// Zeroed, aligned for any type.
void *pl_arena_alloc(struct pl_arena *arena, size_t size);
// The same for n items of `size` bytes; aborts if the product overflows.
void *pl_arena_array(struct pl_arena *arena, size_t n, size_t size);
char *pl_arena_strdup(struct pl_arena *arena, const char *s);
char *pl_arena_strndup(struct pl_arena *arena, const char *s, size_t n);
char *pl_arena_printf(struct pl_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
