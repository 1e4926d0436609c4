// Names in the YAML that collide with names of plist, PostgreSQL, Kafka or HTTP, or
// with each other.
//
// Part of the last step of loading: see load_check.c. A colliding name would otherwise
// be accepted and fail much later: in a statement, at the broker, or for one client in
// a thousand.
// Threads: any.
#include "config/load_private.h"

#include <string.h>
#include <strings.h>

#include "config/reserved.h"

// PostgreSQL truncates identifiers to 63 bytes, and the sequence is named after the
// table with "_ids" appended.
#define TABLE_BYTES_MAX 59
#define IDS             "_ids"

// PostgreSQL's reserved words. Statements use table and column names without quotes.
static const char *const sql_reserved[] = {
	"all",
	"analyse",
	"analyze",
	"and",
	"any",
	"array",
	"as",
	"asc",
	"asymmetric",
	"authorization",
	"binary",
	"both",
	"case",
	"cast",
	"check",
	"collate",
	"collation",
	"column",
	"concurrently",
	"constraint",
	"create",
	"cross",
	"current_catalog",
	"current_date",
	"current_role",
	"current_schema",
	"current_time",
	"current_timestamp",
	"current_user",
	"default",
	"deferrable",
	"desc",
	"distinct",
	"do",
	"else",
	"end",
	"except",
	"false",
	"fetch",
	"for",
	"foreign",
	"freeze",
	"from",
	"full",
	"grant",
	"group",
	"having",
	"ilike",
	"in",
	"initially",
	"inner",
	"intersect",
	"into",
	"is",
	"isnull",
	"join",
	"lateral",
	"leading",
	"left",
	"like",
	"limit",
	"localtime",
	"localtimestamp",
	"natural",
	"not",
	"notnull",
	"null",
	"offset",
	"on",
	"only",
	"or",
	"order",
	"outer",
	"overlaps",
	"placing",
	"primary",
	"references",
	"returning",
	"right",
	"select",
	"session_user",
	"similar",
	"some",
	"symmetric",
	"system_user",
	"table",
	"tablesample",
	"then",
	"to",
	"trailing",
	"true",
	"union",
	"unique",
	"user",
	"using",
	"variadic",
	"verbose",
	"when",
	"where",
	"window",
	"with",
	NULL,
};
// The tables that migrations create: collected from sql/ at build time.
static const char *const own_relations[] = {
#include "src/config/own_relations.inc"
	NULL,
};
// Columns that plist requires or may add, and PostgreSQL's hidden ones.
static const char *const own_columns[] = {
	"id",           "region_origin", "version",     "updated_at", "vector",         "deleted_at",
	"has_siblings", "siblings",      "field_times", "request_id", "unknown_fields", "ctid",
	"xmin",         "xmax",          "cmin",        "cmax",       "tableoid",       NULL,
};
// Members of a record in Lua and in responses that are not columns.
static const char *const own_members[] = { "etag", NULL };
static const char *const list_parameters[] = { "after", "limit", NULL };

