// What the files of store/statement share.
#pragma once

#include "store/statement.h"

// The name of the resource's table as a literal.
void pl_statement_table_literal(struct pl_buf *buf, const struct pl_resource *resource);

// " AND …": the write x concerns no other record (store/guard.h). `row`: it changes a row
// p. Nothing for resources that are not guarded.
void pl_statement_guard(struct pl_buf *buf, const struct pl_config *config,
                        const struct pl_resource *resource, bool row);
// " WHEN … THEN outcome" for each way in which it does, of creates only or of all writes;
// and an expression that names the fields.
void pl_statement_guard_reasons(struct pl_buf *buf, const struct pl_config *config,
                                const struct pl_resource *resource, bool create);
void pl_statement_guard_names(struct pl_buf *buf, const struct pl_config *config,
                              const struct pl_resource *resource);

// The JSON of a row p, byte for byte as pl_record_print prints it. `ours`: this region's
// name, of a row that the statement wrote; or NULL.
void pl_statement_json(struct pl_buf *buf, const struct pl_resource *resource, const char *ours);

// ARRAY of the names of the fields that this daemon shows, as a literal.
void pl_statement_known_names(struct pl_buf *buf, const struct pl_resource *resource);

// True if another daemon knows a field that this one does not show; else null.
void pl_statement_others_know_more(struct pl_buf *buf, const struct pl_resource *resource);
// True if no daemon of the region knows more fields than this one, as the session has
// found since their last change (pl_statement_look_at_fields): a tenth of the cost of
// asking each time.
void pl_statement_nobody_knows_more(struct pl_buf *buf, const struct pl_resource *resource);

// PL_STATEMENT_CHANGE_PLAIN.
void pl_statement_plain(struct pl_buf *buf, const struct pl_config *config,
                        const struct pl_resource *resource, const struct pl_region *region, const char *key);
