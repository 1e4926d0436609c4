// THE table of configuration keys. See schema.h for what is made of it, and HACKING.md for how to add a row.
//
// Stands at the start of everything: config/load.c walks it to fill pl_config. Invariants: a row stands after its parent; paths are
// unique; a choice's words stand in the order of its enum; defaults are written as the YAML would write them and go through the same check.
// Threads: constant data.
#include "config/schema.h"

#include <stdio.h>
#include <string.h>

#include "config/config.h"

#define MEMBER(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define CONFIG(member) MEMBER(struct pl_config, member)
#define REGION(member) MEMBER(struct pl_region, member)
#define RESOURCE(member) MEMBER(struct pl_resource, member)
#define FIELD(member) MEMBER(struct pl_field, member)
#define ROUTE(member) MEMBER(struct pl_route, member)
#define COUNT(type, member) .count_offset = offsetof(type, member)
#define ELEMENTS(type, array, n, element) .offset = offsetof(type, array), .size = sizeof(element), COUNT(type, n)

#define US INT64_C(1)
#define MS (1000 * US)
#define S (1000 * MS)
#define M (60 * S)
#define H (60 * M)
#define D (24 * H)
#define KiB INT64_C(1024)
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)

#define PATTERN_ADDRESS "^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$"
#define PATTERN_TOPIC "^[A-Za-z0-9._-]{1,249}$"
#define PATTERN_LUA "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\\.lua$"
#define FORM_ADDRESS "an address and port such as \"0.0.0.0:8001\" or \"[::1]:8001\""
#define FORM_TOPIC "a topic's name: letters, digits, '.', '_' and '-'"
#define FORM_LUA "the path of a Lua file below the Lua root, such as \"handlers/item_get.lua\""
#define PATTERN_TOKEN "^[A-Za-z0-9-]{1,64}$"

