// Data for standard output: one definition of columns gives the table and the JSON.
//
// Rows are kept as text until they are printed with libsmartcols, because a column is
// set up differently for people and for programs.
// Threads: the tool has one.
#include "admin/table.h"

#include <ctype.h>
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/messages.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/utf8.h"

struct cell {
	char *text;
	enum pl_tone tone;
};

struct pl_table {
	const char *name;
	const struct pl_table_column *columns;
	int ncolumns, nrows;
	struct cell *cells; // nrows * ncolumns
	int64_t room;       // for long details
	int nleft_out, left_out_row;
};

#define LONG_TEXT 1024 // shorter ones are always kept

struct pl_table *pl_table_new(const char *name, const struct pl_table_column *columns)
{
	struct pl_table *table = pl_calloc(1, sizeof(*table));
	table->name = name;
	table->columns = columns;
	while (columns[table->ncolumns].name)
		table->ncolumns++;
	table->room = INT64_MAX;
	return table;
}

void pl_table_hold(struct pl_table *table, int64_t bytes)
{
	table->room = bytes;
}

int pl_table_left_out(const struct pl_table *table)
{
	return table->nleft_out;
}

// Whether a text still has room. Once one has not, no later one has.
static bool has_room(struct pl_table *table, int column, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len <= LONG_TEXT || !(table->columns[column].flags & (PL_COLUMN_DETAIL | PL_COLUMN_DATA)))
		return true;
	if ((int64_t)len <= table->room) {
		table->room -= (int64_t)len;
		return true;
	}
	table->room = 0;
	table->nleft_out += table->left_out_row != table->nrows;
	table->left_out_row = table->nrows;
	return false;
}

void pl_table_free(struct pl_table **table_p)
{
	if (!*table_p)
		return;
	for (int i = 0; i < (*table_p)->nrows * (*table_p)->ncolumns; i++)
		free((*table_p)->cells[i].text);
	free((*table_p)->cells);
	free(*table_p);
	*table_p = NULL;
}

int pl_table_rows(const struct pl_table *table)
{
	return table->nrows;
}

void pl_table_row(struct pl_table *table)
{
	size_t row = (size_t)table->ncolumns;
	table->cells = pl_realloc(table->cells, (size_t)(table->nrows + 1) * row * sizeof(*table->cells));
	memset(table->cells + (size_t)table->nrows * row, 0, row * sizeof(*table->cells));
	table->nrows++;
}

static struct cell *cell_of(struct pl_table *table, int column)
{
	if (table->nrows == 0 || column < 0 || column >= table->ncolumns)
		abort(); // a bug of the command, which its first run shows
	return &table->cells[(table->nrows - 1) * table->ncolumns + column];
}

static void set(struct pl_table *table, int column, char *text)
{
	struct cell *cell = cell_of(table, column);
	free(cell->text);
	cell->text = text;
}

void pl_table_text(struct pl_table *table, int column, const char *text)
{
	struct pl_buf clean = { 0 };
	if (!has_room(table, column, text))
		return;
	for (const char *s = text, *end = text ? text + strlen(text) : NULL; s && s < end;) {
		int n = pl_utf8_char(s, (size_t)(end - s));
		if (n)
			pl_buf_add(&clean, s, (size_t)n);
		else
			pl_buf_adds(&clean, "\xef\xbf\xbd");
		s += n ? n : 1;
	}
	set(table, column, text ? pl_strdup(clean.data ? clean.data : "") : NULL);
	pl_buf_fini(&clean);
}

void pl_table_printf(struct pl_table *table, int column, const char *fmt, ...)
{
	struct pl_buf text = { 0 };
	va_list ap;
	va_start(ap, fmt);
	pl_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	pl_table_text(table, column, text.data ? text.data : "");
	pl_buf_fini(&text);
}

void pl_table_number(struct pl_table *table, int column, int64_t number)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRId64, number);
	set(table, column, pl_strdup(text));
}

