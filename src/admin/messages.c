// Messages to the user: standard error, colours, questions. Threads: the tool has one.
#include "admin/messages.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static void line(const char *colour, const char *mark, const char *fmt, va_list ap)
{
	bool colours = *colour && pl_messages_colour(STDERR_FILENO);
	fflush(stdout); // so that data and messages appear on the terminal in the right order
	fprintf(stderr, "%s%s%s", colours ? colour : "", mark, colours ? "\033[0m" : "");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
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