static const struct pl_key rows[] = {
{ "log", PL_KEY_MAP, .doc = "What is logged, and how. Lines go to standard error." },
{ "log.format", PL_KEY_CHOICE, 0, CONFIG(log.format), "text", .choices = "text|json",
  .doc = "Lines for people, or one JSON object a line for machines." },
{ "log.level", PL_KEY_CHOICE, 0, CONFIG(log.level), "info", .choices = "debug|info|notice|warning|error",
  .doc = "The least important kind of line that is written." },

{ "lua", PL_KEY_MAP, .doc = "Where the Lua files are and what they may use up." },
{ "lua.path", PL_KEY_STRING, 0, CONFIG(lua_root), .derived = "\"../lua\"; the installed directory where that does not exist", .min = 1, .max = 1024,
  .doc = "The Lua root: the directory with handlers, policies and plist in it, relative to the directory of the YAML." },
{ "lua.checked", PL_KEY_STRING, 0, CONFIG(lua_checked), .derived = "the directory that CACHE_DIRECTORY names, as systemd sets it; else none", .min = 1, .max = 1024,
  .doc = "A directory that remembers which policies have been checked; without one they are checked at every start and reload." },
{ "lua.handlers", PL_KEY_MAP, .doc = "Limits of the virtual machine that runs handlers." },
{ "lua.handlers.instructions", PL_KEY_INTEGER, 0, CONFIG(handler_limits.instructions), "10000000", .min = 10000, .max = INT64_C(100000000000),
  .doc = "Lua instructions that one request may take." },
{ "lua.handlers.time", PL_KEY_DURATION, 0, CONFIG(handler_limits.wall_us), "200ms", .min = MS, .max = M,
  .doc = "The longest that a handler may run without waiting for the database." },
{ "lua.handlers.memory", PL_KEY_SIZE, 0, CONFIG(handler_limits.memory), "32MiB", .min = MiB, .max = 4 * GiB,
  .doc = "Memory of a worker's whole virtual machine." },
{ "lua.policies", PL_KEY_MAP, .doc = "Limits of the virtual machine that runs policies. Give every region the same ones." },
{ "lua.policies.instructions", PL_KEY_INTEGER, 0, CONFIG(policy_limits.instructions), "1000000", .min = 10000, .max = INT64_C(100000000000),
  .doc = "Lua instructions that one verdict may take; the limit that decides, because it is the same on every machine." },
{ "lua.policies.time", PL_KEY_DURATION, 0, CONFIG(policy_limits.wall_us), "100ms", .min = MS, .max = M,
  .doc = "The longest that one verdict may take; a safety net." },
{ "lua.policies.memory", PL_KEY_SIZE, 0, CONFIG(policy_limits.memory), "8MiB", .min = MiB, .max = 4 * GiB,
  .doc = "Memory of the whole virtual machine." },

{ "http", PL_KEY_MAP, .doc = "How the daemon serves requests." },
{ "http.workers", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(http.workers), "auto", .min = 1, .max = 256, .word = "auto",
  .doc = "Threads that serve requests, each with its own event loop, Lua state and database connections; auto is one per core." },
{ "http.max_connections", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(http.max_connections), "1024", .min = 1, .max = 65536,
  .doc = "Client connections per worker; beyond it the one that has idled for longest is closed." },
{ "http.queue", PL_KEY_INTEGER, 0, CONFIG(http.queue), "1024", .min = 1, .max = 1000000,
  .doc = "Requests that may wait in one worker; beyond it the answer is 503." },
{ "http.max_body", PL_KEY_SIZE, 0, CONFIG(http.max_body), "64KiB", .min = 64, .max = 16 * MiB,
  .doc = "The largest request body; a larger one is answered 413." },
{ "http.request_timeout", PL_KEY_DURATION, 0, CONFIG(http.request_timeout_us), "10s", .min = 10 * MS, .max = H,
  .doc = "The deadline of a request whose route names none; past it the answer is 503 or 504." },
{ "http.receive_timeout", PL_KEY_DURATION, 0, CONFIG(http.receive_timeout_us), "10s", .min = 10 * MS, .max = H,
  .doc = "The longest that a request may take to arrive, from its first byte to its last." },
{ "http.idle_timeout", PL_KEY_DURATION, 0, CONFIG(http.idle_timeout_us), "75s", .min = S, .max = D,
  .doc = "How long a connection without a request is kept open." },
{ "http.drain_timeout", PL_KEY_DURATION, 0, CONFIG(http.drain_timeout_us), "10s", .min = 0, .max = H,
  .doc = "How long a daemon that was told to stop waits for the requests in flight." },
{ "http.principal_header", PL_KEY_STRING, 0, CONFIG(http.principal_header), .derived = "none: all clients are one",
  .pattern = PATTERN_TOKEN, .form = "the name of a header",
  .doc = "A header, set by a proxy that authenticates, whose value is the scope of request ids." },

{ "database", PL_KEY_MAP, .doc = "How the daemon uses its database. Where it is stands with each region." },
{ "database.connect_timeout", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(database.connect_timeout_us), "3s", .min = 10 * MS, .max = 10 * M,
  .doc = "How long a connection may take to be made." },
{ "database.statement_timeout", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(database.statement_timeout_us), "5s", .min = 10 * MS, .max = H,
  .doc = "How long the server may work on one statement." },
{ "database.lock_timeout", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(database.lock_timeout_us), "2s", .min = MS, .max = H,
  .doc = "How long a statement may wait for a lock." },
{ "database.batch", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(database.batch), "64", .min = 1, .max = 1024,
  .doc = "Writes that share one transaction, at most." },
{ "database.writers", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(database.writers), "1", .min = 1, .max = 64,
  .doc = "Connections for writes, of all workers together. Each takes a batch at a time; one batch that is larger mostly beats two." },
{ "database.readers", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(database.readers), "1", .min = 1, .max = 64,
  .doc = "Connections for reads, per worker." },

{ "kafka", PL_KEY_MAP, .doc = "The broker that carries writes between the regions." },
{ "kafka.brokers", PL_KEY_STRING, PL_KEY_REQUIRED | PL_KEY_RESTART, CONFIG(kafka.brokers), .env = "KAFKA_BROKER",
  .pattern = "^[A-Za-z0-9._-]+:[0-9]{1,5}(, *[A-Za-z0-9._-]+:[0-9]{1,5})*$", .form = "a list \"host:port,host:port\"", .min = 1, .max = 4096,
  .doc = "Addresses of one or more brokers; the others are learned from them." },
{ "kafka.group", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(kafka.group), "plist",
  .pattern = "^[A-Za-z0-9._-]{1,200}$", .form = "letters, digits, '.', '_' and '-', 200 at most",
  .doc = "First part of the consumer group; the second is the region." },
{ "kafka.partitions", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.partitions), "8", .min = 1, .max = 256,
  .doc = "Partitions of a topic that plist creates." },
{ "kafka.replication_factor", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.replication_factor), "1", .min = 1, .max = 15,
  .doc = "Copies of a topic that plist creates; in production 3." },
{ "kafka.heartbeat", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(kafka.heartbeat_us), "1s", .min = 50 * MS, .max = M,
  .doc = "How often a region tells the others that it lives and what it has not yet sent." },
{ "kafka.heartbeat_topic", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(kafka.heartbeat_topic), "plist-heartbeats",
  .pattern = PATTERN_TOPIC, .form = FORM_TOPIC,
  .doc = "The topic for that." },
{ "kafka.properties", PL_KEY_PAIRS, PL_KEY_RESTART, CONFIG(kafka.pairs), .count_offset = offsetof(struct pl_config, kafka.npairs), .max = 256,
  .doc = "Any setting of librdkafka, handed to it as it is (sasl.username, ssl.ca.location); one that holds a secret may end in _file." },
{ "kafka.relay_batch", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.relay_batch), "1000", .min = 1, .max = 100000,
  .doc = "Events that the relay takes from the outbox at a time." },
{ "kafka.pace", PL_KEY_DURATION, 0, CONFIG(kafka.pace_us), "40ms", .min = 0, .max = M,
  .doc = "While many write, the least time between two batches of the relay, and of the applier, so that more events share a request and a transaction; "
         "few never wait." },
{ "kafka.apply_batch", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.apply_batch), "2500", .min = 1, .max = 100000,
  .doc = "Events that the applier writes in one transaction, at most." },
{ "kafka.apply_connections", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.apply_connections), "1", .min = 1, .max = 64,
  .doc = "Database connections that apply events at the same time; partitions are dealt out among them." },

