// Checks that concern more than one value: references to things that do not exist,
// conflicts, and meaningless combinations.
//
// The last step of loading, when every value has its default; routes are in
// load_check_routes.c. A value that was already refused is NULL or its default here, so
// each mistake is reported once.
// Threads: any.
#include "config/load_private.h"

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/address.h"
#include "base/decimal.h"
#include "base/sockfile.h"
#include "config/dsn.h"
#include "config/kafka_settings.h"

#define ID_ROOM INT64_C(1000000000) // fewer ids than this between two regions is risky

// Path segments that the daemon or NGINX answers itself.
static const char *const own_paths[] = { "health", "ready", "metrics", "nginx-health", NULL };
static bool is_in(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

// A host without a port, and other mistakes, are reported by check_port.
static struct pl_address_parts parts_of(const char *address)
{
	struct pl_address_parts parts = { address, 0, "" };

	pl_address_split(address, &parts);
	return parts;
}

static void check_port(struct pl_load *load, const struct pl_yaml_node *above, const char *key,
                       const char *label, const char *address)
{
	long port = atol(parts_of(address).port);

	if (port < 1 || port > 65535)
		pl_load_fault(load, above, key, "%s: must end in a port from 1 to 65535, not \"%.60s\"",
		              label, address);
}

// ---- regions

static bool same_host(const struct pl_region *a, const struct pl_region *b)
{
	for (int i = 0; i < a->nupstream; i++)
		for (int j = 0; j < b->nupstream; j++) {
			struct pl_address_parts x = parts_of(a->upstream[i]), y = parts_of(b->upstream[j]);
			if (pl_address_same_host(&x, &y))
				return true;
		}
	return false;
}

static bool is_any(const struct pl_address_parts *address)
{
	return (address->host_len == 7 && memcmp(address->host, "0.0.0.0", 7) == 0) ||
	       (address->host_len == 2 && memcmp(address->host, "::", 2) == 0);
}

// Whether two daemons on one machine could not both listen: the same port, at the same
// address or one of them at all addresses.
static bool same_listen(const char *a, const char *b)
{
	struct pl_address_parts x = parts_of(a), y = parts_of(b);

	if (strcmp(x.port, y.port) != 0)
		return false;
	return is_any(&x) || is_any(&y) || pl_address_same_host(&x, &y);
}

static void check_addresses(struct pl_load *load, const struct pl_region *a, const struct pl_region *b)
{
	const struct pl_yaml_node *node = pl_load_named(load, "regions", b->name);
	const char *key = pl_yaml_member(node, "upstream") != NULL ? "upstream" : "listen";

	for (int i = 0; i < a->nupstream; i++)
		for (int j = 0; j < b->nupstream; j++)
			if (strcmp(a->upstream[i], b->upstream[j]) == 0) {
				pl_load_fault(load, node, key, "regions.%s.%s: region %s also uses %s",
				              b->name, key, a->name, a->upstream[i]);
				return;
			}
	if (a->listen != NULL && b->listen != NULL && same_listen(a->listen, b->listen) && same_host(a, b))
		pl_load_fault(load, node, "listen", "regions.%s.listen: region %s also listens on %s",
		              b->name, a->name, a->listen);
}

// Two daemons on one machine need two addresses for their operators. With admin.listen,
// each daemon has a machine of its own.
static void check_admin_listen(struct pl_load *load, const struct pl_region *a, const struct pl_region *b)
{
	const struct pl_yaml_node *node = pl_load_named(load, "regions", b->name);
	const char *ours = b->admin_listen;

	if (ours == NULL || a->listen == NULL || b->listen == NULL || !same_host(a, b) ||
	    same_listen(a->listen, b->listen)) // which was reported
		return;
	if (a->admin_listen != NULL && same_listen(a->admin_listen, ours))
		pl_load_fault(load, node, "admin_listen",
		              "regions.%s.admin_listen: the operators of region %s also use %s; set "
		              "regions.%s.admin_listen to another port",
		              b->name, a->name, ours, b->name);
	if (same_listen(a->listen, ours))
		pl_load_fault(load, node, "admin_listen", "regions.%s.admin_listen: region %s listens on %s",
		              b->name, a->name, ours);
}

static void check_sockets(struct pl_load *load, const struct pl_yaml_node *node, const struct pl_region *a,
                          const struct pl_region *b)
{
	const struct {
		const char *key, *path;
	} ours[] = { { "control_socket", b->control_socket }, { "unix_socket", b->unix_socket } };
	const char *theirs[] = { a->control_socket, a->unix_socket };

	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++)
			if (ours[i].path != NULL && theirs[j] != NULL && strcmp(ours[i].path, theirs[j]) == 0)
				pl_load_fault(load, node, ours[i].key,
				              "regions.%s.%s: is also a socket of region %s", b->name,
				              ours[i].key, a->name);
}

