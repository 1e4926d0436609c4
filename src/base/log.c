// Logging: one line per event, to standard error.
//
// A failure is logged once, where it is not passed on any further.
// Invariants: a line is written by one write(2) and has at most LINE_MAX_BYTES (PIPE_BUF,
// so that a pipe does not split it); control characters in the message are escaped, so
// that a client can neither forge a line nor act on the terminal that shows it; a reader
// that is stuck costs lines, not threads. Lines that are lost are counted: the log
// itself cannot tell.
// Threads: any. Level and format are atomic; the region is copied under a lock; the
// thread name and the count of suppressed lines belong to the thread.
#define _GNU_SOURCE // pthread_setname_np, gettid
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LINE_MAX_BYTES 4096
#define MESSAGE_MAX    3000
#define NAME_MAX_BYTES 48
#define STALLED_MS     100                      // a reader that takes nothing for this long is stuck
#define REMEMBERED_US  (600 * INT64_C(1000000)) // how long a log that lacks lines is called incomplete

static _Atomic int log_level = PL_LOG_INFO;
static _Atomic int log_format = PL_LOG_TEXT;
static pthread_mutex_t region_lock = PTHREAD_MUTEX_INITIALIZER, write_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long dropped; // lines since the reader stood still; guarded by write_lock
static unsigned long long dropped_total;
static int64_t whole_again_us; // when lines could be written again, pl_mono_us; 0: none was dropped
static char region[NAME_MAX_BYTES];
static _Thread_local char thread_name[NAME_MAX_BYTES];
static _Thread_local const struct pl_log_request *in_request;
static _Thread_local unsigned long held_before; // lines held back before the next one of this thread

struct line {
	char data[LINE_MAX_BYTES];
	size_t len;
};

static const char *const level_names[] = { "debug", "info", "notice", "warning", "error" };

void pl_log_init(enum pl_log_level level, enum pl_log_format format)
{
	log_level = level;
	log_format = format;
}

void pl_log_set_region(const char *name)
{
	pthread_mutex_lock(&region_lock);
	snprintf(region, sizeof(region), "%s", name);
	pthread_mutex_unlock(&region_lock);
}

void pl_log_set_thread(const char *name)
{
	char short_name[16]; // what the kernel keeps, and what top -H and /proc/PID/task show
	snprintf(thread_name, sizeof(thread_name), "%s", name);
	snprintf(short_name, sizeof(short_name), "%.15s", name);
	if (gettid() != getpid()) // the first thread's name is the process's
		pthread_setname_np(pthread_self(), short_name);
}

const struct pl_log_request *pl_log_set_request(const struct pl_log_request *request)
{
	const struct pl_log_request *before = in_request;
	in_request = request;
	return before;
}

bool pl_log_enabled(enum pl_log_level level)
{
	return (int)level >= log_level;
}

// Appends, leaving room for a closing quote, brace and newline.
static void put(struct line *line, const char *data, size_t len)
{
	size_t room = LINE_MAX_BYTES - 8 - line->len;
	if (len > room)
		len = room;
	memcpy(line->data + line->len, data, len);
	line->len += len;
}

static void puts_line(struct line *line, const char *s)
{
	put(line, s, strlen(s));
}

// Appends text with everything escaped that acts on a terminal, and invalid UTF-8, which
// it may take for another encoding; for JSON, quotes and backslashes are escaped, too,
// and invalid UTF-8 is replaced. In JSON, an escape that does not fit is left out
// completely: half of one would make the line invalid.
static void put_escaped(struct line *line, const char *s, bool json)
{
	size_t len = strlen(s);
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)s[i];
		char escape[16];
		if (LINE_MAX_BYTES - 8 - line->len < 8)
			return;
		int n = pl_utf8_char(s + i, len - i);
		if (n == 0 && json) {
			put(line, "\xEF\xBF\xBD", 3);
		} else if (c == '\n') {
			put(line, "\\n", 2);
		} else if (n == 0 || pl_utf8_acts(s + i, n)) {
			snprintf(escape, sizeof(escape), json || n > 1 ? "\\u%04x" : "\\x%02x",
			         n ? (unsigned)pl_utf8_code(s + i, n) : c);
			puts_line(line, escape);
		} else {
			if (json && (c == '"' || c == '\\'))
				put(line, "\\", 1);
			put(line, s + i, (size_t)n);
		}
		i += n ? (size_t)n : 1;
	}
}