{ "conflicts", PL_KEY_MAP, .doc = "What is kept about concurrent writes." },
{ "conflicts.record", PL_KEY_BOOLEAN, 0, CONFIG(conflicts.record), "true",
  .doc = "Whether each detection is written to the table of conflicts." },
{ "conflicts.retention", PL_KEY_DURATION, 0, CONFIG(conflicts.retention_us), "90d", .min = H, .max = 36500 * D,
  .doc = "How long a closed conflict is kept." },

{ "housekeeping", PL_KEY_MAP, .doc = "Deleting what has expired." },
{ "housekeeping.expire_every", PL_KEY_DURATION, 0, CONFIG(housekeeping.expire_every_us), "10s", .min = 100 * MS, .max = D,
  .doc = "How often expired request ids are looked for." },
{ "housekeeping.expire_batch", PL_KEY_INTEGER, 0, CONFIG(housekeeping.expire_batch), "5000", .min = 1, .max = 1000000,
  .doc = "Rows deleted in one transaction." },

{ "regions", PL_KEY_NAMED, PL_KEY_REQUIRED, ELEMENTS(struct pl_config, regions, nregions, struct pl_region), .min = 1, .max = PL_REGIONS_MAX,
  .pattern = "^[a-z][a-z0-9-]{0,31}$", .form = "a lower-case letter, then up to 31 letters, digits and hyphens",
  .doc = "The regions, in the order in which NGINX fails over from one to the next; the same for all daemons. Add new ones at the end." },
{ "regions.<name>.listen", PL_KEY_STRING, PL_KEY_REQUIRED | PL_KEY_RESTART, REGION(listen), .env = "PORT",
  .pattern = PATTERN_ADDRESS, .form = FORM_ADDRESS, .max = 255,
  .doc = "Where the region's daemon listens. The environment variable replaces the port alone." },
{ "regions.<name>.upstream", PL_KEY_STRINGS, 0, REGION(upstream), COUNT(struct pl_region, nupstream), .derived = "the address of listen",
  .pattern = PATTERN_ADDRESS, .form = FORM_ADDRESS, .max = 64,
  .doc = "Where NGINX finds the region's daemons, one or several. Addresses serve better than names, which NGINX asks for only when it starts." },
{ "regions.<name>.socket", PL_KEY_STRING, PL_KEY_RESTART, REGION(socket), .derived = "none", .min = 1, .max = 1024,
  .doc = "A socket in the file system at which the daemon listens, too, relative to the directory of the YAML: for nginx.beside." },
{ "regions.<name>.database", PL_KEY_STRING, PL_KEY_RESTART | PL_KEY_SECRET, REGION(database), .env = "DATABASE_URL", .max = 4096,
  .doc = "The region's PostgreSQL database, as a URL or as keywords of libpq; only the region's own daemon and tool need it." },
{ "regions.<name>.id_base", PL_KEY_INTEGER, PL_KEY_RESTART, REGION(id_base), .derived = "1000000000000 times the region's place, counted from 1",
  .min = 0, .max = INT64_C(9000000000000000),
  .doc = "The ids that the region gives to new records begin above this number; set it where the order of regions may change." },
{ "regions.<name>.control", PL_KEY_STRING, PL_KEY_RESTART, REGION(control), .derived = "\"/run/plist/<region>.sock\"", .min = 1, .max = 1024,
  .doc = "The socket by which plist-admin talks to the daemon, relative to the directory of the YAML." },