static void check_region_pair(struct pl_load *load, const struct pl_region *a, const struct pl_region *b)
{
	const struct pl_yaml_node *node = pl_load_named(load, "regions", b->name);
	int64_t distance = a->id_base > b->id_base ? a->id_base - b->id_base : b->id_base - a->id_base;

	check_addresses(load, a, b);
	check_admin_listen(load, a, b);
	if (distance == 0)
		pl_load_fault(
			load, node, "id_base",
			"regions.%s.id_base: region %s has the same value, so both regions would assign the "
			"same ids",
			b->name, a->name);
	else if (distance < ID_ROOM)
		pl_load_warn(load, node, "id_base",
		             "regions.%s.id_base: only %lld away from that of region %s", b->name,
		             (long long)distance, a->name);
	if (a->database != NULL && b->database != NULL && strcmp(a->database, b->database) == 0)
		pl_load_fault(load, node, "database",
		              "regions.%s.database: is also the database of region "
		              "%s",
		              b->name, a->name);
	check_sockets(load, node, a, b);
}

static const char *option(const PQconninfoOption *options, const char *keyword)
{
	while (options->keyword != NULL && strcmp(options->keyword, keyword) != 0)
		options++;
	return options->keyword != NULL && options->val != NULL ? options->val : "";
}

// Whether an '@' or '/' in the password, not written as %40 or %2F, has ended it early.
// The rest of the password then becomes the host, the port or the database, and libpq
// prints these when it cannot connect.
static bool spills_password(const PQconninfoOption *options)
{
	const char *host = option(options, "host"), *port = option(options, "port");

	if (port[strspn(port, "0123456789,")] != '\0')
		return true;
	if (host[0] != '/' && host[0] != '@' && strchr(host, '@') != NULL) // paths of sockets begin like this
		return true;
	return *option(options, "user") == '\0' && strchr(option(options, "dbname"), '@') != NULL;
}

// What is wrong with a connection string, or NULL. libpq's message is not used, since
// it quotes the string.
static const char *connection_fault(struct pl_arena *arena, const char *text)
{
	char *message = NULL, refused[160];
	PQconninfoOption *options = PQconninfoParse(text, &message);
	const char *fault = NULL;

	PQfreemem(message);
	if (options == NULL)
		return "is not a valid libpq connection string (its value is not shown)";
	if (spills_password(options))
		fault = "libpq parses a part of the user or password as the host, port or database: in a "
			"URL, write @ as %40 and / as %2F (its value is not shown)";
	else if (pl_dsn_has_fault(text, refused, sizeof(refused)))
		fault = pl_arena_printf(arena, "libpq would refuse it: %s (its value is not shown)", refused);
	PQconninfoFree(options);
	return fault;
}

static void check_database(struct pl_load *load, const struct pl_region *region,
                           const struct pl_yaml_node *node)
{
	const char *key = pl_yaml_member(node, "database_file") != NULL ? "database_file" : "database";
	bool ours = load->region != NULL && strcmp(load->region, region->name) == 0;

	if (region->database != NULL) {
		const char *fault = connection_fault(load->arena, region->database);
		if (fault != NULL)
			pl_load_fault(load, node, key, "regions.%s.%s: %s", region->name, key, fault);
	} else if (pl_yaml_member(node, key) == NULL &&
	           ours) { // if it is present but empty or unset, that was reported already
		pl_load_fault(load, node, NULL, "regions.%s.database: is missing", region->name);
	}
}

