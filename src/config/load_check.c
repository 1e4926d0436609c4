// What no single value can be wrong in: references to what is not there, two things in one place, combinations without sense.
//
// The last step of loading, after every value has its default; routes are in check_routes.c. Values that were refused before are NULL or
// default here, so that one mistake is reported once.
// Threads: any.
#include "config/load.h"

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/sockfile.h"

#define ID_ROOM INT64_C(1000000000) // fewer ids than this between two regions is asking for trouble

// Words that PostgreSQL keeps to itself: statements name tables and columns without quotes.
static const char *const sql_reserved[] = {
	"all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary", "both", "case", "cast",
	"check", "collate", "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog", "current_date",
	"current_role", "current_schema", "current_time", "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct",
	"do", "else", "end", "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike",
	"in", "initially", "inner", "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like", "limit",
	"localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or", "order", "outer", "overlaps",
	"placing", "primary", "references", "returning", "right", "select", "session_user", "similar", "some", "symmetric", "system_user",
	"table", "tablesample", "then", "to", "trailing", "true", "union", "unique", "user", "using", "variadic", "verbose", "when",
	"where", "window", "with", NULL,
};
static const char *const own_tables[] = {
	"plist_migrations", "processed_requests", "outbox", "record_siblings", "conflicts", "conflicts_default", "dead_letters",
	"applied_positions", "region_heartbeats", NULL,
};
// Columns that every resource has, PostgreSQL's hidden ones, and words of the query string of lists.
static const char *const own_fields[] = {
	"id", "region_origin", "version", "updated_at", "vector", "deleted_at", "siblings", "field_times",
	"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "after", NULL,
};
// First path segments that are the daemon's or NGINX's own.
static const char *const own_paths[] = { "health", "ready", "metrics", "nginx-health", NULL };
// Set by plist itself: another value would break what the events are promised to do.
static const char *const own_settings[] = {
	"bootstrap.servers", "metadata.broker.list", "group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.idempotence",
	"acks", "request.required.acks", "transactional.id", "retries", "message.send.max.retries", "message.timeout.ms", "delivery.timeout.ms",
	"partitioner", "partition.assignment.strategy", "auto.offset.reset", "enable.partition.eof", NULL,
};

static bool is_in(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

static size_t host_len(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon != NULL ? (size_t)(colon - address) : 0;
}

static void check_port(struct pl_load *load, const struct pl_node *above, const char *key, const char *label, const char *address)
{
	const char *colon = strrchr(address, ':');
	long port = atol(colon != NULL ? colon + 1 : address);

	if (port < 1 || port > 65535)
		pl_load_fault(load, above, key, "%s: must end in a port from 1 to 65535, not \"%.60s\"", label, address);
}

// ---- regions

static bool same_host(const struct pl_region *a, const struct pl_region *b)
{
	for (int i = 0; i < a->nupstream; i++)
		for (int j = 0; j < b->nupstream; j++) {
			size_t len = host_len(a->upstream[i]);
			if (len == host_len(b->upstream[j]) && memcmp(a->upstream[i], b->upstream[j], len) == 0)
				return true;
		}
	return false;
}

static bool is_any(const char *address, size_t len)
{
	return (len == 7 && memcmp(address, "0.0.0.0", 7) == 0) || (len == 4 && memcmp(address, "[::]", 4) == 0);
}

// Whether two daemons on one machine could not both listen: the same port, at the same address or one of them at all addresses.
static bool same_listen(const char *a, const char *b)
{
	size_t a_len = host_len(a), b_len = host_len(b);

	if (strcmp(a + a_len, b + b_len) != 0)
		return false;
	return is_any(a, a_len) || is_any(b, b_len) || (a_len == b_len && memcmp(a, b, a_len) == 0);
}

static void check_addresses(struct pl_load *load, const struct pl_region *a, const struct pl_region *b)
{
	const struct pl_node *node = pl_load_named(load, "regions", b->name);
	const char *key = pl_node_member(node, "upstream") != NULL ? "upstream" : "listen";

	for (int i = 0; i < a->nupstream; i++)
		for (int j = 0; j < b->nupstream; j++)
			if (strcmp(a->upstream[i], b->upstream[j]) == 0) {
				pl_load_fault(load, node, key, "regions.%s.%s: region %s is at %s, too", b->name, key, a->name, a->upstream[i]);
				return;
			}
	if (a->listen != NULL && b->listen != NULL && same_listen(a->listen, b->listen) && same_host(a, b))
		pl_load_fault(load, node, "listen", "regions.%s.listen: region %s listens at %s, too", b->name, a->name, a->listen);
}

static void check_sockets(struct pl_load *load, const struct pl_node *node, const struct pl_region *a, const struct pl_region *b)
{
	const struct { const char *key, *path; } ours[] = {{ "control", b->control }, { "socket", b->socket }};
	const char *theirs[] = { a->control, a->socket };

	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++)
			if (ours[i].path != NULL && theirs[j] != NULL && strcmp(ours[i].path, theirs[j]) == 0)
				pl_load_fault(load, node, ours[i].key, "regions.%s.%s: is the socket of region %s", b->name, ours[i].key, a->name);
}