{ "resources", PL_KEY_NAMED, PL_KEY_REQUIRED | PL_KEY_RESTART, ELEMENTS(struct pl_config, resources, nresources, struct pl_resource),
  .min = 1, .max = 64,
  .pattern = "^[a-z][a-z0-9_-]{0,62}$", .form = "a lower-case letter, then up to 62 letters, digits, '_' and '-'",
  .doc = "The kinds of records; the name is the path segment after the region." },
{ "resources.<name>.table", PL_KEY_STRING, PL_KEY_RESTART, RESOURCE(table), .derived = "the resource's name",
  .pattern = "^[a-z_][a-z0-9_]{0,58}$", .form = "a lower-case SQL name of at most 59 characters",
  .doc = "The table of the database that holds the records." },
{ "resources.<name>.topic", PL_KEY_STRING, PL_KEY_REQUIRED | PL_KEY_RESTART, RESOURCE(topic), .pattern = PATTERN_TOPIC, .form = FORM_TOPIC,
  .doc = "The topic that carries the writes." },
{ "resources.<name>.policy", PL_KEY_STRING, 0, RESOURCE(policy), "policies/last_writer_wins.lua", .pattern = PATTERN_LUA, .form = FORM_LUA, .max = 255,
  .doc = "The Lua file that decides who wins when regions wrote the same record at the same time." },
{ "resources.<name>.shadow", PL_KEY_STRING, 0, RESOURCE(shadow), .derived = "none", .pattern = PATTERN_LUA, .form = FORM_LUA, .max = 255,
  .doc = "A second policy that is asked too, and only counted." },
{ "resources.<name>.title", PL_KEY_STRING, 0, RESOURCE(title), .derived = "the name in the singular, capitalised", .min = 1, .max = 64,
  .pattern = "^[A-Za-z][A-Za-z0-9 _-]*$", .form = "a word or a few",
  .doc = "What one record is called in sentences." },
{ "resources.<name>.track_fields", PL_KEY_BOOLEAN, PL_KEY_RESTART, RESOURCE(track_fields), "false",
  .doc = "Whether the time and region of each field's last change are kept, for policies that merge field by field." },
{ "resources.<name>.fields", PL_KEY_NAMED, PL_KEY_REQUIRED | PL_KEY_RESTART | PL_KEY_INLINE,
  ELEMENTS(struct pl_resource, fields, nfields, struct pl_field), .min = 1, .max = PL_FIELDS_MAX,
  .pattern = "^[a-z_][a-z0-9_]{0,62}$", .form = "a lower-case SQL name of at most 63 characters",
  .doc = "The fields of a record, which are columns of the table, in the order in which JSON shows them." },
{ "resources.<name>.fields.<name>.type", PL_KEY_CHOICE, PL_KEY_REQUIRED | PL_KEY_RESTART, FIELD(type), .choices = "decimal|integer|string|boolean",
  .doc = "What kind of value it holds; an integer has 32 bits, a decimal is exact." },
{ "resources.<name>.fields.<name>.required", PL_KEY_BOOLEAN, 0, FIELD(required), "false",
  .doc = "Whether a new record must have it; it can then never be null." },
{ "resources.<name>.fields.<name>.min", PL_KEY_NUMBER, 0, FIELD(min), .derived = "none", .max = 64,
  .doc = "The smallest value of a decimal or integer." },
{ "resources.<name>.fields.<name>.max", PL_KEY_NUMBER, 0, FIELD(max), .derived = "none", .max = 64,
  .doc = "The largest value of a decimal or integer." },
{ "resources.<name>.fields.<name>.precision", PL_KEY_INTEGER, 0, FIELD(precision), "12", .min = 1, .max = 1000,
  .doc = "Digits of a decimal in all, as in the table." },
{ "resources.<name>.fields.<name>.scale", PL_KEY_INTEGER, 0, FIELD(scale), "2", .min = 0, .max = 1000,
  .doc = "Digits of a decimal after the point; a value with more is refused, never rounded." },
{ "resources.<name>.fields.<name>.max_length", PL_KEY_INTEGER, 0, FIELD(max_length), "255", .min = 1, .max = 65535,
  .doc = "Characters of a string, at most." },