static void check_socket(struct pl_load *load, const struct pl_yaml_node *node, const char *label,
                         const char *key, const char *path)
{
	if (path != NULL && strlen(path) > PL_SOCKFILE_PATH_MAX)
		pl_load_fault(load, node, key, "%s.%s: the path of a socket may have at most %d bytes: %s",
		              label, key, PL_SOCKFILE_PATH_MAX, path);
}

static void check_region(struct pl_load *load, const struct pl_region *region)
{
	const struct pl_yaml_node *node = pl_load_named(load, "regions", region->name);
	const char *label = pl_arena_printf(load->arena, "regions.%s", region->name);

	if (is_in(own_paths, region->name))
		pl_load_fault(load, node, NULL, "%s: the path /%s is reserved", label, region->name);
	if (region->listen != NULL)
		check_port(load, node, "listen", pl_arena_printf(load->arena, "%s.listen", label),
		           region->listen);
	if (region->admin_listen != NULL)
		check_port(load, node, "admin_listen", pl_arena_printf(load->arena, "%s.admin_listen", label),
		           region->admin_listen);
	if (region->listen != NULL && region->admin_listen != NULL &&
	    same_listen(region->listen, region->admin_listen))
		pl_load_fault(load, node, "admin_listen",
		              "%s.admin_listen: is the address that clients use (%s.listen)", label, label);
	if (pl_yaml_member(node, "upstream") != NULL)
		for (int i = 0; i < region->nupstream; i++)
			check_port(load, node, "upstream", pl_arena_printf(load->arena, "%s.upstream", label),
			           region->upstream[i]);
	check_socket(load, node, label, "control_socket", region->control_socket);
	check_socket(load, node, label, "unix_socket", region->unix_socket);
	if (region->unix_socket != NULL && strcmp(region->unix_socket, region->control_socket) == 0)
		pl_load_fault(load, node, "unix_socket", "%s.unix_socket: is the same as control_socket",
		              label);
	check_database(load, region, node);
}

// Whether the i-th word of a list has not occurred before.
static void check_once(struct pl_load *load, const struct pl_yaml_node *above, const char *key,
                       const char *label, const char **list, int i)
{
	for (int j = 0; j < i; j++)
		if (strcmp(list[i], list[j]) == 0)
			pl_load_fault(load, above, key, "%s: %s is listed twice", label, list[i]);
}

static void check_retired(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	for (int i = 0; i < config->nretired; i++) {
		check_once(load, load->root, "retired_regions", "retired_regions", config->retired_regions,
		           i);
		if (pl_config_region(config, config->retired_regions[i],
		                     strlen(config->retired_regions[i])) != NULL)
			pl_load_fault(load, load->root, "retired_regions",
			              "retired_regions: %s is one of the regions",
			              config->retired_regions[i]);
	}
}

static void check_regions(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	for (int i = 0; i < config->nregions; i++) {
		check_region(load, &config->regions[i]);
		for (int j = 0; j < i; j++)
			check_region_pair(load, &config->regions[j], &config->regions[i]);
	}
	if (load->region != NULL && config->nregions > 0 &&
	    pl_config_region(config, load->region, strlen(load->region)) == NULL)
		pl_load_fault(load, load->root, "regions", "regions: there is no region \"%.64s\"",
		              load->region);
	check_retired(load);
}

// ---- resources

