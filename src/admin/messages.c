// Messages to the user: standard error, colours, questions. Threads: the tool has one.
#include "admin/messages.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

bool pl_messages_colour(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	if ((no && *no) || (term && strcmp(term, "dumb") == 0))
		return false;
	return isatty(fd) == 1;
}

bool pl_messages_terminal(void)
{
	return isatty(STDERR_FILENO) == 1;
}

static void line(const char *colour, const char *mark, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

void pl_messages_clean(struct pl_buf *buf, const char *text)
{
	size_t len = strlen(text);
	for (size_t i = 0; i < len;) {
		int n = pl_utf8_char(text + i, len - i);
		if (n == 0)
			pl_buf_adds(buf, "\xef\xbf\xbd");
		else if (text[i] != '\n' && text[i] != '\t' && pl_utf8_acts(text + i, n))
			pl_buf_printf(buf, n > 1 ? "\\u%04x" : "\\x%02x",
			              (unsigned)pl_utf8_code(text + i, n));
		else
			pl_buf_add(buf, text + i, (size_t)n);
		i += n ? (size_t)n : 1;
	}
}

// What a message quotes may come from a client, by way of the database or the daemon.
static void line(const char *colour, const char *mark, const char *fmt, va_list ap)
{
	struct pl_buf text = { 0 }, clean = { 0 };
	bool colours = *colour && pl_messages_colour(STDERR_FILENO);
	fflush(stdout); // so that data and messages appear on the terminal in the right order
	fprintf(stderr, "%s%s%s", colours ? colour : "", mark, colours ? "\033[0m" : "");
	pl_buf_vprintf(&text, fmt, ap);
	pl_messages_clean(&clean, text.data ? text.data : "");
	pl_buf_addc(&clean, '\n');
	fputs(clean.data, stderr);
	pl_buf_fini(&text);
	pl_buf_fini(&clean);
}

void pl_say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("", "", fmt, ap);
	va_end(ap);
}

void pl_warn(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("\033[33m", "warning: ", fmt, ap);
	va_end(ap);
}

void pl_messages_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("\033[36m", "note: ", fmt, ap);
	va_end(ap);
}

void pl_fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	line("\033[31m", "plist-admin: ", fmt, ap);
	va_end(ap);
}

void pl_say_diagnostics(const struct pl_diagnostics *diagnostics, bool failed)
{
	for (int i = 0; i < diagnostics->n; i++)
		pl_say("%s", diagnostics->lines[i].text);
	int errors = diagnostics->n - diagnostics->warnings;
	if (failed)
		pl_fail("the configuration is not valid: %d problem%s", errors, errors == 1 ? "" : "s");
}

bool pl_confirm(const char *question)
{
	char answer[16] = "";
	if (!isatty(STDIN_FILENO) || !pl_messages_terminal()) {
		pl_fail("%s There is no terminal to ask; use --yes to confirm", question);
		return false;
	}
	fprintf(stderr, "%s [y/N] ", question);
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	return answer[0] == 'y' || answer[0] == 'Y';
}
