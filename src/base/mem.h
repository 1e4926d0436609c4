// Memory: allocation that never returns NULL (a failure aborts, in this one place), and arenas.
//
// Each request, each event and each configuration owns an arena; all that belongs to it is freed with it, in one place.
// Threads: an arena belongs to one thread at a time.
#pragma once

#include <stdarg.h>
#include <stddef.h>

// Whether AddressSanitizer looks on: what we keep for later use is then hidden from it no more than must be.
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

struct pl_arena;

// `block` is the size in bytes of the pieces that it asks of malloc; 0 means 4096.
struct pl_arena *pl_arena_new(size_t block);
void pl_arena_free(struct pl_arena **arena);
// Forgets all that was allocated but keeps one block, for the next request.
void pl_arena_reset(struct pl_arena *arena);

// Zeroed, aligned for any type.
void *pl_arena_alloc(struct pl_arena *arena, size_t size);
// The same for n things of `size` bytes; a product that overflows aborts like memory that is not there.
void *pl_arena_array(struct pl_arena *arena, size_t n, size_t size);
char *pl_arena_strdup(struct pl_arena *arena, const char *s);
char *pl_arena_strndup(struct pl_arena *arena, const char *s, size_t n);
char *pl_arena_printf(struct pl_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
