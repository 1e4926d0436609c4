// The result of a comparison, as tables, as JSON and as an HTML page.
// Threads: the tool has one.
#pragma once

#include "admin/comparison.h"
#include "admin/table.h"

// Prints the tables of several resources to standard output; the JSON contains all that
// is known about each difference.
void pl_compare_report_print(const struct pl_invocation *invocation, const struct pl_comparison *comparisons,
                             int n);
// Print to standard error: what the tables do not show; and what is not known.
void pl_compare_report_say_shown(const struct pl_comparison *comparisons, int n);
void pl_compare_report_say(const struct pl_comparison *comparisons, int n);

// One copy of a difference as text, field by field; NULL: there is no such copy.
const char *pl_compare_report_value(struct pl_arena *arena, const struct pl_scan_copy *copy,
                                    const char *field);
// The copies as JSON, for a report or a note.
void pl_compare_report_copies(struct pl_buf *json, const struct pl_comparison *comparison,
                              const struct pl_found *found);