static void check_bound(struct pl_load *load, const struct pl_yaml_node *node, const char *label,
                        const char *key, const struct pl_field *field, const char *bound)
{
	int above = 0, below = 0;

	if (bound == NULL)
		return;
	if (field->type != PL_FIELD_INTEGER && field->type != PL_FIELD_DECIMAL) {
		pl_load_fault(load, node, key, "%s.%s: applies to decimals and integers only", label, key);
		return;
	}
	if (field->type != PL_FIELD_INTEGER)
		return;
	pl_decimal_cmp_text(bound, "2147483647", &above);
	pl_decimal_cmp_text(bound, "-2147483648", &below);
	if (above > 0 || below < 0)
		pl_load_fault(load, node, key, "%s.%s: must be from -2147483648 to 2147483647 for an integer",
		              label, key);
}

static void check_field(struct pl_load *load, const struct pl_resource *resource,
                        const struct pl_field *field)
{
	const struct pl_yaml_node *fields =
		pl_yaml_member(pl_load_named(load, "resources", resource->name), "fields");
	const struct pl_yaml_node *node = pl_yaml_member(fields, field->name);
	const char *label =
		pl_arena_printf(load->arena, "resources.%s.fields.%s", resource->name, field->name);
	int sign = 0;

	check_bound(load, node, label, "min", field, field->min);
	check_bound(load, node, label, "max", field, field->max);
	if (field->min != NULL && field->max != NULL &&
	    pl_decimal_cmp_text(field->min, field->max, &sign) == 0 && sign > 0)
		pl_load_fault(load, node, "max", "%s.max: is less than min", label);
	if (field->type != PL_FIELD_DECIMAL && pl_yaml_member(node, "precision") != NULL)
		pl_load_fault(load, node, "precision", "%s.precision: applies to decimals only", label);
	if (field->type != PL_FIELD_DECIMAL && pl_yaml_member(node, "scale") != NULL)
		pl_load_fault(load, node, "scale", "%s.scale: applies to decimals only", label);
	if (field->type == PL_FIELD_DECIMAL && field->scale > field->precision)
		pl_load_fault(load, node, "scale", "%s.scale: is greater than precision", label);
	if (field->retired && field->required)
		pl_load_fault(load, node, "required",
		              "%s.required: a retired field cannot be required, since no request names it; "
		              "remove this key, and NOT NULL from the column",
		              label);
	if (field->type != PL_FIELD_STRING && pl_yaml_member(node, "max_length") != NULL)
		pl_load_fault(load, node, "max_length", "%s.max_length: applies to strings only", label);
}

// The existing Lua file whose name is most similar to a missing one.
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

void pl_load_check_script(struct pl_load *load, const struct pl_yaml_node *node, const char *key,
                          const char *label, const char *path)
{
	const char *near;

	if (path == NULL || load->config->lua_root == NULL || pl_config_source(load->config, path) != NULL)
		return;
	near = nearest_source(load->config, path);
	if (near != NULL)
		pl_load_fault(load, node, key, "%s.%s: there is no file %s under %s; did you mean \"%s\"?",
		              label, key, path, load->config->lua_root, near);
	else
		pl_load_fault(load, node, key, "%s.%s: there is no file %s under %s", label, key, path,
		              load->config->lua_root);
}

static void check_resource(struct pl_load *load, const struct pl_resource *resource)
{
	const struct pl_yaml_node *node = pl_load_named(load, "resources", resource->name);
	const char *label = pl_arena_printf(load->arena, "resources.%s", resource->name);

	pl_load_check_script(load, node, "policy", label, resource->policy);
	pl_load_check_script(load, node, "shadow_policy", label, resource->shadow_policy);
	if (resource->shadow_policy != NULL && resource->policy != NULL &&
	    strcmp(resource->shadow_policy, resource->policy) == 0)
		pl_load_warn(load, node, "shadow_policy", "%s.shadow_policy: is the same as policy", label);
	for (int i = 0; i < resource->nall; i++)
		check_field(load, resource, &resource->fields[i]);
	if (resource->nall > 0 && resource->nfields == 0)
		pl_load_fault(load, node, "fields", "%s.fields: all of them are retired", label);
}

static void check_resources(struct pl_load *load)
{
	for (int i = 0; i < load->config->nresources; i++)
		check_resource(load, &load->config->resources[i]);
}

