// Progress of a long command on standard error.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Progress of something countable: one line, redrawn on a terminal; otherwise an
// occasional line.
struct pl_progress {
	const char *what; // "us"
	int64_t total, done;
	int64_t began_done; // done before this run: does not count towards the speed
	int64_t began_us, shown_us;
	bool drawn;
};
void pl_progress_begin(struct pl_progress *progress, const char *what, int64_t total, int64_t already);
void pl_progress_set(struct pl_progress *progress, int64_t done);
void pl_progress_end(struct pl_progress *progress);

// The line for a terminal `columns` wide, `elapsed_us` after the start.
void pl_progress_line(const struct pl_progress *progress, int64_t elapsed_us, int columns, char *text,
                      int size);