static bool is_in(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

// ---- tables

static void check_table(struct pl_load *load, const struct pl_resource *resource)
{
	const struct pl_yaml_node *node = pl_load_named(load, "resources", resource->name);
	const char *label = pl_arena_printf(load->arena, "resources.%s.table", resource->name),
		   *table = resource->table;

	if (strspn(table, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(table))
		pl_load_fault(load, node, "table",
		              "%s: is required, because \"%s\" cannot be the name of a table", label, table);
	else if (strlen(table) > TABLE_BYTES_MAX)
		pl_load_fault(load, node, "table",
		              "%s: is required, because the name \"%s\" is longer than %d bytes", label,
		              table, TABLE_BYTES_MAX);
	else if (is_in(own_relations, table) || begins(table, "plist_"))
		pl_load_fault(load, node, "table", "%s: %s is reserved by plist", label, table);
	else if (begins(table, "pg_"))
		pl_load_fault(load, node, "table", "%s: names that begin with pg_ are reserved by PostgreSQL",
		              label);
	else if (is_in(sql_reserved, table))
		pl_load_fault(load, node, "table", "%s: %s is a reserved word of SQL", label, table);
}

static bool is_sequence_of(const char *name, const char *table)
{
	size_t len = strlen(table);

	return strncmp(name, table, len) == 0 && strcmp(name + len, IDS) == 0;
}

static void check_tables(struct pl_load *load, const struct pl_resource *a, const struct pl_resource *b)
{
	const struct pl_yaml_node *node = pl_load_named(load, "resources", b->name);

	if (strcmp(a->table, b->table) == 0)
		pl_load_fault(load, node, "table", "resources.%s.table: is also the table of %s", b->name,
		              a->name);
	else if (is_sequence_of(b->table, a->table))
		pl_load_fault(load, node, "table", "resources.%s.table: %s is the sequence of %s", b->name,
		              b->table, a->name);
	else if (is_sequence_of(a->table, b->table))
		pl_load_fault(load, node, "table",
		              "resources.%s.table: its sequence %s" IDS " is the table of %s", b->name,
		              b->table, a->name);
}

// ---- fields

// Lists are filtered by min_price=…, which must not be ambiguous.
static void check_filter(struct pl_load *load, const struct pl_resource *resource,
                         const struct pl_field *field, const struct pl_yaml_node *node, const char *label)
{
	int bounded = begins(field->name, "min_") || begins(field->name, "max_")
	                      ? pl_config_field(resource, field->name + 4, strlen(field->name + 4))
	                      : -1;

	if (bounded >= 0 && resource->fields[bounded].type != PL_FIELD_BOOLEAN)
		pl_load_fault(load, node, NULL,
		              "%s: the name is reserved: lists use this parameter to filter by field %s",
		              label, resource->fields[bounded].name);
}

static void check_field(struct pl_load *load, const struct pl_resource *resource,
                        const struct pl_field *field)
{
	const struct pl_yaml_node *fields =
		pl_yaml_member(pl_load_named(load, "resources", resource->name), "fields");
	const struct pl_yaml_node *node = pl_yaml_member(fields, field->name);
	const char *label =
		pl_arena_printf(load->arena, "resources.%s.fields.%s", resource->name, field->name);

	if (is_in(own_columns, field->name))
		pl_load_fault(load, node, NULL,
		              "%s: the name is reserved: it is a column of plist or PostgreSQL", label);
	else if (is_in(own_members, field->name))
		pl_load_fault(load, node, NULL,
		              "%s: the name is reserved: every record has a member %s in handlers", label,
		              field->name);
	else if (is_in(list_parameters, field->name))
		pl_load_fault(load, node, NULL, "%s: the name is reserved: it is a parameter of lists",
		              label);
	else if (is_in(sql_reserved, field->name))
		pl_load_fault(load, node, NULL, "%s: the name is a reserved word of SQL", label);
	else
		check_filter(load, resource, field, node, label);
}

// ---- topics

struct topic {
	const char *name, *owner, *label, *key;
	const struct pl_yaml_node *above;
};

static void check_topic(struct pl_load *load, const struct topic *topic)
{
	if (strcmp(topic->name, ".") == 0 || strcmp(topic->name, "..") == 0)
		pl_load_fault(load, topic->above, topic->key,
		              "%s: Kafka does not allow \"%s\" as the name "
		              "of a topic",
		              topic->label, topic->name);
	else if (begins(topic->name, "__"))
		pl_load_fault(load, topic->above, topic->key,
		              "%s: topics that begin with __ are reserved by "
		              "Kafka",
		              topic->label);
}

// Kafka writes '.' as '_' in its metrics, so it refuses to create a topic whose name
// differs from another one only in that.
static bool collide(const char *a, const char *b)
{
	for (; *a != '\0' && *b != '\0'; a++, b++)
		if (*a != *b && !((*a == '.' || *a == '_') && (*b == '.' || *b == '_')))
			return false;
	return *a == *b;
}

static void check_topics(struct pl_load *load, const struct topic *a, const struct topic *b)
{
	if (strcmp(a->name, b->name) == 0)
		pl_load_fault(load, b->above, b->key, "%s: is also the topic of %s", b->label, a->owner);
	else if (collide(a->name, b->name))
		pl_load_fault(load, b->above, b->key,
		              "%s: Kafka cannot distinguish \"%s\" from \"%s\", the topic of %s", b->label,
		              b->name, a->name, a->owner);
}

static int list_topics(struct pl_load *load, struct topic *topics)
{
	const struct pl_config *config = load->config;
	int n = 0;

	topics[n++] =
		(struct topic){ config->kafka.heartbeat_topic, "the heartbeats", "kafka.heartbeat_topic",
		                "heartbeat_topic", pl_yaml_member(load->root, "kafka") };
	if (config->kafka.dead_letter_topic != NULL)
		topics[n++] = (struct topic){ config->kafka.dead_letter_topic, "the dead letters",
			                      "kafka.dead_letter_topic", "dead_letter_topic",
			                      pl_yaml_member(load->root, "kafka") };
	for (int i = 0; i < config->nresources; i++) {
		const char *name = config->resources[i].name;

		if (config->resources[i].topic != NULL)
			topics[n++] =
				(struct topic){ config->resources[i].topic, name,
				                pl_arena_printf(load->arena, "resources.%s.topic", name),
				                "topic", pl_load_named(load, "resources", name) };
	}
	return n;
}

static void check_all_topics(struct pl_load *load)
{
	struct topic *topics =
		pl_arena_alloc(load->arena, sizeof(*topics) * (size_t)(load->config->nresources + 2));
	int n = list_topics(load, topics);

	for (int i = 0; i < n; i++) {
		if (topics[i].name == NULL)
			continue;
		check_topic(load, &topics[i]);
		for (int j = 0; j < i; j++)
			if (topics[j].name != NULL)
				check_topics(load, &topics[j], &topics[i]);
	}
}

// ---- headers

static bool is_reserved(const char *header, enum pl_reserved_use use)
{
	return pl_reserved_has(header, use) || strncasecmp(header, "X-Plist-", 8) == 0 ||
	       strncasecmp(header, "X-Forwarded-", 12) == 0 || strncasecmp(header, "Sec-", 4) == 0;
}

static void check_headers(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	const char *principal = config->http.principal_header;

	if (principal != NULL && is_reserved(principal, PL_RESERVED_PRINCIPAL))
		pl_load_fault(load, pl_yaml_member(load->root, "http"), "principal_header",
		              "http.principal_header: the header %s already has a meaning of its own",
		              principal);
	for (int i = 0; i < config->nroutes; i++) {
		const struct pl_route *route = &config->routes[i];
		const struct pl_yaml_node *node =
			pl_yaml_member(pl_load_route(load, route->index), "idempotency");

		if (!route->idempotent || route->id_header == NULL)
			continue;
		if (is_reserved(route->id_header, PL_RESERVED_ID))
			pl_load_fault(load, node, "header",
			              "routes[%d].idempotency.header: the header %s already has a meaning of "
			              "its own",
			              i, route->id_header);
		else if (principal != NULL && strcasecmp(principal, route->id_header) == 0)
			pl_load_fault(load, node, "header",
			              "routes[%d].idempotency.header: is the same as http.principal_header",
			              i);
	}
}

void pl_load_check_names(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];

		check_table(load, resource);
		for (int j = 0; j < i; j++)
			check_tables(load, &config->resources[j], resource);
		for (int j = 0; j < resource->nall; j++)
			check_field(load, resource, &resource->fields[j]);
	}
	check_all_topics(load);
	check_headers(load);
}
