// The SQL about fields that are not in their columns, since a daemon did not know them.
//
// The functions of plist that it calls are in sql/015_unknown_fields.sql and
// sql/*_unknown_values.sql; those named "look" in sql/*_field_changes.sql.
// Threads: any; nothing is shared.
#include "base/sha256.h"
#include "store/quote.h"
#include "store/statement_private.h"

void pl_statement_known_names(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_adds(buf, "'{");
	for (int i = 0; i < resource->nfields; i++)
		pl_buf_printf(buf, "%s\"%s\"", i ? "," : "", resource->fields[i].name);
	pl_buf_adds(buf, "}'::text[]");
}

void pl_statement_field_types(struct pl_buf *buf, const struct pl_resource *resource, int n)
{
	char type[PL_FIELD_TYPE_MAX];

	pl_buf_adds(buf, "'{");
	for (int i = 0; i < n; i++)
		pl_buf_printf(buf, "%s\"%s\":\"%s\"", i ? "," : "", resource->fields[i].name,
		              pl_config_field_type(&resource->fields[i], type));
	pl_buf_adds(buf, "}'::jsonb");
}

void pl_statement_field_value(struct pl_buf *buf, const struct pl_field *field)
{
	static const char *const casts[] = { [PL_FIELD_DECIMAL] = "::numeric",
		                             [PL_FIELD_INTEGER] = "::numeric::integer",
		                             [PL_FIELD_STRING] = "",
		                             [PL_FIELD_BOOLEAN] = "::boolean" };
	char type[PL_FIELD_TYPE_MAX];
	struct pl_buf name = { 0 };

	pl_quote_name(&name, field->name);
	pl_buf_printf(buf,
	              "CASE WHEN p.unknown_fields IS NULL THEN p.%s WHEN plist.plist_fits(p.unknown_fields "
	              "-> '%s', '%s') THEN (p.unknown_fields ->> '%s')%s ELSE p.%s END",
	              name.data, field->name, pl_config_field_type(field, type), field->name,
	              casts[field->type], name.data);
	pl_buf_fini(&name);
}

// Uncorrelated, so PostgreSQL evaluates it once for a statement, not for each row.
static void others_know_more(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_printf(buf,
	              "(SELECT true FROM plist.resource_fields AS k WHERE k.resource = '%s' AND "
	              "k.has_column AND k.name <> ALL (",
	              resource->name);
	pl_statement_known_names(buf, resource);
	pl_buf_adds(buf, ") LIMIT 1)");
}

// The session's setting that says since which change nobody has known more fields. Its
// name says what "more" means: fields other than these.
static void mark_name(struct pl_buf *buf, const struct pl_resource *resource)
{
	struct pl_buf known = { 0 };
	uint8_t digest[PL_SHA256_SIZE];
	char text[PL_SHA256_HEX];

	pl_buf_printf(&known, "%s ", resource->name);
	pl_statement_known_names(&known, resource);
	pl_sha256(known.data, known.len, digest);
	pl_buf_printf(buf, "'plist.fields_%.20s'", pl_sha256_hex(digest, text));
	pl_buf_fini(&known);
}

void pl_statement_nobody_knows_more(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_adds(buf, "pg_sequence_last_value('plist.resource_fields_changes'::regclass)::text = "
	                 "current_setting(");
	mark_name(buf, resource);
	pl_buf_adds(buf, ", true)");
}

static void look_at_fields(struct pl_buf *buf, const struct pl_resource *resource)
{
	pl_buf_adds(buf, "plist.plist_look_at_fields(");
	mark_name(buf, resource);
	pl_buf_printf(buf, ", '%s', ", resource->name);
	pl_statement_known_names(buf, resource);
	pl_buf_addc(buf, ')');
}

void pl_statement_look_at_fields(struct pl_buf *buf, const struct pl_resource *resources, int n)
{
	pl_buf_adds(buf, "SELECT ");
	for (int i = 0; i < n; i++) {
		pl_buf_adds(buf, i ? ", " : "");
		look_at_fields(buf, &resources[i]);
	}
}

static void unknown_sql(struct pl_buf *buf, const struct pl_resource *resource, const char *function)
{
	pl_buf_adds(buf, "CASE WHEN p.unknown_fields IS NOT NULL OR ");
	others_know_more(buf, resource);
	pl_buf_printf(buf, " THEN plist.%s('%s', ", function, resource->name);
	pl_statement_known_names(buf, resource);
	pl_buf_adds(buf, ", p.unknown_fields, to_jsonb(p)) END");
}

void pl_statement_unknown(struct pl_buf *buf, const struct pl_resource *resource)
{
	unknown_sql(buf, resource, "plist_unknown_fields");
}

void pl_statement_stored_unknown(struct pl_buf *buf, const struct pl_resource *resource)
{
	unknown_sql(buf, resource, "plist_stored_fields");
}

void pl_statement_written_unknown(struct pl_buf *buf, const struct pl_resource *resource, const char *unknown)
{
	pl_buf_adds(buf, "CASE WHEN ");
	if (unknown)
		pl_buf_printf(buf, "%s IS NOT NULL OR ", unknown);
	others_know_more(buf, resource);
	pl_buf_printf(buf, " THEN plist.plist_unknown_written('%s', ", resource->name);
	pl_statement_table_literal(buf, resource);
	pl_buf_adds(buf, ", ");
	pl_statement_known_names(buf, resource);
	pl_buf_printf(buf, ", %s) END", unknown ? unknown : "NULL");
}

void pl_statement_with_unknown(struct pl_buf *buf, const char *json, const char *unknown)
{
	pl_buf_printf(buf, "CASE WHEN %s IS NULL THEN %s ELSE left(%s, -1) || ',' || substr(%s::text, 2) END",
	              unknown, json, json, unknown);
}