static void put_member(struct line *line, const char *name, const char *value)
{
	puts_line(line, line->len == 0 ? "{\"" : ",\"");
	puts_line(line, name);
	puts_line(line, "\":\"");
	put_escaped(line, value, true);
	puts_line(line, "\"");
}

static void line_as_json(struct line *line, const char *time, const char *level, const char *in_region,
                         const char *message)
{
	put_member(line, "time", time);
	put_member(line, "level", level);
	if (in_region[0] != '\0')
		put_member(line, "region", in_region);
	if (thread_name[0] != '\0')
		put_member(line, "thread", thread_name);
	if (in_request) {
		char route[NAME_MAX_BYTES + 256];
		snprintf(route, sizeof(route), "%s %s", in_request->method, in_request->path);
		put_member(line, "request", in_request->id);
		put_member(line, "route", route);
		if (in_request->key[0] != '\0')
			put_member(line, "request_key", in_request->key);
		if (in_request->principal[0] != '\0')
			put_member(line, "principal", in_request->principal);
	}
	put_member(line, "message", message);
	line->data[line->len++] = '}';
}

// " [request R, PUT /:region/items/:id, key K, principal P]"
static void put_request(struct line *line)
{
	const char *parts[] = {
		" [request ", in_request->id, ", ", in_request->method, " ", in_request->path
	};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		put_escaped(line, parts[i], false);
	if (in_request->key[0] != '\0') {
		puts_line(line, ", key ");
		put_escaped(line, in_request->key, false);
	}
	if (in_request->principal[0] != '\0') {
		puts_line(line, ", principal ");
		put_escaped(line, in_request->principal, false);
	}
	puts_line(line, "]");
}

static void line_as_text(struct line *line, const char *time, const char *level, const char *in_region,
                         const char *message)
{
	const char *words[] = { time, level, in_region, thread_name };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (words[i][0] == '\0')
			continue;
		if (line->len > 0)
			puts_line(line, " ");
		put_escaped(line, words[i], false);
	}
	puts_line(line, ": ");
	put_escaped(line, message, false);
	if (in_request)
		put_request(line);
}

static bool takes_more(int wait_ms)
{
	struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };
	return poll(&pfd, 1, wait_ms) != 0;
}

// False: the reader is gone, the disk is full, or the like.
static bool write_all(const struct line *line)
{
	size_t done = 0;
	while (done < line->len) {
		ssize_t n = write(STDERR_FILENO, line->data + done, line->len - done);
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || (errno != EINTR && (errno != EAGAIN || !takes_more(STALLED_MS))))
			return false;
	}
	return true;
}

// What reads standard error may be stopped, and a pipe holds 64 KiB: after that, write(2)
// would take one thread after the other away, with the requests that they serve. A pipe
// that takes anything takes a whole line, so a thread asks first, and only the first one
// waits. Returns how many lines were dropped before this one.
static unsigned long write_line(const struct line *line)
{
	unsigned long lost = 0;
	pthread_mutex_lock(&write_lock);
	if (!takes_more(dropped > 0 ? 0 : STALLED_MS) || !write_all(line)) {
		dropped++;
		dropped_total++;
	} else if (dropped > 0) {
		lost = dropped;
		dropped = 0;
		whole_again_us = pl_mono_us();
	}
	pthread_mutex_unlock(&write_lock);
	return lost;
}

unsigned long long pl_log_dropped(long long now_us, bool *incomplete_r)
{
	pthread_mutex_lock(&write_lock);
	unsigned long long total = dropped_total;
	*incomplete_r = dropped > 0 || (whole_again_us > 0 && now_us - whole_again_us < REMEMBERED_US);
	pthread_mutex_unlock(&write_lock);
	return total;
}