// ---- kafka, nginx

// librdkafka opens the files named by its settings (ssl.ca.location) itself, and would
// block on a FIFO.
static bool names_a_pipe(const struct pl_pair *pair)
{
	size_t len = strlen(pair->key);
	struct stat st;

	return len > 9 && strcmp(pair->key + len - 9, ".location") == 0 && stat(pair->value, &st) == 0 &&
	       !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

// The number of a setting, or `otherwise`.
static int64_t setting_of(const struct pl_config *config, const char *name, const char *otherwise)
{
	for (int i = 0; i < config->kafka.npairs; i++)
		if (strcmp(config->kafka.pairs[i].key, name) == 0)
			otherwise = config->kafka.pairs[i].value;
	return strtoll(otherwise, NULL, 10);
}

// By plist's own table. False: a problem was reported.
static bool check_setting(struct pl_load *load, const struct pl_yaml_node *node, const char *key,
                          const struct pl_pair *pair)
{
	const struct pl_kafka_setting *setting = pl_kafka_settings_find(pair->key);
	int64_t value = strtoll(pair->value, NULL, 10);

	if (names_a_pipe(pair)) {
		pl_load_fault(load, node, key, "kafka.properties.%.64s: is not a regular file", pair->key);
		return false;
	}
	if (setting == NULL)
		return true;
	switch (setting->rule) {
	case PL_KAFKA_ALLOWED: return true;
	case PL_KAFKA_NAMED:
		if (strcasecmp(pair->value, setting->unsafe) == 0)
			pl_load_warn(load, node, key, "kafka.properties.%.64s: %s", pair->key, setting->why);
		return true;
	case PL_KAFKA_BOUNDED:
		if (value >= setting->min && value <= setting->max)
			return true;
		pl_load_fault(load, node, key, "kafka.properties.%.64s: must be from %lld to %lld: %s",
		              pair->key, (long long)setting->min, (long long)setting->max, setting->why);
		return false;
	case PL_KAFKA_REFUSED: break;
	}
	pl_load_fault(load, node, key, "kafka.properties.%.64s: %s", pair->key, setting->why);
	return false;
}

// By librdkafka, which knows its settings best; its words may quote the value, which may
// be a secret.
static void ask_librdkafka(struct pl_load *load, const struct pl_yaml_node *node, const char *key,
                           const struct pl_pair *pair, rd_kafka_conf_t *conf)
{
	char text[512];
	rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, pair->key, pair->value, text, sizeof(text));

	if (result == RD_KAFKA_CONF_UNKNOWN)
		pl_load_fault(load, node, key, "kafka.properties.%.64s: librdkafka has no such setting",
		              pair->key);
	else if (result != RD_KAFKA_CONF_OK && pl_schema_is_secret_setting(pair->key))
		pl_load_fault(load, node, key,
		              "kafka.properties.%.64s: librdkafka refuses it (its value is not shown)",
		              pair->key);
	else if (result != RD_KAFKA_CONF_OK)
		pl_load_fault(load, node, key, "kafka.properties.%.64s: %s", pair->key, text);
	else if (check_setting(load, node, key, pair) && pl_kafka_settings_find(pair->key) == NULL)
		pl_load_warn(load, node, key,
		             "kafka.properties.%.64s: this setting is newer than plist, which does not know "
		             "what it changes",
		             pair->key);
}

