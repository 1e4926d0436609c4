// Statements about the ids of new records: claiming the region's range, and moving a
// resource's sequence above the ids that exist already.
//
// The SQL functions are in sql/007_id_ranges.sql.
// Threads: any; nothing is shared.
#include "store/quote.h"
#include "store/statement_private.h"

// The names of the table and the sequence as literals.
static void table_and_sequence(struct pl_buf *buf, const struct pl_resource *resource)
{
	struct pl_buf records = { 0 }, sequence = { 0 };

	pl_statement_table_named(&records, resource, "");
	pl_statement_table_named(&sequence, resource, "_ids");
	pl_quote_literal(buf, records.data);
	pl_buf_adds(buf, ", ");
	pl_quote_literal(buf, sequence.data);
	pl_buf_fini(&records);
	pl_buf_fini(&sequence);
}

static long long id_room(const struct pl_region *region)
{
	return region->id_room > 0 ? region->id_room : 1000000000000;
}

void pl_statement_pass_taken_ids(struct pl_buf *buf, const struct pl_resource *resource,
                                 const struct pl_region *own)
{
	pl_buf_adds(buf, "SELECT plist_pass_taken_ids(");
	pl_quote_literal(buf, own->name);
	pl_buf_printf(buf, ", %lld, ", id_room(own));
	table_and_sequence(buf, resource);
	pl_buf_adds(buf, ")");
}

static void claim_fields(struct pl_buf *buf, const struct pl_config *config)
{
	char type[PL_FIELD_TYPE_MAX];

	// A frozen database is still read, and says itself that it takes no writes.
	pl_buf_adds(buf, "IF NOT current_setting('transaction_read_only')::boolean THEN ");
	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];

		pl_buf_printf(buf, "PERFORM plist.plist_claim_fields('%s', ", resource->name);
		pl_statement_table_literal(buf, resource);
		pl_buf_adds(buf, ", '{");
		for (int f = 0; f < resource->nall; f++)
			pl_buf_printf(buf, "%s\"%s\":{\"type\":\"%s\",\"retired\":%s}", f ? "," : "",
			              resource->fields[f].name,
			              pl_config_field_type(&resource->fields[f], type),
			              f < resource->nfields ? "false" : "true");
		pl_buf_adds(buf, "}'); ");
	}
	pl_buf_adds(buf, "END IF; ");
}

// Where this region's ids begin is kept in a row, which somebody may have deleted. Then
// the other regions know it; and the order of the regions in the YAML, from which a first
// start takes it, may lead to the range of one of them.
static void find_lost_range(struct pl_buf *buf, const struct pl_region *own)
{
	static const char sql[] =
		"IF NOT EXISTS (SELECT FROM plist.id_ranges WHERE region = '%s') THEN "
		"IF EXISTS (SELECT FROM plist.region_heartbeats WHERE word -> 'known' -> '%s' ? 'id_base') "
		"THEN INSERT INTO plist.id_ranges (region, id_base) "
		"SELECT '%s', (word -> 'known' -> '%s' ->> 'id_base')::bigint FROM plist.region_heartbeats "
		"WHERE word -> 'known' -> '%s' ? 'id_base' ORDER BY heard_at DESC LIMIT 1 "
		"ON CONFLICT DO NOTHING; "
		"ELSIF EXISTS (SELECT FROM plist.known_regions WHERE region <> '%s' AND id_base = %lld) THEN "
		"RAISE EXCEPTION 'plist.id_ranges has no row for region %s, and the range of ids from %lld "
		"on is another region''s: give regions.%s.id_base the number after which its ids begin'; "
		"END IF; END IF; ";
	const char *name = own->name;

	pl_buf_printf(buf, sql, name, name, name, name, name, name, (long long)own->id_base, name,
	              (long long)own->id_base, name);
}

void pl_statement_claim_ids(struct pl_buf *buf, const struct pl_config *config, const struct pl_region *own)
{
	pl_buf_adds(buf, "DO $plist$ BEGIN IF to_regclass('plist.id_ranges') IS NULL OR "
	                 "to_regclass('plist.resource_fields_changes') IS NULL THEN "
	                 "RAISE EXCEPTION 'the database has no plist tables or older ones: run plist-admin "
	                 "migrate'; END IF; ");
	if (!own->id_base_given)
		find_lost_range(buf, own);
	pl_buf_adds(buf, "PERFORM plist_claim_ids(");
	pl_quote_literal(buf, own->name);
	pl_buf_printf(buf, ", %lld, %s, %lld", (long long)own->id_base, own->id_base_given ? "true" : "false",
	              id_room(own));
	for (int i = 0; i < config->nresources; i++) {
		pl_buf_adds(buf, ", ");
		table_and_sequence(buf, &config->resources[i]);
	}
	pl_buf_adds(buf, "); ");
	claim_fields(buf, config);
	pl_buf_adds(buf, "END $plist$");
}

void pl_statement_claim_fields(struct pl_buf *buf, const struct pl_config *config)
{
	pl_buf_adds(buf, "DO $plist$ BEGIN ");
	claim_fields(buf, config);
	pl_buf_adds(buf, "END $plist$");
}

void pl_statement_claim_identity(struct pl_buf *buf, const struct pl_region *own, const char *key)
{
	pl_buf_adds(buf, "DO $plist$ BEGIN IF to_regclass('plist.identity') IS NULL THEN "
	                 "RAISE EXCEPTION 'the database has no plist tables or older ones: run plist-admin "
	                 "migrate'; END IF; PERFORM plist.plist_claim_identity(");
	pl_quote_literal(buf, own->name);
	pl_buf_adds(buf, ", ");
	pl_quote_literal(buf, key);
	pl_buf_adds(buf, "); END $plist$");
}
