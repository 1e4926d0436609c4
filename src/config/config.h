// A configuration: one YAML, read, checked, immutable from then on, counted by reference.
//
// Stands at the start of everything: the daemon, the tool and NGINX's configuration are made from it. A reload makes another one;
// requests in flight keep the one they began with. The rows that say which keys there are stand in config/schema.c.
// Threads: any may read; the count is atomic.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"

#define PL_REGION_MAX 32        // bytes of a region's name, without the NUL
#define PL_REGIONS_MAX 16
#define PL_FIELDS_MAX 48        // of one resource

enum pl_field_type { PL_FIELD_DECIMAL, PL_FIELD_INTEGER, PL_FIELD_STRING, PL_FIELD_BOOLEAN };

struct pl_field {
	const char *name;
	enum pl_field_type type;
	bool required;           // NOT NULL; a create must name it
	const char *min, *max;   // numbers as text, NULL = none. An integer is within int32 in any case
	int precision, scale;    // decimal: digits in all and after the point; default 12, 2
	int max_length;          // string: characters; default 255
	const char *pattern;     // reserved, NULL
};

struct pl_script_source {
	const char *path;        // as the YAML names it: "policies/last_writer_wins.lua"; of a module: "plist/policy.lua"
	const char *file;        // where it was read
	const char *text;
	size_t len;
	char sha256[65];
};

struct pl_resource {
	const char *name;        // "properties"; the first path segment after the region
	const char *title;       // one of them, for sentences: "Property" ("Property not found")
	const char *table;
	const char *topic;
	const char *policy;      // path under the Lua root
	const char *shadow;      // a policy that runs beside it, or NULL
	bool track_fields;
	int nfields;
	struct pl_field fields[PL_FIELDS_MAX];
	int index;               // its place in pl_config.resources
};

enum pl_lock_rule { PL_LOCK_NONE, PL_LOCK_OPTIONAL, PL_LOCK_REQUIRED };
enum pl_duplicate_rule { PL_DUPLICATE_REJECT, PL_DUPLICATE_REPLAY };

struct pl_route {
	const char *method;      // "PUT"
	const char *path;        // "/:region/properties/:id"
	const char *handler;     // path under the Lua root
	const char *resource;    // whose fields and title its bodies have; may be NULL
	enum pl_lock_rule lock;
	bool idempotent;         // has an idempotency block
	const char *id_header;   // "X-Request-ID"
	bool id_required;
	enum pl_duplicate_rule on_duplicate;
	int64_t ttl_us;
	int64_t timeout_us;      // of the whole request
	int index;
};

struct pl_region {
	const char *name;
	const char *listen;      // "0.0.0.0:8001"
	int nupstream;
	const char **upstream;   // host:port
	const char *database;    // a libpq connection string; may hold a secret. NULL: another region's, and not known here
	int64_t id_base;         // ids that this region hands out are id_base + n
	const char *control;     // path of its operators' socket
	const char *socket;      // path at which it listens, too; or NULL
	int index;               // the configured order
};

struct pl_script_limits {
	int64_t instructions;    // of Lua, per call
	int64_t wall_us;         // per stretch between two waits
	size_t memory;           // bytes, of the whole state
};

enum pl_nginx_writes { PL_WRITES_UNSENT, PL_WRITES_ALWAYS, PL_WRITES_NEVER };

struct pl_pair { const char *key, *value; };

struct pl_config {
	const char *file;        // the YAML
	const char *sha256;      // of its text
	const char *lua_root;    // directory that handlers/, policies/, plist/ are looked up in

	const char *lua_checked; // directory that remembers checked policies, or NULL

	struct { enum pl_log_level level; enum pl_log_format format; } log;

	struct {
		int workers;             // 0 = one per core
		int max_connections;     // per worker
		int queue;               // waiting requests per worker; full answers 503
		size_t max_body;         // bytes
		int64_t request_timeout_us; // a request's default deadline
		int64_t receive_timeout_us; // from the first byte to the last of the body
		int64_t idle_timeout_us;
		int64_t drain_timeout_us;   // SIGTERM: wait this long for requests in flight
		const char *principal_header; // NULL = everyone is one principal
	} http;

	struct {
		int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us;
		int batch;               // writes in one transaction, at most
		int writers, readers;    // connections: of all workers together; per worker
	} database;

	struct {
		const char *brokers;
		const char *group;       // consumer group prefix; the group is "<group>-<region>"
		int partitions, replication_factor; // of topics that plist creates
		int64_t heartbeat_us;
		const char *heartbeat_topic;
		int npairs;
		struct pl_pair *pairs;   // handed to librdkafka as they are (sasl.*, ssl.*, …)
		int relay_batch, apply_batch, apply_connections;
		int64_t pace_us;         // between two batches of a busy relay or applier, at least
	} kafka;

	struct { bool record; int64_t retention_us; } conflicts;
	struct { int64_t expire_every_us; int expire_batch; } housekeeping;

	struct pl_script_limits handler_limits, policy_limits;

	struct {
		const char *listen;      // "8080" or "127.0.0.1:8080"
		int nbeside;
		const char **beside;     // regions that it reaches by their sockets
		enum pl_nginx_writes writes;
		int nreads;
		const char **reads;      // conditions of proxy_next_upstream for reads
		int64_t connect_timeout_us, read_timeout_us;
		int max_fails;
		int64_t fail_timeout_us;
	} nginx;

	int nregions;
	struct pl_region *regions;
	int nresources;
	struct pl_resource *resources;
	int nroutes;
	struct pl_route *routes;

	int nsources;
	struct pl_script_source *sources; // every .lua file under lua_root, as read with this configuration

	struct pl_arena *arena;  // owns all of the above
};

// What is wrong with a file, all of it, in the order of the file. Lines read "file:line:column: message".
struct pl_problems {
	int n, warnings;
	struct pl_problem_line { const char *text; bool warning; const char *file; int line, column; } *lines; // text is the whole line
	struct pl_arena *arena;
};
void pl_problems_fini(struct pl_problems *problems);
void pl_problems_add(struct pl_problems *problems, bool warning, const char *file, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

// Reads, expands ${…}, checks. `region` (may be NULL) is whose REGION/DATABASE_URL/PORT variables apply; KAFKA_BROKER always does.
// A database of another region whose variable or file is not here is left out (NULL), with a warning when `region` is NULL.
// NULL when there is any problem that is not a warning. Does not run Lua: see script/check.h.
struct pl_config *pl_config_load(const char *file, const char *region, struct pl_problems *problems);
struct pl_config *pl_config_ref(const struct pl_config *config);
void pl_config_unref(struct pl_config **config);

const struct pl_region *pl_config_region(const struct pl_config *config, const char *name, size_t len); // NULL: unknown
const struct pl_resource *pl_config_resource(const struct pl_config *config, const char *name);
const struct pl_resource *pl_config_resource_of_topic(const struct pl_config *config, const char *topic); // the only one: check.c sees to it
const struct pl_script_source *pl_config_source(const struct pl_config *config, const char *path);
bool pl_source_is_handlers(const char *path); // a file of the handlers', which no policy may require: see script/sandbox and replicate/gate
int pl_resource_field(const struct pl_resource *resource, const char *name, size_t len); // index or -1

// Names of keys whose change needs a restart ("regions.us.listen", also of other regions); 0 when a reload suffices. `names` has room for
// `max`; they live as long as `to`, which nobody else may have yet.
int pl_config_needs_restart(const struct pl_config *from, const struct pl_config *to, const char **names, int max);
