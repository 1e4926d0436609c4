// A record (one row of a resource, as it is in one region), its JSON, and the check of
// what a client sends for it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"
#include "record/fault.h"
#include "record/vector.h"

#define PL_ID_MAX ((INT64_C(1) << 53) - 1) // beyond it, JSON parsers disagree about integers

struct pl_record {
	const struct pl_resource *resource;
	int64_t id;
	const char *
		*values; // resource->nfields texts as PostgreSQL prints them (booleans "t"/"f"); NULL is null
	char region_origin[PL_REGION_MAX + 1];
	int32_t version;
	int64_t updated_at_us;
	struct pl_vector vector;
	bool deleted;
	bool has_siblings;
	bool guessed;        // the vector could not be read
	const char *unknown; // after parsing: fields that are not configured, as JSON, or NULL
	const char *
		// after parsing: why a value does not fit its column as this
		// configuration describes it; NULL: all fit
		unfit;
	bool mistyped; // it is of another type
	const char *
		// the database's own JSON, which pl_record_print copies; NULL if it did
		// not come from there
		json;
};

struct pl_record *pl_record_new(struct pl_arena *arena, const struct pl_resource *resource);

// {"id":7,"price":500000.00,…,"region_origin":"us","version":2,"updated_at":"…"}: fields
// in configured order.
void pl_record_print(struct pl_buf *buf, const struct pl_record *record);
// A record of this region's database from its JSON, as pl_record_print or the store's
// statements print it, and the text of its vector (NULL: the vector is not set). A NaN
// that was put into a column by hand becomes null, and `json` is then not kept.
int pl_record_scan(struct pl_arena *arena, const struct pl_resource *resource, const char *json,
                   const char *vector, struct pl_record **record_r, struct pl_error *err);
// A JSON value with a record's members in the record's order and other members after
// them. JSONB does not keep the order of members; this restores it.
void pl_record_print_members(struct pl_buf *buf, const struct pl_resource *resource, const cJSON *json);
// Back from such JSON. Bounds are not checked, because some region has accepted this
// record already; a value of another type is null, and `unfit` says so. Does not set the
// vector.
int pl_record_parse(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json,
                    struct pl_record **record_r, struct pl_error *err);

// The same from a text as pl_record_print prints it, which costs a fifth. NULL: it has
// another form, and pl_record_parse has to read it.
struct pl_record *pl_record_read_printed(struct pl_arena *arena, const struct pl_resource *resource,
                                         const char *text, size_t len);

// The first fault of the fields by the rules for clients, or NULL.
const char *pl_record_fault(struct pl_arena *arena, const struct pl_resource *resource, const cJSON *json);
// The row's vector. If it cannot be read, because something other than plist wrote it,
// all writes that the version counts are attributed to the row's origin.
void pl_record_take_vector(struct pl_record *record, const char *text, size_t len);

// The changes that a body requests: a value (NULL for null) for each field whose `set`
// is true.
struct pl_changes {
	const char **values;
	bool *set;
};

enum pl_body_kind { PL_BODY_CREATE, PL_BODY_UPDATE };
// Checks the members of `body` against the fields: required ones present (CREATE), at
// least one field named (UPDATE), types, bounds, scale. `also` is a NULL-ended list of
// other members that are allowed ("version", "id"). Returns all faults, NULL if there are
// none.
struct pl_fault *pl_changes_parse(struct pl_arena *arena, const struct pl_resource *resource,
                                  enum pl_body_kind kind, const cJSON *body, const char *const *also,
                                  struct pl_changes *changes_r);
// Checks one value in PostgreSQL's text form: NULL if it is valid, else a sentence.
const char *pl_changes_check_field(struct pl_arena *arena, const struct pl_field *field, const cJSON *value,
                                   const char **text_r);
// The same without bounds, lengths and null. *unfit_r: the column, as this
// configuration describes it, would cut off digits.
const char *pl_changes_check_field_type(struct pl_arena *arena, const struct pl_field *field,
                                        const cJSON *value, const char **text_r, const char **unfit_r);
