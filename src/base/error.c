// Errors: filling, prefixing and naming them.
//
// Every function that fails reports it in a struct pl_error.
// Invariant: err->text always ends with a NUL; a text that is too long is cut between two
// UTF-8 characters.
// Threads: any; an error belongs to its caller.
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Drops a UTF-8 character that vsnprintf cut in two, so that the text stays valid in logs
// and JSON.
static void trim_cut_character(char *text)
{
	size_t len = strlen(text), back = 0;
	while (back < 3 && back < len && ((unsigned char)text[len - 1 - back] & 0xC0) == 0x80)
		back++;
	if (back >= len)
		return;
	unsigned char lead = (unsigned char)text[len - 1 - back];
	size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
	if (back < want)
		text[len - 1 - back] = '\0';
}

// Formats into a copy first, because an argument may be err->text itself.
__attribute__((format(printf, 2, 0))) static void format_text(char text[PL_ERROR_TEXT_MAX], const char *fmt,
                                                              va_list ap)
{
	int n = vsnprintf(text, PL_ERROR_TEXT_MAX, fmt, ap);
	if (n < 0)
		text[0] = '\0';
	else if (n >= PL_ERROR_TEXT_MAX)
		trim_cut_character(text);
}

int pl_error_set(struct pl_error *err, int code, const char *fmt, ...)
{
	if (err == NULL)
		return code;
	char text[PL_ERROR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	format_text(text, fmt, ap);
	va_end(ap);
	err->code = code;
	err->retryable = code == PL_EBUSY || code == PL_EUNAVAIL || code == PL_ETIMEOUT || code == PL_EBEHIND;
	err->nested = false;
	err->sqlstate[0] = err->constraint[0] = err->columns[0] = '\0';
	memcpy(err->text, text, sizeof(text));
	return code;
}

int pl_error_prefix(struct pl_error *err, const char *fmt, ...)
{
	if (err == NULL)
		return PL_EINTERNAL;
	char context[PL_ERROR_TEXT_MAX], text[PL_ERROR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	format_text(context, fmt, ap);
	va_end(ap);
	// Together they may be too long; the end is cut off.
	size_t head = strlen(context);
	int n = snprintf(text, sizeof(text), "%.*s: %s", (int)head, context, err->text);
	if (n >= (int)sizeof(text))
		trim_cut_character(text);
	memcpy(err->text, text, sizeof(text));
	return err->code;
}

const char *pl_error_code_name(int code)
{
	switch (code) {
	case PL_OK: return "ok";
	case PL_EINVAL: return "invalid";
	case PL_ENOTFOUND: return "not_found";
	case PL_ECONFLICT: return "conflict";
	case PL_EBUSY: return "busy";
	case PL_EUNAVAIL: return "unavailable";
	case PL_EUNKNOWN: return "unknown_outcome";
	case PL_ETIMEOUT: return "timeout";
	case PL_EBUDGET: return "budget";
	case PL_ESCRIPT: return "script_error";
	case PL_ESTOPPED: return "stopped";
	case PL_EINTERNAL: return "internal";
	case PL_EBEHIND: return "behind";
	default: return "undefined";
	}
}

void pl_die(const char *fmt, ...)
{
	char text[PL_ERROR_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if (n > (int)sizeof(text) - 2)
		n = (int)sizeof(text) - 2;
	text[n] = '\n';
	ssize_t written = write(STDERR_FILENO, text, (size_t)n + 1);
	(void)written;
	abort();
}
