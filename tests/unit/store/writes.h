// Helpers of the store's tests: a create, an update, an outcome, a vector, and whether
// C and SQL print a record identically.
#pragma once

#include "fixture.h"

#include <string.h>

static inline struct pl_write *create(struct fixture *f, int64_t id, const char *price)
{
	struct pl_write *write = write_new(f, PL_WRITE_CREATE, id);

	write_set(write, "price", price);
	return write;
}

static inline struct pl_write *update(struct fixture *f, int64_t id, const char *price)
{
	struct pl_write *write = write_new(f, PL_WRITE_UPDATE, id);

	write_set(write, "price", price);
	return write;
}

static inline void outcome_is(struct fixture *f, struct pl_write *write, enum pl_outcome expected)
{
	enum pl_outcome outcome = write_now(f, write);

	if (outcome != expected)
		fail_msg("%s instead of %s: %s", outcome_name(outcome), outcome_name(expected),
		         write->err.text);
}

static inline void vector_is(const struct pl_vector *vector, const char *text)
{
	struct pl_buf buf = { 0 };

	pl_vector_print(&buf, vector);
	assert_string_equal(buf.data, text);
	pl_buf_fini(&buf);
}

// Compares a record that was read with the database's own text of it.
static inline void prints_as(const struct pl_record *record, const char *expected)
{
	struct pl_buf buf = { 0 };

	pl_record_print(&buf, record);
	assert_string_equal(buf.data, expected);
	pl_buf_fini(&buf);
}

// The JSON made by the database equals the JSON made by C.
static inline void prints_alike(const struct pl_record *record)
{
	struct pl_record plain = *record;
	struct pl_buf buf = { 0 };

	assert_non_null(record->json);
	plain.json = NULL;
	pl_record_print(&buf, &plain);
	assert_string_equal(record->json, buf.data);
	pl_buf_fini(&buf);
}
