// The table of a resource and its records in SQL: the table's name, the columns that are
// read, and the JSON of a row p.
//
// Threads: any; nothing is shared.
#include "store/statement.h"

#include <string.h>

#include "store/quote.h"
#include "store/statement_private.h"

// For a row that something other than plist wrote: RFC 3339 has no infinity, and only
// the years 1 to 9999.
#define SHOWN_TIME                                                 \
	"least(greatest(p.updated_at, '0001-01-01 00:00:00+00'), " \
	"'9999-12-31 23:59:59.999999+00')"

#define SHOWN_ORIGIN "to_json(split_part(left(p.region_origin::text, 32), '.', 1))::text"

// "listings.homes" is a table of a schema.
void pl_statement_table_named(struct pl_buf *buf, const struct pl_resource *resource, const char *suffix)
{
	const char *dot = strchr(resource->table, '.'), *name = dot ? dot + 1 : resource->table;
	struct pl_buf whole = { 0 };

	if (dot) {
		pl_quote_name_n(buf, resource->table, (size_t)(dot - resource->table));
		pl_buf_addc(buf, '.');
	}
	pl_buf_printf(&whole, "%s%s", name, suffix);
	pl_quote_name(buf, whole.data);
	pl_buf_fini(&whole);
}

void pl_statement_table_literal(struct pl_buf *buf, const struct pl_resource *resource)
{
	struct pl_buf name = { 0 };

	pl_statement_table(&name, resource);
	pl_quote_literal(buf, name.data);
	pl_buf_fini(&name);
}

void pl_statement_table(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_statement_table_named(buf, resource, "");
}

void pl_statement_plus_texts(struct pl_buf *buf, const struct pl_resource *resource)
{
	for (int i = 0; i < resource->nfields; i++) {
		if (resource->fields[i].type != PL_FIELD_STRING)
			continue;
		pl_buf_adds(buf, " + coalesce(octet_length(p.");
		pl_quote_name(buf, resource->fields[i].name);
		pl_buf_adds(buf, "), 0)");
	}
}

void pl_statement_json(struct pl_buf *buf, const struct pl_resource *resource, const char *ours)
{
	pl_buf_adds(buf, "'{\"id\":' || p.id || '");
	for (int i = 0; i < resource->nfields; i++) {
		const struct pl_field *field = &resource->fields[i];
		struct pl_buf column = { 0 };

		if (ours) {
			pl_buf_adds(&column, "p.");
			pl_quote_name(&column, field->name);
		} else {
			pl_buf_addc(&column, '(');
			pl_statement_field_value(&column, field);
			pl_buf_addc(&column, ')');
		}
		pl_buf_printf(buf, ",\"%s\":' || ", field->name); // an identifier has no quotes
		switch (field->type) {
		case PL_FIELD_DECIMAL:
			if (!ours) { // JSON has no NaN or infinity
				pl_buf_printf(buf,
				              "CASE WHEN %s < 'Infinity'::numeric AND %s > "
				              "'-Infinity'::numeric THEN %s::text ELSE 'null' END",
				              column.data, column.data, column.data);
				break;
			}
			// fall through
		case PL_FIELD_INTEGER:
			// Even if it is required: perhaps not in another region.
			pl_buf_printf(buf, "coalesce(%s::text, 'null')", column.data);
			break;
		case PL_FIELD_BOOLEAN:
			pl_buf_printf(buf,
			              "CASE WHEN %s THEN 'true' WHEN NOT %s THEN 'false' ELSE "
			              "'null' END",
			              column.data, column.data);
			break;
		case PL_FIELD_STRING:
			pl_buf_printf(buf, "coalesce(to_json(%s)::text, 'null')", column.data);
			break;
		}
		pl_buf_adds(buf, " || '");
		pl_buf_fini(&column);
	}
	if (ours) // a region's name has no quotes
		pl_buf_printf(buf, ",\"region_origin\":\"%s\",", ours);
	else
		pl_buf_adds(buf, ",\"region_origin\":' || " SHOWN_ORIGIN " || ',");
	pl_buf_printf(buf,
	              "\"version\":' || p.version || ',\"updated_at\":\"' || "
	              "to_char(%s, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\"}'",
	              ours ? "p.updated_at" : SHOWN_TIME);
}

void pl_statement_record_json(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_statement_json(buf, resource, NULL);
}

// Columns, not JSON: JSON takes PostgreSQL a quarter longer and would only be parsed
// again.
void pl_statement_read_columns(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_adds(buf, "p.id, p.region_origin, p.version, p.updated_at, p.vector, p.has_siblings, "
	                 "p.unknown_fields");
	for (int i = 0; i < resource->nfields; i++) {
		pl_buf_adds(buf, ", p.");
		pl_quote_name(buf, resource->fields[i].name);
	}
}
