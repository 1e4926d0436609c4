// Logs: one line an event, text for people or JSON for machines, to standard error.
//
// Threads: any. A line is written by one write(2), so lines of threads do not mix.
// Secrets: what may hold one (a connection string, a header) goes through pl_log_redact_dsn or is not logged.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum pl_log_level { PL_LOG_DEBUG, PL_LOG_INFO, PL_LOG_NOTICE, PL_LOG_WARNING, PL_LOG_ERROR };
enum pl_log_format { PL_LOG_TEXT, PL_LOG_JSON };

void pl_log_init(enum pl_log_level level, enum pl_log_format format);
// Shown in every line from now on: "us"; "" for the tool.
void pl_log_set_region(const char *region);
// Shown in every line of this thread: "worker-1", "relay", "apply", …
void pl_log_set_thread(const char *name);
bool pl_log_enabled(enum pl_log_level level);

// The message is a sentence's worth: what happened, to what, and what follows ("kafka: broker away, 12 events wait").
void pl_log(enum pl_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define pl_debug(...)   do { if (pl_log_enabled(PL_LOG_DEBUG)) pl_log(PL_LOG_DEBUG, __VA_ARGS__); } while (0)
#define pl_info(...)    pl_log(PL_LOG_INFO, __VA_ARGS__)
#define pl_notice(...)  pl_log(PL_LOG_NOTICE, __VA_ARGS__)
#define pl_warning(...) pl_log(PL_LOG_WARNING, __VA_ARGS__)
#define pl_err(...)     pl_log(PL_LOG_ERROR, __VA_ARGS__)

// At most one line in `every_us` for this place in the code; the next one says how many were held back.
struct pl_log_limit { long long next_us; unsigned long held; };
bool pl_log_limit_ok(struct pl_log_limit *limit, long long every_us);

// "postgresql://plist:secret@host/db" -> "postgresql://plist:***@host/db"; also "password=…" of the keyword form.
char *pl_log_redact_dsn(const char *dsn, char *text, size_t size);
