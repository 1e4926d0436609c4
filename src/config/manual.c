// The table of keys as mdoc: the section of plist.yaml(5) that describes each key.
//
// Called by tests/unit/config/test_manual.c, which compares man/plist.yaml.5 with the
// table, and writes the section (`make update-man`).
// Threads: any.
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "config/schema.h"

// Prose in mdoc: each sentence begins on a line of its own.
static void sentences(struct pl_buf *buf, const char *text)
{
	if (*text == '.' || *text == '\'')
		pl_buf_adds(buf, "\\&");
	for (; *text != '\0'; text++) {
		if (*text == '\\') {
			pl_buf_adds(buf, "\\e");
		} else if (*text == ' ' && text[-1] == '.' && isupper((unsigned char)text[1])) {
			pl_buf_addc(buf, '\n');
		} else {
			pl_buf_addc(buf, *text);
		}
	}
	pl_buf_addc(buf, '\n');
}

static void words(struct pl_buf *buf, const char *choices)
{
	for (const char *p = choices; *p != '\0';) {
		size_t n = strcspn(p, "|");
		pl_buf_printf(buf, "%sCm %.*s", p == choices ? " " : " | ", (int)n, p);
		p += n + (p[n] == '|');
	}
}

static void head(struct pl_buf *buf, const struct pl_key *key)
{
	pl_buf_printf(buf, ".It Ic %s", key->path);
	switch (key->type) {
	case PL_KEY_CHOICE: words(buf, key->choices); break;
	case PL_KEY_BOOLEAN: words(buf, "true|false"); break;
	case PL_KEY_INTEGER:
	case PL_KEY_NUMBER: pl_buf_adds(buf, " Ar number"); break;
	case PL_KEY_DURATION: pl_buf_adds(buf, " Ar duration"); break;
	case PL_KEY_SIZE: pl_buf_adds(buf, " Ar size"); break;
	case PL_KEY_STRING: pl_buf_adds(buf, " Ar string"); break;
	case PL_KEY_STRINGS:
	case PL_KEY_LISTS: pl_buf_adds(buf, " Ar list"); break;
	default: pl_buf_adds(buf, " Ar map"); break;
	}
	pl_buf_addc(buf, '\n');
}

static void bounds(struct pl_buf *buf, const struct pl_key *key)
{
	if (key->min == 0 && key->max == 0)
		return;
	if (key->type == PL_KEY_INTEGER || key->type == PL_KEY_DURATION || key->type == PL_KEY_SIZE) {
		pl_buf_adds(buf, "From ");
		pl_config_value_print_int(key, key->min, buf);
		pl_buf_adds(buf, " to ");
		pl_config_value_print_int(key, key->max, buf);
		pl_buf_adds(buf, ".\n");
	} else if (key->type == PL_KEY_NAMED) {
		pl_buf_printf(buf, "From %" PRId64 " to %" PRId64 "; a name is %s.\n", key->min, key->max,
		              key->form);
	} else if (key->type == PL_KEY_SEQUENCE) {
		pl_buf_printf(buf, "From %" PRId64 " to %" PRId64 ".\n", key->min, key->max);
	}
}

static void details(struct pl_buf *buf, const struct pl_key *key)
{
	if (key->type == PL_KEY_STRINGS && key->choices != NULL) {
		pl_buf_adds(buf, "One or more of\n.");
		words(buf, key->choices);
		pl_buf_adds(buf, " .\n");
	}
	if (key->pattern != NULL && pl_schema_is_leaf(key))
		pl_buf_printf(buf, "Must be %s.\n", key->form);
	bounds(buf, key);
	if (key->word != NULL && key->def != NULL && strcmp(key->def, key->word) != 0)
		pl_buf_printf(buf, "Or\n.Cm %s .\n", key->word);
	if (key->flags & PL_KEY_SECRET)
		pl_buf_printf(
			buf,
			"Alternatively,\n.Ic %s_file\nnames a file that contains the value; its mode is "
			"0600, or 0640 if root owns it.\nThe value is never shown.\n",
			pl_schema_leaf(key));
	if (key->env != NULL)
		pl_buf_printf(buf, "The environment variable\n.Ev %s\ntakes precedence.\n", key->env);
	if (key->def != NULL)
		pl_buf_printf(buf, "Default:\n.Cm %s .\n", key->def);
	if (key->derived != NULL)
		pl_buf_printf(buf, "Default: %s.\n", key->derived);
	if (key->flags & PL_KEY_REQUIRED)
		pl_buf_adds(buf, "Required.\n");
	if ((key->flags & PL_KEY_RESTART) && key->type != PL_KEY_NAMED)
		pl_buf_adds(buf, "A change requires a restart.\n");
	if ((key->flags & PL_KEY_RESTART) && key->type == PL_KEY_NAMED)
		pl_buf_adds(buf, "Adding or removing a name requires a restart.\n");
}

static void list(struct pl_buf *buf, const struct pl_key *parent)
{
	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		head(buf, key);
		sentences(buf, key->doc);
		details(buf, key);
		if (!pl_schema_is_leaf(key))
			list(buf, key);
	}
}

void pl_manual_print(struct pl_buf *buf)
{
	for (const struct pl_key *key = NULL; (key = pl_schema_next(NULL, key)) != NULL;) {
		pl_buf_printf(buf, ".Ss %s\n", key->path);
		sentences(buf, key->doc);
		details(buf, key);
		if (pl_schema_is_leaf(key)) // a key that is not a map
			continue;
		pl_buf_adds(buf, ".Bl -tag -width Ds\n");
		list(buf, key);
		pl_buf_adds(buf, ".El\n");
	}
}
