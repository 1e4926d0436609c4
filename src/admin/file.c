// Reading a whole file of text. Threads: any; no state.
#include "admin/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PIECE 65536

int pl_file_read(const char *file, size_t max, struct pl_buf *text, struct pl_error *err)
{
	FILE *in = fopen(file, "re");
	size_t n, from = text->len;
	int rc = 0;
	if (!in)
		return pl_error_set(err, PL_EINVAL, "%s: %s", file, strerror(errno));
	do {
		pl_buf_reserve(text, PIECE);
		n = fread(text->data + text->len, 1, PIECE, in);
		text->len += n;
		text->data[text->len] = '\0';
	} while (n > 0 && text->len - from <= max);
	if (ferror(in))
		rc = pl_error_set(err, PL_EINVAL, "%s: %s", file, strerror(errno));
	else if (text->len - from > max)
		rc = pl_error_set(err, PL_EINVAL, "%s: is longer than %zu bytes", file, max);
	else if (strlen(text->data + from) != text->len - from)
		rc = pl_error_set(err, PL_EINVAL, "%s: is no text, it has NUL bytes", file);
	fclose(in);
	return rc;
}