static void check_kafka_settings(struct pl_load *load)
{
	const struct pl_yaml_node *node = pl_yaml_member(pl_yaml_member(load->root, "kafka"), "properties");
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	for (int i = 0; i < load->config->kafka.npairs; i++) {
		const struct pl_pair *pair = &load->config->kafka.pairs[i];
		const struct pl_kafka_setting *setting = pl_kafka_settings_find(pair->key);
		const char *twin = pl_arena_printf(load->arena, "%s_file", pair->key);
		const char *key = pl_yaml_member(node, pair->key) != NULL ? pair->key : twin;

		if (setting != NULL && setting->rule == PL_KAFKA_REFUSED)
			check_setting(load, node, key, pair);
		else
			ask_librdkafka(load, node, key, pair, conf);
	}
	rd_kafka_conf_destroy(conf);
	if (setting_of(load->config, "session.timeout.ms", PL_KAFKA_SESSION_TIMEOUT_MS) <
	    3 * setting_of(load->config, "heartbeat.interval.ms", PL_KAFKA_HEARTBEAT_INTERVAL_MS))
		pl_load_fault(load, node, NULL,
		              "kafka.properties: heartbeat.interval.ms must be at most a third of "
		              "session.timeout.ms (defaults: %s and %s)",
		              PL_KAFKA_HEARTBEAT_INTERVAL_MS, PL_KAFKA_SESSION_TIMEOUT_MS);
}

static void check_brokers(struct pl_load *load)
{
	const struct pl_yaml_node *kafka = pl_yaml_member(load->root, "kafka");
	const char *brokers = load->config->kafka.brokers;
	char *list = brokers != NULL ? pl_arena_strdup(load->arena, brokers) : NULL, *save = NULL;

	for (char *item = list != NULL ? strtok_r(list, ", ", &save) : NULL; item != NULL;
	     item = strtok_r(NULL, ", ", &save))
		check_port(load, kafka, "brokers", "kafka.brokers", item);
}

// NGINX can use a region's socket only if the region exists and has one.
static void check_beside(struct pl_load *load, const struct pl_yaml_node *node, int i)
{
	const struct pl_config *config = load->config;
	const char *name = config->nginx.local_regions[i];
	const struct pl_region *region = pl_config_region(config, name, strlen(name));

	if (region == NULL)
		pl_load_fault(load, node, "local_regions",
		              "nginx.local_regions: there is no region \"%.64s\"", name);
	else if (region->unix_socket == NULL)
		pl_load_fault(load, node, "local_regions",
		              "nginx.local_regions: region %s has no socket: set regions.%s.unix_socket",
		              name, name);
	check_once(load, node, "local_regions", "nginx.local_regions", config->nginx.local_regions, i);
}

// A slow client could otherwise make requests count as failures of the daemon, and get
// a 504 while the daemon still works on the request.
static void check_patience(struct pl_load *load, const struct pl_yaml_node *node)
{
	const struct pl_config *config = load->config;

	for (int i = 0; i < config->nroutes; i++) {
		if (config->routes[i].timeout_us < config->nginx.read_timeout_us)
			continue;
		pl_load_warn(load, node, "read_timeout",
		             "nginx.read_timeout: shorter than the timeout of %s %s, so NGINX would give up "
		             "before the daemon does and count a slow read as a failure of the daemon",
		             config->routes[i].method, config->routes[i].path);
		return;
	}
}

static void check_nginx(struct pl_load *load)
{
	const struct pl_yaml_node *node = pl_yaml_member(load->root, "nginx");
	const struct pl_config *config = load->config;

	if (config->nginx.listen != NULL)
		check_port(load, node, "listen", "nginx.listen", config->nginx.listen);
	check_patience(load, node);
	for (int i = 0; i < config->nginx.nlocal_regions; i++)
		check_beside(load, node, i);
	for (int i = 0; i < config->nginx.nreads; i++) {
		const struct pl_yaml_node *failover = pl_yaml_member(node, "failover");
		if (strcmp(config->nginx.reads[i], "off") == 0 && config->nginx.nreads > 1)
			pl_load_fault(load, failover, "reads",
			              "nginx.failover.reads: off cannot be combined "
			              "with other values");
		check_once(load, failover, "reads", "nginx.failover.reads", config->nginx.reads, i);
	}
}

void pl_load_check(struct pl_load *load)
{
	check_regions(load);
	check_resources(load);
	pl_load_check_integrity(load);
	pl_load_check_names(load);
	check_brokers(load);
	check_kafka_settings(load);
	check_nginx(load);
}