void pl_log(enum pl_log_level level, const char *fmt, ...)
{
	unsigned long held = held_before;
	held_before = 0;
	if (!pl_log_enabled(level))
		return;
	int saved = errno;
	char message[MESSAGE_MAX], time[PL_TIME_TEXT_MAX], in_region[NAME_MAX_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (n < 0)
		snprintf(message, sizeof(message), "%s", fmt);
	else if (n >= (int)sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);
	if (held > 0 && n >= 0 && n < (int)sizeof(message))
		snprintf(message + n, sizeof(message) - (size_t)n, " (and %lu similar lines suppressed)",
		         held);
	pthread_mutex_lock(&region_lock);
	memcpy(in_region, region, sizeof(in_region));
	pthread_mutex_unlock(&region_lock);

	struct line line;
	line.len = 0;
	pl_clock_format_time(pl_now_us(), time);
	if (log_format == PL_LOG_JSON)
		line_as_json(&line, time, level_names[level], in_region, message);
	else
		line_as_text(&line, time, level_names[level], in_region, message);
	line.data[line.len++] = '\n';
	unsigned long lost = write_line(&line);
	if (lost > 0)
		pl_warning("log: %lu lines before the last one were dropped, since nothing read them or they "
		           "could not be written",
		           lost);
	errno = saved;
}

bool pl_log_limit_ok(struct pl_log_limit *limit, long long every_us)
{
	long long now = pl_mono_us();
	long long next = __atomic_load_n(&limit->next_us, __ATOMIC_RELAXED);
	// Of threads that arrive at the same moment, one succeeds.
	if (now < next || !__atomic_compare_exchange_n(&limit->next_us, &next, now + every_us, false,
	                                               __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		__atomic_add_fetch(&limit->held, 1, __ATOMIC_RELAXED);
		return false;
	}
	held_before = __atomic_exchange_n(&limit->held, 0, __ATOMIC_RELAXED);
	return true;
}

bool pl_log_burst_ok(struct pl_log_burst *burst)
{
	const long long window_us = 10000000;
	long long now = pl_mono_us(), until = __atomic_load_n(&burst->until_us, __ATOMIC_RELAXED);

	if (now >= until && __atomic_compare_exchange_n(&burst->until_us, &until, now + window_us, false,
	                                                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		__atomic_store_n(&burst->lines, 0, __ATOMIC_RELAXED);
	if (__atomic_fetch_add(&burst->lines, 1, __ATOMIC_RELAXED) >= PL_LOG_BURST) {
		__atomic_add_fetch(&burst->limit.held, 1, __ATOMIC_RELAXED);
		return false;
	}
	held_before = __atomic_exchange_n(&burst->limit.held, 0, __ATOMIC_RELAXED);
	return true;
}

// The end of the value of a password: at "&" in a URI; otherwise at the end of the word,
// or at the closing quote.
static const char *value_end(const char *p, bool uri)
{
	if (uri)
		return p + strcspn(p, "&");
	bool quoted = *p == '\'';
	for (p += quoted; *p != '\0' && !strchr(quoted ? "'" : " \t\n\r\f\v", *p); p++)
		if (*p == '\\' && p[1] != '\0')
			p++;
	return p + (quoted && *p == '\'');
}

// If p is at "password", optional blanks, "=", optional blanks: returns the start of the
// value; otherwise NULL. Also matches the end of "sslpassword".
static const char *password_value(const char *p)
{
	if (strncasecmp(p, "password", 8) != 0)
		return NULL;
	p += 8;
	p += strspn(p, " \t\n\r\f\v");
	if (*p != '=')
		return NULL;
	return p + 1 + strspn(p + 1, " \t\n\r\f\v");
}

// The password of "scheme://user:password@…": *end_r is its "@". NULL if there is none.
// It ends at the last "@", so that a password with an unescaped "@" or "/", which libpq
// would misparse, is hidden completely, too.
static const char *uri_password(const char *dsn, const char **end_r)
{
	const char *user = strstr(dsn, "://");
	if (user == NULL)
		return NULL;
	user += 3;
	const char *at = strrchr(user, '@');
	const char *colon = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
	if (colon == NULL || colon + 1 == at)
		return NULL;
	*end_r = at;
	return colon + 1;
}

char *pl_log_redact_dsn(const char *dsn, char *text, size_t size)
{
	size_t len = 0;
	const char *secret_end = NULL, *secret = uri_password(dsn, &secret_end);
	bool uri = strncmp(dsn, "postgres", 8) == 0 && strcspn(dsn, ":") < strcspn(dsn, "=");
	if (size == 0)
		return text;
	for (const char *p = dsn; *p != '\0' && len + 1 < size;) {
		const char *value = p == secret ? secret : NULL, *end = secret_end, *from = p;
		if (value == NULL && (value = password_value(p)) != NULL)
			end = value_end(value, uri);
		if (value == NULL) {
			text[len++] = *p++;
			continue;
		}
		for (; from < value && len + 1 < size; from++)
			text[len++] = *from;
		for (int i = 0; i < 3 && len + 1 < size; i++)
			text[len++] = '*';
		p = end;
	}
	text[len] = '\0';
	return text;
}