void pl_table_seconds(struct pl_table *table, int column, double seconds)
{
	char text[48];
	snprintf(text, sizeof(text), "%.3f", seconds);
	set(table, column, pl_strdup(text));
}

void pl_table_bool(struct pl_table *table, int column, bool value)
{
	set(table, column, pl_strdup(value ? "true" : "false"));
}

void pl_table_time(struct pl_table *table, int column, int64_t at_us)
{
	char text[PL_TIME_TEXT_MAX];
	set(table, column, at_us ? pl_strdup(pl_clock_format_time(at_us, text)) : NULL);
}

void pl_table_json(struct pl_table *table, int column, const char *json)
{
	if (has_room(table, column, json))
		set(table, column, json ? pl_strdup(json) : NULL);
}

void pl_table_tone(struct pl_table *table, int column, enum pl_tone tone)
{
	cell_of(table, column)->tone = tone;
}

// ---- printing

static const char *colour_of(enum pl_tone tone)
{
	switch (tone) {
	case PL_TONE_GOOD: return "green";
	case PL_TONE_BAD: return "red";
	case PL_TONE_DOUBT: return "yellow";
	case PL_TONE_STRONG: return "bold";
	case PL_TONE_PLAIN: break;
	}
	return NULL;
}

// "last_heard" gets the heading LAST HEARD.
static const char *heading(const char *name, bool as_is, char *text, size_t size)
{
	size_t i = 0;
	for (; name[i] && i + 1 < size; i++)
		text[i] = as_is ? name[i] : name[i] == '_' ? ' ' : (char)toupper((unsigned char)name[i]);
	text[i] = '\0';
	return text;
}

static void add_column(struct libscols_table *out, const struct pl_table_column *column, bool json)
{
	char name[64];
	int flags = column->type == PL_CELL_NUMBER ? SCOLS_FL_RIGHT : 0;
	if (column->flags & (json ? PL_COLUMN_PEOPLE : PL_COLUMN_DETAIL | PL_COLUMN_DATA))
		flags |= SCOLS_FL_HIDDEN;
	if (column->flags & PL_COLUMN_CUT)
		flags |= SCOLS_FL_TRUNC;
	struct libscols_column *c = scols_table_new_column(
		out, heading(column->name, json || (column->flags & PL_COLUMN_AS_IS), name, sizeof(name)), 0,
		flags);
	// Numbers are printed unquoted, so all values that are JSON already use this
	// type, including null, true and composite values.
	if (!c || scols_column_set_json_type(c, column->type == PL_CELL_TEXT ? SCOLS_JSON_STRING
	                                                                     : SCOLS_JSON_NUMBER))
		abort();
}

static void add_cell(struct libscols_line *line, int at, const struct pl_table_column *column,
                     const struct cell *cell, bool json)
{
	const char *text = cell->text;
	if (!json && !text)
		text = column->type == PL_CELL_TEXT || column->type == PL_CELL_NUMBER ? "-" : "";
	if (!json && cell->text && column->type == PL_CELL_BOOLEAN)
		text = *cell->text == 't' ? "yes" : "no";
	struct pl_buf clean = { 0 };
	if (!json && text) { // for a terminal; programs get the value as it is
		pl_messages_clean(&clean, text);
		text = clean.data ? clean.data : "";
	}
	if (text && scols_line_set_data(line, (size_t)at, text))
		abort();
	pl_buf_fini(&clean);
	const char *colour = json ? NULL : colour_of(cell->tone);
	if (colour)
		scols_cell_set_color(scols_line_get_cell(line, (size_t)at), colour);
}