static void check_region_pair(struct pl_load *load, const struct pl_region *a, const struct pl_region *b)
{
	const struct pl_node *node = pl_load_named(load, "regions", b->name);
	int64_t distance = a->id_base > b->id_base ? a->id_base - b->id_base : b->id_base - a->id_base;

	check_addresses(load, a, b);
	if (distance == 0)
		pl_load_fault(load, node, "id_base", "regions.%s.id_base: region %s has the same, so both would give out the same ids", b->name, a->name);
	else if (distance < ID_ROOM)
		pl_load_warn(load, node, "id_base", "regions.%s.id_base: only %lld above or below that of region %s", b->name, (long long)distance, a->name);
	if (a->database != NULL && b->database != NULL && strcmp(a->database, b->database) == 0)
		pl_load_fault(load, node, "database", "regions.%s.database: is the database of region %s", b->name, a->name);
	check_sockets(load, node, a, b);
}

static const char *option(const PQconninfoOption *options, const char *keyword)
{
	while (options->keyword != NULL && strcmp(options->keyword, keyword) != 0)
		options++;
	return options->keyword != NULL && options->val != NULL ? options->val : "";
}

// Whether an '@' or '/' of the password, not written as %40 or %2F, has ended it too early: its rest is then the host, the port or the
// database, and libpq names these when it cannot connect.
static bool spills_password(const PQconninfoOption *options)
{
	const char *host = option(options, "host"), *port = option(options, "port");

	if (port[strspn(port, "0123456789,")] != '\0')
		return true;
	if (host[0] != '/' && host[0] != '@' && strchr(host, '@') != NULL) // these begin the paths of sockets
		return true;
	return *option(options, "user") == '\0' && strchr(option(options, "dbname"), '@') != NULL;
}

// What is wrong with a connection string, or NULL. libpq's own words are not passed on: they quote the string.
static const char *connection_fault(const char *text)
{
	char *message = NULL;
	PQconninfoOption *options = PQconninfoParse(text, &message);
	const char *fault = NULL;

	PQfreemem(message);
	if (options == NULL)
		return "is no connection string of libpq (its value is not shown)";
	if (spills_password(options))
		fault = "a part of user or password is taken for host, port or database: in a URL write @ as %40, / as %2F (its value is not shown)";
	PQconninfoFree(options);
	return fault;
}

static void check_database(struct pl_load *load, const struct pl_region *region, const struct pl_node *node)
{
	const char *key = pl_node_member(node, "database_file") != NULL ? "database_file" : "database";
	bool ours = load->region != NULL && strcmp(load->region, region->name) == 0;

	if (region->database != NULL) {
		const char *fault = connection_fault(region->database);
		if (fault != NULL)
			pl_load_fault(load, node, key, "regions.%s.%s: %s", region->name, key, fault);
	} else if (pl_node_member(node, key) == NULL && ours) { // where it stands but is empty or unset, that was reported
		pl_load_fault(load, node, NULL, "regions.%s.database: is missing", region->name);
	}
}

