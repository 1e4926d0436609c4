// A record: one row of a resource, as it stands in one region; its JSON; and the check of what a client sends for it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"
#include "record/vector.h"

#define PL_ID_MAX ((INT64_C(1) << 53) - 1) // beyond it, JSON's readers disagree about integers

struct pl_record {
	const struct pl_resource *resource;
	int64_t id;
	const char **values;    // resource->nfields texts as PostgreSQL prints them (booleans "t"/"f"); NULL is null
	char region_origin[PL_REGION_MAX + 1];
	int32_t version;
	int64_t updated_at_us;
	struct pl_vector vector;
	bool deleted;
	bool siblings;
	const char *json;       // as the database printed it, when it came from there; NULL else. pl_record_print gives it back as it is
};

struct pl_record *pl_record_new(struct pl_arena *arena, const struct pl_resource *resource);

// {"id":7,"price":500000.00,…,"region_origin":"us","version":2,"updated_at":"…"}: fields in configured order.
void pl_record_print(struct pl_buf *buf, const struct pl_record *record);
// A record of our own database from its JSON, as pl_record_print or the store's statements print it, and its vector's text
// (NULL: it is not set). A NaN that someone put into a column by hand is null here, and `json` is not kept.
int pl_record_scan(struct pl_arena *arena, const struct pl_resource *resource, const char *json, const char *vector,
                   struct pl_record **record_r, struct pl_error *err);
// A JSON value with a record's members in the record's order, others behind them: what JSONB has shuffled, put right.
void pl_record_print_members(struct pl_buf *buf, const struct pl_resource *resource, const cJSON *json);
// Back from such JSON (an event's value). Checks every field; unknown members are ignored. Does not set the vector.
int pl_record_parse(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json,
                    struct pl_record **record_r, struct pl_error *err);

// Faults of a body, for `errors[]`.
struct pl_fault { const char *pointer, *detail; struct pl_fault *next; };

// The changes that a body asks for: a value (or NULL for null) for each field whose `set` is true.
struct pl_changes {
	const char **values;
	bool *set;
};

enum pl_body_kind { PL_BODY_CREATE, PL_BODY_UPDATE };
// Checks the members of `body` against the fields: required ones present (CREATE), at least one field named (UPDATE), types, bounds, scale.
// `also` is a NULL-ended list of other members that are allowed ("version", "id"). Returns the number of faults; all are listed.
int pl_changes_parse(struct pl_arena *arena, const struct pl_resource *resource, enum pl_body_kind kind, const cJSON *body,
                     const char *const *also, struct pl_changes *changes_r, struct pl_fault **faults_r);
// Checks one value already in PostgreSQL text form; NULL if fine, else a sentence.
const char *pl_field_fault(struct pl_arena *arena, const struct pl_field *field, const cJSON *value, const char **text_r);