{ "routes", PL_KEY_SEQUENCE, PL_KEY_REQUIRED, ELEMENTS(struct pl_config, routes, nroutes, struct pl_route), .min = 1, .max = 256,
  .doc = "Which handler answers which request. Of the routes that match a path, the one with the most literal segments answers." },
{ "routes[].method", PL_KEY_CHOICE, PL_KEY_REQUIRED, ROUTE(method), .choices = "GET|POST|PUT|PATCH|DELETE",
  .doc = "The method; a route for GET answers HEAD, too." },
{ "routes[].path", PL_KEY_STRING, PL_KEY_REQUIRED, ROUTE(path), .max = 255,
  .pattern = "^/:region(/([A-Za-z0-9._~-]+|:[a-z_][a-z0-9_]*))+$",
  .form = "a path such as \"/:region/items/:id\": it begins with /:region/, has no empty segment, and :name stands for any segment",
  .doc = "The path; a segment that begins with a colon is a parameter." },
{ "routes[].handler", PL_KEY_STRING, PL_KEY_REQUIRED, ROUTE(handler), .pattern = PATTERN_LUA, .form = FORM_LUA, .max = 255,
  .doc = "The Lua file that answers." },
{ "routes[].resource", PL_KEY_STRING, 0, ROUTE(resource), .derived = "the resource that the segment after the region names, if any", .max = 63,
  .doc = "The resource whose records the route is about." },
{ "routes[].lock", PL_KEY_CHOICE, 0, ROUTE(lock), "none", .choices = "none|optional|required",
  .doc = "Whether a write must name the version that it replaces: by version in the body or the query, or by If-Match." },
{ "routes[].timeout", PL_KEY_DURATION, 0, ROUTE(timeout_us), .derived = "http.request_timeout", .min = 10 * MS, .max = H,
  .doc = "The deadline of its requests." },
{ "routes[].idempotency", PL_KEY_MAP, 0, ROUTE(idempotent),
  .doc = "Remember answered writes by the client's id, so that a retry is recognised; without it, a retry writes again." },
{ "routes[].idempotency.header", PL_KEY_STRING, 0, ROUTE(id_header), "X-Request-ID", .pattern = PATTERN_TOKEN, .form = "the name of a header",
  .doc = "The header that carries the id." },
{ "routes[].idempotency.required", PL_KEY_BOOLEAN, 0, ROUTE(id_required), "true",
  .doc = "Whether a request without the id is refused; else it gets one of the daemon's making." },
{ "routes[].idempotency.on_duplicate", PL_KEY_CHOICE, 0, ROUTE(on_duplicate), "reject", .choices = "reject|replay",
  .doc = "Whether a retry of an answered write gets 422, or the first answer again." },
{ "routes[].idempotency.ttl", PL_KEY_DURATION, 0, ROUTE(ttl_us), "24h", .min = S, .max = 3650 * D,
  .doc = "How long the id is remembered." },