static void check_socket(struct pl_load *load, const struct pl_node *node, const char *label, const char *key, const char *path)
{
	if (path != NULL && strlen(path) > PL_SOCKFILE_PATH_MAX)
		pl_load_fault(load, node, key, "%s.%s: the path of a socket has at most %d bytes; %s", label, key, PL_SOCKFILE_PATH_MAX, path);
}

static void check_region(struct pl_load *load, const struct pl_region *region)
{
	const struct pl_node *node = pl_load_named(load, "regions", region->name);
	const char *label = pl_arena_printf(load->arena, "regions.%s", region->name);

	if (is_in(own_paths, region->name))
		pl_load_fault(load, node, NULL, "%s: the path /%s is taken", label, region->name);
	if (region->listen != NULL)
		check_port(load, node, "listen", pl_arena_printf(load->arena, "%s.listen", label), region->listen);
	if (pl_node_member(node, "upstream") != NULL)
		for (int i = 0; i < region->nupstream; i++)
			check_port(load, node, "upstream", pl_arena_printf(load->arena, "%s.upstream", label), region->upstream[i]);
	check_socket(load, node, label, "control", region->control);
	check_socket(load, node, label, "socket", region->socket);
	if (region->socket != NULL && strcmp(region->socket, region->control) == 0)
		pl_load_fault(load, node, "socket", "%s.socket: is the one that plist-admin talks to (control)", label);
	check_database(load, region, node);
}

static void check_regions(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	for (int i = 0; i < config->nregions; i++) {
		check_region(load, &config->regions[i]);
		for (int j = 0; j < i; j++)
			check_region_pair(load, &config->regions[j], &config->regions[i]);
	}
	if (load->region != NULL && config->nregions > 0 && pl_config_region(config, load->region, strlen(load->region)) == NULL)
		pl_load_fault(load, load->root, "regions", "regions: there is no region \"%.64s\"", load->region);
}

// ---- resources

static void check_bound(struct pl_load *load, const struct pl_node *node, const char *label, const char *key, const struct pl_field *field,
                        const char *bound)
{
	int above = 0, below = 0;

	if (bound == NULL)
		return;
	if (field->type != PL_FIELD_INTEGER && field->type != PL_FIELD_DECIMAL) {
		pl_load_fault(load, node, key, "%s.%s: only a decimal or an integer has one", label, key);
		return;
	}
	if (field->type != PL_FIELD_INTEGER)
		return;
	pl_decimal_cmp_text(bound, "2147483647", &above);
	pl_decimal_cmp_text(bound, "-2147483648", &below);
	if (above > 0 || below < 0)
		pl_load_fault(load, node, key, "%s.%s: an integer is from -2147483648 to 2147483647", label, key);
}

static void check_field(struct pl_load *load, const struct pl_resource *resource, const struct pl_field *field)
{
	const struct pl_node *fields = pl_node_member(pl_load_named(load, "resources", resource->name), "fields");
	const struct pl_node *node = pl_node_member(fields, field->name);
	const char *label = pl_arena_printf(load->arena, "resources.%s.fields.%s", resource->name, field->name);
	int sign = 0;

	if (is_in(own_fields, field->name))
		pl_load_fault(load, node, NULL, "%s: the name is taken: every resource has such a column or parameter", label);
	if (is_in(sql_reserved, field->name))
		pl_load_fault(load, node, NULL, "%s: the name is a reserved word of SQL", label);
	check_bound(load, node, label, "min", field, field->min);
	check_bound(load, node, label, "max", field, field->max);
	if (field->min != NULL && field->max != NULL && pl_decimal_cmp_text(field->min, field->max, &sign) == 0 && sign > 0)
		pl_load_fault(load, node, "max", "%s.max: is less than min", label);
	if (field->type != PL_FIELD_DECIMAL && pl_node_member(node, "precision") != NULL)
		pl_load_fault(load, node, "precision", "%s.precision: only a decimal has one", label);
	if (field->type != PL_FIELD_DECIMAL && pl_node_member(node, "scale") != NULL)
		pl_load_fault(load, node, "scale", "%s.scale: only a decimal has one", label);
	if (field->type == PL_FIELD_DECIMAL && field->scale > field->precision)
		pl_load_fault(load, node, "scale", "%s.scale: is greater than precision", label);
	if (field->type != PL_FIELD_STRING && pl_node_member(node, "max_length") != NULL)
		pl_load_fault(load, node, "max_length", "%s.max_length: only a string has one", label);
}