static char *table_text(const struct pl_table *table, bool json, bool colours, bool headings)
{
	struct libscols_table *out = scols_new_table();
	char *text = NULL;
	if (!out || scols_table_set_name(out, table->name) || scols_table_enable_json(out, json) ||
	    scols_table_enable_colors(out, colours) || scols_table_enable_noheadings(out, !headings))
		abort();
	for (int i = 0; i < table->ncolumns; i++)
		add_column(out, &table->columns[i], json);
	for (int row = 0; row < table->nrows; row++) {
		struct libscols_line *line = scols_table_new_line(out, NULL);
		if (!line)
			abort();
		for (int i = 0; i < table->ncolumns; i++)
			add_cell(line, i, &table->columns[i], &table->cells[row * table->ncolumns + i], json);
	}
	if (scols_print_table_to_string(out, &text) || !text)
		abort();
	scols_unref_table(out);
	return text;
}

// The text between the outermost braces of a table's document.
static void add_members(struct pl_buf *buf, char *document)
{
	char *from = strchr(document, '{'), *to = strrchr(document, '}');
	if (!from || !to || to < from)
		abort();
	for (from++; *from == '\n'; from++)
		;
	while (to > from && isspace((unsigned char)to[-1]))
		to--;
	pl_buf_add(buf, from, (size_t)(to - from));
}

char *pl_tables_text(bool json, bool colours, int n, struct pl_table *const *tables)
{
	struct pl_buf buf = { 0 };
	pl_buf_adds(&buf, json ? "{\n" : "");
	for (int i = 0; i < n; i++) {
		if (!json && tables[i]->nrows == 0)
			continue;
		char *text = table_text(tables[i], json, colours, true);
		if (json) {
			add_members(&buf, text);
			pl_buf_adds(&buf, i + 1 < n ? ",\n" : "\n}\n");
		} else {
			pl_buf_printf(&buf, "%s%s%s", buf.len ? "\n" : "", text,
			              text[strlen(text) - 1] == '\n' ? "" : "\n");
		}
		free(text);
	}
	char *text = pl_strdup(buf.data ? buf.data : "");
	pl_buf_fini(&buf);
	return text;
}

void pl_tables_print(const struct pl_invocation *invocation, int n, struct pl_table *const *tables,
                     const char *nothing)
{
	int rows = 0;
	for (int i = 0; i < n; i++)
		rows += tables[i]->nrows;
	if (rows == 0 && nothing)
		pl_say("%s", nothing);
	char *text = pl_tables_text(invocation->json, !invocation->json && pl_messages_colour(STDOUT_FILENO),
	                            n, tables);
	fputs(text, stdout);
	free(text);
}

void pl_table_print_cards(const struct pl_invocation *invocation, const struct pl_table *table,
                          const char *nothing)
{
	static const struct pl_table_column columns[] = { { "what", PL_CELL_TEXT },
		                                          { "value", PL_CELL_TEXT },
		                                          { NULL } };
	if (invocation->json || table->nrows == 0) {
		pl_table_print(invocation, table, nothing);
		return;
	}
	for (int row = 0; row < table->nrows; row++) {
		struct pl_table *card = pl_table_new(table->name, columns);
		char name[64];
		for (int i = 0; i < table->ncolumns; i++) {
			const struct cell *cell = &table->cells[row * table->ncolumns + i];
			if (!cell->text || (table->columns[i].flags & PL_COLUMN_DATA))
				continue;
			pl_table_row(card);
			pl_table_text(card, 0, heading(table->columns[i].name, false, name, sizeof(name)));
			pl_table_text(card, 1, cell->text);
			pl_table_tone(card, 1, cell->tone);
		}
		char *text = table_text(card, false, pl_messages_colour(STDOUT_FILENO), false);
		printf("%s%s%s", row ? "\n" : "", text, *text && text[strlen(text) - 1] == '\n' ? "" : "\n");
		free(text);
		pl_table_free(&card);
	}
}

void pl_table_print(const struct pl_invocation *invocation, const struct pl_table *table, const char *nothing)
{
	struct pl_table *const tables[] = { (struct pl_table *)table };
	pl_tables_print(invocation, 1, tables, nothing);
}
