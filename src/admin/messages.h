// Messages to the user, all of them on standard error, so that standard output contains
// only data.
//
// Colours are used only if standard error is a terminal and NO_COLOR is not set.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"

void pl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));           // a line
void pl_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));          // "warning: …"
void pl_messages_note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); // "note: …"
void pl_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2))); // "plist-admin: …": why the command failed
void pl_say_diagnostics(const struct pl_diagnostics *diagnostics,
                        bool failed); // prints the lines, and their number if loading `failed`

// Appends text for a terminal: what would act on it is escaped, except newlines and tabs.
void pl_messages_clean(struct pl_buf *buf, const char *text);

bool pl_messages_colour(int fd); // whether output to it may have colours
bool pl_messages_terminal(void); // whether standard error is a terminal

// Asks on the terminal; true if the answer begins with y. Without a terminal, false,
// after naming the option to use instead.
bool pl_confirm(const char *question);