// The Lua file that is nearest to one that is not there.
static const char *nearest_source(const struct pl_config *config, const char *path)
{
	const char *best = NULL;
	int best_distance = 0;

	for (int i = 0; i < config->nsources; i++) {
		int distance = pl_schema_distance(path, config->sources[i].path);
		if (distance >= 0 && (best == NULL || distance < best_distance)) {
			best = config->sources[i].path;
			best_distance = distance;
		}
	}
	return best;
}

void pl_load_check_script(struct pl_load *load, const struct pl_node *node, const char *key, const char *label, const char *path)
{
	const char *near;

	if (path == NULL || load->config->lua_root == NULL || pl_config_source(load->config, path) != NULL)
		return;
	near = nearest_source(load->config, path);
	if (near != NULL)
		pl_load_fault(load, node, key, "%s.%s: there is no file %s under %s; did you mean \"%s\"?", label, key, path, load->config->lua_root, near);
	else
		pl_load_fault(load, node, key, "%s.%s: there is no file %s under %s", label, key, path, load->config->lua_root);
}

static void check_topic(struct pl_load *load, const struct pl_node *node, const char *key, const char *label, const char *topic)
{
	if (strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
		pl_load_fault(load, node, key, "%s: \"%s\" is no name for a topic", label, topic);
}

static void check_resource(struct pl_load *load, const struct pl_resource *resource)
{
	const struct pl_node *node = pl_load_named(load, "resources", resource->name);
	const char *label = pl_arena_printf(load->arena, "resources.%s", resource->name);

	if (is_in(own_tables, resource->table))
		pl_load_fault(load, node, "table", "%s.table: %s is a table of plist's own", label, resource->table);
	if (is_in(sql_reserved, resource->table) || strncmp(resource->table, "pg_", 3) == 0)
		pl_load_fault(load, node, "table", "%s.table: %s is a reserved word of SQL", label, resource->table);
	if (strspn(resource->table, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(resource->table))
		pl_load_fault(load, node, "table", "%s.table: must be given, since \"%s\" is no name for a table", label, resource->table);
	if (resource->topic != NULL) {
		check_topic(load, node, "topic", pl_arena_printf(load->arena, "%s.topic", label), resource->topic);
		if (strcmp(resource->topic, load->config->kafka.heartbeat_topic) == 0)
			pl_load_fault(load, node, "topic", "%s.topic: is the topic of the heartbeats", label);
	}
	pl_load_check_script(load, node, "policy", label, resource->policy);
	pl_load_check_script(load, node, "shadow", label, resource->shadow);
	if (resource->shadow != NULL && resource->policy != NULL && strcmp(resource->shadow, resource->policy) == 0)
		pl_load_warn(load, node, "shadow", "%s.shadow: is the policy itself", label);
	for (int i = 0; i < resource->nfields; i++)
		check_field(load, resource, &resource->fields[i]);
}

static void check_resources(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *b = &config->resources[i];
		const struct pl_node *node = pl_load_named(load, "resources", b->name);
		check_resource(load, b);
		for (int j = 0; j < i; j++) {
			const struct pl_resource *a = &config->resources[j];
			if (strcmp(a->table, b->table) == 0)
				pl_load_fault(load, node, "table", "resources.%s.table: is the table of %s", b->name, a->name);
			if (a->topic != NULL && b->topic != NULL && strcmp(a->topic, b->topic) == 0)
				pl_load_fault(load, node, "topic", "resources.%s.topic: is the topic of %s", b->name, a->name);
		}
	}
}

// ---- kafka, nginx

// librdkafka knows its properties best; its words may quote the value, which may be a secret.
static void check_kafka_settings(struct pl_load *load)
{
	const struct pl_node *node = pl_node_member(pl_node_member(load->root, "kafka"), "properties");
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char text[512];

	for (int i = 0; i < load->config->kafka.npairs; i++) {
		const struct pl_pair *pair = &load->config->kafka.pairs[i];
		const char *twin = pl_arena_printf(load->arena, "%s_file", pair->key);
		const char *key = pl_node_member(node, pair->key) != NULL ? pair->key : twin;
		if (is_in(own_settings, pair->key)) {
			pl_load_fault(load, node, key, "kafka.properties.%.64s: is set by plist itself", pair->key);
			continue;
		}
		rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, pair->key, pair->value, text, sizeof(text));
		if (result == RD_KAFKA_CONF_UNKNOWN)
			pl_load_fault(load, node, key, "kafka.properties.%.64s: librdkafka knows no such setting", pair->key);
		else if (result != RD_KAFKA_CONF_OK && pl_key_is_secret_setting(pair->key))
			pl_load_fault(load, node, key, "kafka.properties.%.64s: librdkafka refuses it (its value is not shown)", pair->key);
		else if (result != RD_KAFKA_CONF_OK)
			pl_load_fault(load, node, key, "kafka.properties.%.64s: %s", pair->key, text);
	}
	rd_kafka_conf_destroy(conf);
}