{ "nginx", PL_KEY_MAP, .doc = "What the configuration that plist-admin makes for NGINX says." },
{ "nginx.listen", PL_KEY_STRING, 0, CONFIG(nginx.listen), "8080", .max = 255,
  .pattern = "^(([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):)?[0-9]{1,5}$", .form = "a port, or an address and port such as \"127.0.0.1:8080\"",
  .doc = "Where NGINX listens." },
{ "nginx.beside", PL_KEY_STRINGS, 0, CONFIG(nginx.beside), COUNT(struct pl_config, nginx.nbeside), .derived = "none", .max = PL_REGIONS_MAX,
  .doc = "The regions whose daemon runs on NGINX's own machine and has a socket there: it takes the place of the first address of upstream." },
{ "nginx.connect_timeout", PL_KEY_DURATION, 0, CONFIG(nginx.connect_timeout_us), "500ms", .min = MS, .max = M,
  .doc = "How long a daemon may take to accept a connection before the next region is tried." },
{ "nginx.read_timeout", PL_KEY_DURATION, 0, CONFIG(nginx.read_timeout_us), "10s", .min = MS, .max = H,
  .doc = "How long a daemon may take to answer." },
{ "nginx.max_fails", PL_KEY_INTEGER, 0, CONFIG(nginx.max_fails), "3", .min = 0, .max = 1000,
  .doc = "Failed reads after which a daemon is left alone for a while; 0 is never." },
{ "nginx.fail_timeout", PL_KEY_DURATION, 0, CONFIG(nginx.fail_timeout_us), "2s", .min = MS, .max = H,
  .doc = "How long that while is." },
{ "nginx.failover", PL_KEY_MAP, .doc = "When a request goes to another region." },
{ "nginx.failover.reads", PL_KEY_STRINGS, 0, CONFIG(nginx.reads), COUNT(struct pl_config, nginx.nreads),
  .def = "error, timeout, http_502, http_503, http_504", .choices = "error|timeout|invalid_header|http_500|http_502|http_503|http_504|http_429|off",
  .max = 8,
  .doc = "Faults after which a read is sent to the next region." },
{ "nginx.failover.writes", PL_KEY_CHOICE, 0, CONFIG(nginx.writes), "unsent", .choices = "unsent|always|never",
  .doc = "Whether a write is sent to the next region: when nothing of it was sent (safe), after any fault (it may then be executed twice), or never." },
};

const struct pl_key *pl_schema_rows(int *n_r)
{
	*n_r = (int)(sizeof(rows) / sizeof(rows[0]));
	return rows;
}

const struct pl_key *pl_schema_find(const char *path)
{
	int n;
	const struct pl_key *key = pl_schema_rows(&n);

	for (int i = 0; i < n; i++)
		if (strcmp(key[i].path, path) == 0)
			return &key[i];
	return NULL;
}

const char *pl_schema_leaf(const struct pl_key *key)
{
	const char *dot = strrchr(key->path, '.');

	return dot != NULL ? dot + 1 : key->path;
}

