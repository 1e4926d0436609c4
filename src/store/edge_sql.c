// The limits of what a record may hold, in SQL: the same as record/edge in C.
//
// Optimised for the ordinary row, whose vector has entries of configured regions and
// nothing else, all of them of at most nine digits. The functions that look at other
// vectors are in sql/021_vectors.sql, which has the same limits.
//
// Measured per row of two entries, in µs: the name of each key 0.2, the text 0.7, the
// values 0.9, the sum 0.5; comparing each value with its limits instead 1.8, a regular
// expression for all of it 6.
#include "store/edge_sql.h"
#include "store/quote.h"

#include "store/statement.h"

#include <string.h>

_Static_assert(PL_COUNTER_MAX == 1073741824 && PL_VECTOR_MAX == 64 && PL_REGION_MAX == 32,
               "sql/021_vectors.sql says these numbers");

// The names that an ordinary vector has: the configured regions, and the key under which
// this region counts, if that is another one. Names and keys need no quotes.
static void ordinary_names(struct pl_buf *sql, const struct pl_config *config, const char *other_key,
                           const char *before, const char *after)
{
	for (int i = 0; i < config->nregions; i++)
		pl_buf_printf(sql, "%s%s%s", before, config->regions[i].name, after);
	if (other_key)
		pl_buf_printf(sql, "%s%s%s", before, other_key, after);
}

// All values are whole numbers if the only dots are those of keys.
static void whole_numbers_sql(struct pl_buf *sql, const char *other_key)
{
	if (!other_key) {
		pl_buf_adds(sql, "strpos(p.vector::text, '.') = 0");
		return;
	}
	pl_buf_printf(sql,
	              "strpos((p.vector - '%s')::text, '.') = 0 AND coalesce(strpos((p.vector -> "
	              "'%s')::text, '.'), 0) = 0",
	              other_key, other_key);
}

// The key under which this region counts, if it is not a region's name; or NULL.
static const char *other_key_of(const struct pl_config *config, const char *key)
{
	return pl_config_region(config, key, strlen(key)) ? NULL : key;
}

void pl_edge_sql_ordinary_names(struct pl_buf *sql, const struct pl_config *config, const char *key)
{
	pl_buf_adds(sql, "p.vector - ARRAY[''");
	ordinary_names(sql, config, other_key_of(config, key), ",'", "'");
	pl_buf_adds(sql, "] = '{}'");
}

static void sum_sql(struct pl_buf *sql, const struct pl_config *config, const char *key)
{
	pl_buf_adds(sql, "p.version = 0");
	ordinary_names(sql, config, other_key_of(config, key), " + coalesce((p.vector -> '",
	               "')::bigint, 0)");
}

// The beginning of a CASE: what holds of ordinary vectors, up to ELSE.
static void ordinary_sql(struct pl_buf *sql, const struct pl_config *config, const char *key)
{
	pl_buf_adds(sql, "CASE WHEN jsonb_typeof(p.vector) = 'object' AND ");
	pl_edge_sql_ordinary_names(sql, config, key);
	pl_buf_adds(sql, " AND ");
	whole_numbers_sql(sql, other_key_of(config, key));
	pl_buf_adds(sql,
	            " AND NOT p.vector @? 'strict $.* ? (@.type() != \"number\" || @ < 0 || @ > 999999999)' "
	            "THEN ");
	sum_sql(sql, config, key);
	pl_buf_adds(sql, " ELSE ");
}

static void all_entries_sql(struct pl_buf *sql, const struct pl_config *config)
{
	pl_buf_adds(sql, "p.version = plist.plist_vector_sum(p.vector, '{");
	for (int i = 0; i < config->nregions + config->nretired; i++)
		pl_buf_printf(sql, "%s%s", i ? "," : "",
		              i < config->nregions ? config->regions[i].name
		                                   : config->retired_regions[i - config->nregions]);
	pl_buf_adds(sql, "}')");
}

void pl_edge_sql_sum(struct pl_buf *sql, const struct pl_config *config, const char *key)
{
	ordinary_sql(sql, config, key);
	all_entries_sql(sql, config);
	pl_buf_adds(sql, " END");
}

static void decimals_sql(struct pl_buf *sql, const struct pl_resource *resource, bool unless_set)
{
	for (int i = 0; i < resource->nfields; i++) {
		if (resource->fields[i].type != PL_FIELD_DECIMAL)
			continue;
		pl_buf_adds(sql, " AND (");
		if (unless_set)
			pl_buf_printf(sql, "x.flags & %lld <> 0 OR ", (long long)PL_FLAG_FIELD(i));
		pl_buf_adds(sql, "p.");
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, " IS NULL OR (p.");
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, " < 'Infinity'::numeric AND p."); // NaN sorts above it
		pl_quote_name(sql, resource->fields[i].name);
		pl_buf_adds(sql, " > '-Infinity'::numeric))");
	}
}

void pl_edge_sql(struct pl_buf *sql, const struct pl_config *config, const struct pl_resource *resource,
                 const char *key)
{
	pl_buf_printf(sql, "(p.version BETWEEN 0 AND %d AND ", PL_VERSION_MAX - 1);
	ordinary_sql(sql, config, key);
	pl_buf_printf(sql, "plist.plist_vector_has_room(p.vector, '%s') AND ", key);
	all_entries_sql(sql, config);
	pl_buf_printf(sql, " END AND p.updated_at <= now() + interval '%lld seconds'",
	              (long long)(PL_AHEAD_US / 1000000));
	decimals_sql(sql, resource, true);
	pl_buf_adds(sql, ")");
}

// Each entry is at most the version, since none is negative and the version is their sum.
void pl_edge_sql_written(struct pl_buf *sql, const struct pl_config *config,
                         const struct pl_resource *resource, const char *key)
{
	pl_edge_sql_ordinary_names(sql, config, key);
	pl_buf_adds(sql, " AND ");
	whole_numbers_sql(sql, other_key_of(config, key));
	pl_buf_printf(sql,
	              " AND NOT p.vector @? 'strict $ ? (exists(@.* ? (@.type() != \"number\" || @ < 0)) || "
	              "@.\"%s\" < 1)' AND ",
	              key);
	sum_sql(sql, config, key);
	decimals_sql(sql, resource, false);
}