static void check_brokers(struct pl_load *load)
{
	const struct pl_node *kafka = pl_node_member(load->root, "kafka");
	const char *brokers = load->config->kafka.brokers;
	char *list = brokers != NULL ? pl_arena_strdup(load->arena, brokers) : NULL, *save = NULL;

	for (char *item = list != NULL ? strtok_r(list, ", ", &save) : NULL; item != NULL; item = strtok_r(NULL, ", ", &save))
		check_port(load, kafka, "brokers", "kafka.brokers", item);
}

// Whether the i-th word of a list is new in it.
static void check_once(struct pl_load *load, const struct pl_node *above, const char *key, const char *label, const char **list, int i)
{
	for (int j = 0; j < i; j++)
		if (strcmp(list[i], list[j]) == 0)
			pl_load_fault(load, above, key, "%s: %s is given twice", label, list[i]);
}

// NGINX reaches a region by its socket only if there is such a region and it has one.
static void check_beside(struct pl_load *load, const struct pl_node *node, int i)
{
	const struct pl_config *config = load->config;
	const char *name = config->nginx.beside[i];
	const struct pl_region *region = pl_config_region(config, name, strlen(name));

	if (region == NULL)
		pl_load_fault(load, node, "beside", "nginx.beside: there is no region \"%.64s\"", name);
	else if (region->socket == NULL)
		pl_load_fault(load, node, "beside", "nginx.beside: region %s has no socket: give regions.%s.socket a path", name, name);
	check_once(load, node, "beside", "nginx.beside", config->nginx.beside, i);
}

static void check_nginx(struct pl_load *load)
{
	const struct pl_node *node = pl_node_member(load->root, "nginx");
	const struct pl_config *config = load->config;

	if (config->nginx.listen != NULL)
		check_port(load, node, "listen", "nginx.listen", config->nginx.listen);
	for (int i = 0; i < config->nginx.nbeside; i++)
		check_beside(load, node, i);
	for (int i = 0; i < config->nginx.nreads; i++) {
		const struct pl_node *failover = pl_node_member(node, "failover");
		if (strcmp(config->nginx.reads[i], "off") == 0 && config->nginx.nreads > 1)
			pl_load_fault(load, failover, "reads", "nginx.failover.reads: off stands alone");
		check_once(load, failover, "reads", "nginx.failover.reads", config->nginx.reads, i);
	}
}

void pl_load_check(struct pl_load *load)
{
	check_regions(load);
	check_resources(load);
	check_topic(load, pl_node_member(load->root, "kafka"), "heartbeat_topic", "kafka.heartbeat_topic", load->config->kafka.heartbeat_topic);
	check_brokers(load);
	check_kafka_settings(load);
	check_nginx(load);
}