bool pl_schema_is_leaf(const struct pl_key *key)
{
	return key->type != PL_KEY_MAP && key->type != PL_KEY_NAMED && key->type != PL_KEY_SEQUENCE;
}

static bool is_member(const struct pl_key *parent, const struct pl_key *key)
{
	const char *rest = key->path;

	if (parent != NULL) {
		const char *joint = parent->type == PL_KEY_NAMED ? ".<name>." : parent->type == PL_KEY_SEQUENCE ? "[]." : ".";
		size_t len = strlen(parent->path);
		if (strncmp(rest, parent->path, len) != 0 || strncmp(rest + len, joint, strlen(joint)) != 0)
			return false;
		rest += len + strlen(joint);
	}
	return strchr(rest, '.') == NULL;
}

const struct pl_key *pl_schema_next(const struct pl_key *parent, const struct pl_key *previous)
{
	const struct pl_key *end = rows + sizeof(rows) / sizeof(rows[0]);
	const struct pl_key *key = previous != NULL ? previous + 1 : parent != NULL ? parent + 1 : rows;

	for (; key < end; key++)
		if (is_member(parent, key))
			return key;
	return NULL;
}

const struct pl_key *pl_schema_member(const struct pl_key *parent, const char *name)
{
	const struct pl_key *key = NULL;

	while ((key = pl_schema_next(parent, key)) != NULL)
		if (strcmp(pl_schema_leaf(key), name) == 0)
			return key;
	return NULL;
}

// Edits (insert, delete, replace, swap neighbours) from one word to the other; words over 63 bytes are too far apart to matter.
int pl_schema_distance(const char *name, const char *candidate)
{
	enum { MAX = 64 };
	size_t n = strlen(name), m = strlen(candidate);
	int before[MAX], last[MAX], row[MAX];

	if (n >= MAX || m >= MAX)
		return -1;
	memset(before, 0, sizeof(before));
	for (size_t j = 0; j <= m; j++)
		last[j] = (int)j;
	for (size_t i = 1; i <= n; i++) {
		row[0] = (int)i;
		for (size_t j = 1; j <= m; j++) {
			int best = last[j - 1] + (name[i - 1] != candidate[j - 1]);
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && name[i - 1] == candidate[j - 2] && name[i - 2] == candidate[j - 1] && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		memcpy(before, last, sizeof(before));
		memcpy(last, row, sizeof(last));
	}
	return last[m] <= 1 + (int)(m / 4) ? last[m] : -1;
}

static void offer(const char *name, const char *candidate, int *nearest, char *text, size_t size)
{
	int distance = pl_schema_distance(name, candidate);

	if (distance >= 0 && (*nearest < 0 || distance < *nearest)) {
		*nearest = distance;
		snprintf(text, size, "%s", candidate);
	}
}

const char *pl_schema_suggest(const struct pl_key *parent, const char *name, char *text, size_t size)
{
	int nearest = -1;

	for (const struct pl_key *key = NULL; (key = pl_schema_next(parent, key)) != NULL;) {
		offer(name, pl_schema_leaf(key), &nearest, text, size);
		if (key->flags & PL_KEY_SECRET) {
			char twin[64];
			snprintf(twin, sizeof(twin), "%s_file", pl_schema_leaf(key));
			offer(name, twin, &nearest, text, size);
		}
	}
	return nearest < 0 ? NULL : text;
}

int pl_schema_count(const struct pl_key *key, const void *base)
{
	return *(const int *)((const char *)base + key->count_offset);
}

void *pl_schema_element(const struct pl_key *key, const void *base, int i)
{
	char *at = (char *)(uintptr_t)base + key->offset;

	if (!(key->flags & PL_KEY_INLINE))
		at = *(char **)(void *)at;
	return at + key->size * (size_t)i;
}

bool pl_key_is_secret_setting(const char *name)
{
	static const char *const words[] = { "password", "secret", ".pem", "oauthbearer.config" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(name, words[i]) != NULL)
			return true;
	return false;
}
