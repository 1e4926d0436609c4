// Logging: one line per event to standard error, as text for people or JSON for machines.
//
// Threads: any. A line is written by a single write(2), so lines of different threads do
// not mix. Secrets: text that may contain one (a connection string, a header) goes
// through pl_log_redact_dsn or is not logged.
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum pl_log_level { PL_LOG_DEBUG, PL_LOG_INFO, PL_LOG_NOTICE, PL_LOG_WARNING, PL_LOG_ERROR };
enum pl_log_format { PL_LOG_TEXT, PL_LOG_JSON };

void pl_log_init(enum pl_log_level level, enum pl_log_format format);
// Shown in every line from now on, such as "us"; "" for plist-admin.
void pl_log_set_region(const char *region);
// Shown in every line of this thread: "worker-1", "relay", "apply", …
void pl_log_set_thread(const char *name);
// Shown in every line of this thread until the next call: the request that it is working
// on, or NULL. The strings stay owned by the caller. Returns the previous value, so that
// it can be restored.
struct pl_log_request {
	const char *id;            // returned to the client
	const char *key;           // the idempotency key; "" if there is none, or if it is `id`
	const char *method, *path; // of the route
	const char *principal;     // "" = none
};
const struct pl_log_request *pl_log_set_request(const struct pl_log_request *request);
bool pl_log_enabled(enum pl_log_level level);
// How many lines could not be written so far, because nothing read standard error, or it
// was closed, or a disk was full. *incomplete_r: lines are being lost, or were until less
// than ten minutes before now_us (pl_mono_us).
unsigned long long pl_log_dropped(long long now_us, bool *incomplete_r);

// The message is one sentence: what happened, to what, and the consequence ("kafka: the
// broker is unavailable; 12 events wait").
void pl_log(enum pl_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define pl_debug(...)                                      \
	do {                                               \
		if (pl_log_enabled(PL_LOG_DEBUG))          \
			pl_log(PL_LOG_DEBUG, __VA_ARGS__); \
	} while (0)
#define pl_info(...)    pl_log(PL_LOG_INFO, __VA_ARGS__)
#define pl_notice(...)  pl_log(PL_LOG_NOTICE, __VA_ARGS__)
#define pl_warning(...) pl_log(PL_LOG_WARNING, __VA_ARGS__)
#define pl_err(...)     pl_log(PL_LOG_ERROR, __VA_ARGS__)

// Allows one line per `every_us` at this place in the code; the next line says how many
// were suppressed.
struct pl_log_limit {
	long long next_us;
	unsigned long held;
};
bool pl_log_limit_ok(struct pl_log_limit *limit, long long every_us);

// For lines that may occur once per event or request: allows a few in each ten seconds;
// the next line says how many similar ones were suppressed.
#define PL_LOG_BURST 10
struct pl_log_burst {
	struct pl_log_limit limit;
	long long until_us;
	unsigned lines;
};
bool pl_log_burst_ok(struct pl_log_burst *burst);
#define pl_log_limited(burst, level, ...)           \
	do {                                        \
		if (pl_log_burst_ok(burst))         \
			pl_log(level, __VA_ARGS__); \
	} while (0)

// "postgresql://plist:secret@host/db" -> "postgresql://plist:***@host/db"; also for
// "password=…" in the keyword form.
char *pl_log_redact_dsn(const char *dsn, char *text, size_t size);
