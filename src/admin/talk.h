// What the tool says to people: all of it on standard error, so that standard output holds data and nothing else.
//
// Colours only where standard error is a terminal and NO_COLOR is not set.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

void pl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  // a line
void pl_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2))); // "warning: …"
void pl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); // "plist-admin: …": why the command did not do what was asked
void pl_say_problems(const struct pl_problems *problems, bool failed);    // the lines, warnings marked; a count when it `failed`

bool pl_talk_colour(int fd);  // whether what goes there may have colours
bool pl_talk_terminal(void);  // standard error is a terminal

// Asks on the terminal; true only when the answer begins with y. Without a terminal to ask on: false, after saying which option would do.
bool pl_confirm(const char *question);

// Progress of something countable: one line that is drawn again on a terminal, else a line now and then.
struct pl_progress {
	const char *what;         // "us"
	int64_t total, done;
	int64_t began_done;       // what was there already: does not count for the speed
	int64_t began_us, shown_us;
	bool drawn;
};
void pl_progress_begin(struct pl_progress *progress, const char *what, int64_t total, int64_t already);
void pl_progress_set(struct pl_progress *progress, int64_t done);
void pl_progress_end(struct pl_progress *progress);
// The line itself, for a terminal `columns` wide; `elapsed_us` since it began.
void pl_progress_line(const struct pl_progress *progress, int64_t elapsed_us, int columns, char *text, int size);
