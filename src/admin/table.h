// Data for standard output: one definition of columns gives the table and the JSON
// (libsmartcols).
//
// In JSON, the document is one object. Each table in it is a list under its name, and
// each row an object. A command with one table prints {"regions": [ … ]}.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "admin/command.h"

enum pl_cell_type {
	PL_CELL_TEXT,
	PL_CELL_NUMBER,
	PL_CELL_BOOLEAN, // yes or no in a table
	PL_CELL_JSON,    // any JSON value; its text in a table
};

enum pl_table_column_flag {
	PL_COLUMN_DETAIL = 1, // in JSON and on cards only
	PL_COLUMN_CUT = 2,    // may be cut to fit the terminal
	PL_COLUMN_PEOPLE = 4, // in tables only
	PL_COLUMN_AS_IS = 8,  // its heading is its name
	PL_COLUMN_DATA = 16,  // in JSON only
};

struct pl_table_column {
	const char *name; // as in JSON: "last_heard"; the table shows LAST HEARD. NULL ends a list
	enum pl_cell_type type;
	int flags;
};

enum pl_tone { PL_TONE_PLAIN, PL_TONE_GOOD, PL_TONE_BAD, PL_TONE_DOUBT, PL_TONE_STRONG };

struct pl_table;

// `name` and `columns` belong to the caller and must outlive the table.
struct pl_table *pl_table_new(const char *name, const struct pl_table_column *columns);
void pl_table_free(struct pl_table **table_p);
int pl_table_rows(const struct pl_table *table);

// Keeps at most `bytes` of long texts in columns that a table does not show: those of
// later rows stay null, and pl_table_left_out returns the number of these rows. No limit
// by default.
void pl_table_hold(struct pl_table *table, int64_t bytes);
int pl_table_left_out(const struct pl_table *table);

void pl_table_row(struct pl_table *table); // begins a row, all of it null
// Cells of the current row. Invalid UTF-8 is replaced by U+FFFD.
void pl_table_text(struct pl_table *table, int column, const char *text); // NULL: null
void pl_table_printf(struct pl_table *table, int column, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void pl_table_number(struct pl_table *table, int column, int64_t number);
void pl_table_seconds(struct pl_table *table, int column, double seconds); // with three decimal places
void pl_table_bool(struct pl_table *table, int column, bool value);
void pl_table_time(struct pl_table *table, int column, int64_t at_us);    // 0: null
void pl_table_json(struct pl_table *table, int column, const char *json); // NULL: null; must be JSON
void pl_table_tone(struct pl_table *table, int column,
                   enum pl_tone tone); // its colour, if colours are used

// Prints the tables in one document. For a table without rows, prints `nothing` to
// standard error instead.
void pl_tables_print(const struct pl_invocation *invocation, int n, struct pl_table *const *tables,
                     const char *nothing);
void pl_table_print(const struct pl_invocation *invocation, const struct pl_table *table,
                    const char *nothing);
// Prints a table's rows as cards for people, one line per column; in JSON like
// pl_table_print.
void pl_table_print_cards(const struct pl_invocation *invocation, const struct pl_table *table,
                          const char *nothing);
// The same as text, to be freed. Used by the functions above and by tests.
char *pl_tables_text(bool json, bool colours, int n, struct pl_table *const *tables);
