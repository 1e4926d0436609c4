// A configuration: one YAML file, read, checked, immutable from then on, and
// reference-counted.
//
// The daemon, plist-admin and the NGINX configuration are all derived from it. A reload
// creates a new one; requests in flight keep the one that they started with. The table of
// keys is in config/schema.c.
// Threads: any may read; the count is atomic.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/diagnostics.h"

#define PL_REGION_MAX        32 // bytes of a region's name, without the NUL
#define PL_REGIONS_MAX       16
#define PL_WORKERS_MAX       256
#define PL_RETIRED_MAX       48 // with the configured ones as many as a vector holds
#define PL_FIELDS_MAX        48 // of one resource
#define PL_UNIQUES_MAX       8  // sets of fields of one resource whose values are unique
#define PL_UNIQUE_FIELDS_MAX 8

enum pl_field_type { PL_FIELD_DECIMAL, PL_FIELD_INTEGER, PL_FIELD_STRING, PL_FIELD_BOOLEAN };

struct pl_field {
	const char *name;
	enum pl_field_type type;
	bool required;          // NOT NULL; a create must name it
	const char *min, *max;  // numbers as text, NULL = none. An integer is within int32 in any case
	int precision, scale;   // decimal: digits in all and after the point; default 12, 2
	int max_length;         // string: characters; default 255
	const char *pattern;    // reserved, NULL
	bool retired;           // stored and replicated, neither shown nor writable
	const char *references; // the resource whose id the value is, or NULL
};

// Fields whose values no two records share, by their places.
struct pl_unique {
	int n;
	int fields[PL_UNIQUE_FIELDS_MAX];
};

struct pl_script_source {
	const char *
		// the path under the Lua root, as in the YAML:
		// "policies/last_writer_wins.lua"; of a module: "plist/policy.lua"
		path;
	const char *file; // where it was read
	const char *text;
	size_t len;
	char sha256[65];
	bool shipped; // built into the program; the Lua root has no file of this path
};

struct pl_resource {
	const char *name;  // "properties"; the first path segment after the region
	const char *title; // singular, for messages: "Property" ("Property not found")
	const char *table;
	const char *topic;
	const char *policy;        // path under the Lua root
	const char *shadow_policy; // a policy that is run as well, or NULL
	bool track_fields;
	int ntolerate;
	const char **tolerate; // what may refuse or change rows of its table: see store/table_guards.h
	int nfields;           // that are shown
	int nall;              // with the retired ones, which are behind them
	struct pl_field fields[PL_FIELDS_MAX];
	int nunique;
	const char **unique;                      // names: "room,day"
	struct pl_unique uniques[PL_UNIQUES_MAX]; // the same
	const char *violations;                   // path of the rule that resolves violations, or NULL
	bool referenced;                          // a field of a resource refers to it
	int index;                                // its place in pl_config.resources
};

enum pl_lock_rule { PL_LOCK_NONE, PL_LOCK_OPTIONAL, PL_LOCK_REQUIRED };
enum pl_duplicate_rule { PL_DUPLICATE_REJECT, PL_DUPLICATE_REPLAY };

struct pl_route {
	const char *method;   // "PUT"
	const char *path;     // "/:region/properties/:id"
	const char *handler;  // path under the Lua root
	const char *resource; // whose fields and title its bodies have; may be NULL
	enum pl_lock_rule lock;
	bool idempotent;       // has an idempotency block
	const char *id_header; // "X-Request-ID"
	bool id_required;
	enum pl_duplicate_rule on_duplicate;
	int64_t ttl_us;
	int64_t timeout_us; // of the whole request
	int nallow;
	const char **allow; // roles, one of which the client must have; none: any client
	int index;
};

struct pl_region_tls {
	const char *certificate, *key; // files; NULL: the daemon speaks HTTP without TLS
	const char *client_ca;         // who may connect: those whose certificate it has signed
	const char *direct_ca;         // likewise clients without NGINX; or NULL
};

// Which client certificates stand for which principal: either their subject is this one,
// or one of their alternative names has this form.
struct pl_client_cert_rule {
	const char *subject;   // "CN=shop,O=Example", as in RFC 4514
	const char *san;       // "DNS:*.shop.example": a * stands for a part of the name
	const char *principal; // NULL: the name that matches san
	int nroles;
	const char **roles;
};

// How NGINX, and plist-admin, present themselves to daemons, and whom they accept.
struct pl_upstream_tls {
	const char *certificate, *key, *ca; // files; NULL: daemons speak HTTP without TLS
	const char *name;                   // in the certificates of all daemons
};

struct pl_region {
	const char *name;
	const char *listen; // "0.0.0.0:8001"
	int nupstream;
	const char **upstream; // host:port
	const char *
		// a libpq connection string, which may contain a secret. NULL: that of
		// another region, not known here
		database;
	int64_t id_base; // start of its range of ids; if not given, until its database keeps another one
	bool id_base_given;
	int64_t id_room; // how many ids its range has
	const char *
		// the file that the string was read from, which is read again for each
		// connection; or NULL
		database_file;
	const char *control_socket; // path of its control socket
	const char *unix_socket;    // path of a second listening socket, or NULL
	struct pl_region_tls tls;
	const char *admin_listen; // host:port of the operators' listener
	bool admin_listen_given;
	int index; // the configured order
};

// LOCAL: any request, but all listeners must be on the loopback interface. REQUIRED: only
// requests with credentials.
enum pl_client_rule { PL_CLIENTS_LOCAL, PL_CLIENTS_OPEN, PL_CLIENTS_REQUIRED };

struct pl_script_limits {
	int64_t instructions; // of Lua, per call
	int64_t wall_us;      // per stretch between two waits
	size_t memory;        // bytes, of the whole state
};

enum pl_repair { PL_REPAIR_AUTOMATIC, PL_REPAIR_MANUAL };

enum pl_nginx_writes { PL_WRITES_UNSENT, PL_WRITES_ALWAYS, PL_WRITES_NEVER };

struct pl_pair {
	const char *key, *value;
};

struct pl_config {
	const char *file;     // the YAML
	const char *sha256;   // of its text and of all Lua files
	const char *lua_root; // directory that handlers/, policies/, plist/ are looked up in

	struct {
		enum pl_log_level level;
		enum pl_log_format format;
	} log;

	struct {
		int workers;                // 0 = one per core
		int max_connections;        // per worker
		int max_queued;             // waiting requests per worker; full answers 503
		size_t max_body;            // bytes
		size_t max_response;        // bytes of an answer's body
		int64_t request_timeout_us; // default deadline of a request
		int64_t session_wait_us;    // for what a client has seen elsewhere
		int64_t receive_timeout_us; // from the first byte to the last of the body
		int64_t idle_timeout_us;
		int64_t drain_timeout_us;     // SIGTERM: wait this long for requests in flight
		const char *principal_header; // NULL: no proxy says who the client is
		int ntrusted_proxies;
		const char **trusted_proxies; // whose headers about the client count: networks, and "unix"
	} http;

	struct {
		enum pl_client_rule clients;
	} security;
	struct {
		const char *api_keys; // the file with their hashes, or NULL
		int nclient_certs;
		struct pl_client_cert_rule *client_certs; // the first that matches counts
		bool has_jwt;
		struct {
			const char *keys;     // the file with the public keys; or NULL, and
			const char *jwks_url; // where they are fetched
			const char *jwks_ca;  // file; NULL: the authorities of the system
			int64_t refresh_us;
			const char *issuer, *audience;
			int64_t leeway_us;
			const char *principal_claim;
			int nroles_claim;
			const char **roles_claim; // the path to it
		} jwt;
	} auth;
	struct {
		int noperators, nviewers;
		const char **operators, **viewers; // users, and groups with an @ in front
	} control;
	struct {
		struct {
			int rate, burst; // requests per second, 0 = no limit; burst 0 = rate
		} per_principal, per_address;
	} limits;

	struct {
		const char *listen; // of the daemons of all regions; NULL: see load.c
	} admin;

	struct {
		int64_t connect_timeout_us, statement_timeout_us, lock_timeout_us, replace_after_us;
		int batch; // writes in one transaction, at most
		int write_connections,
			read_connections_per_worker; // connections: of all workers together; per worker
		bool insecure;          // other machines may be reached without sslmode=verify-full
		const char *query_role; // role that runs the SQL of handlers
	} database;

	enum pl_repair repair; // of what is missing for good

	struct {
		const char *brokers;
		const char *group;                  // consumer group prefix; the group is "<group>-<region>"
		int partitions, replication_factor; // of topics that plist creates
		int64_t heartbeat_us;
		const char *heartbeat_topic, *dead_letter_topic; // the latter NULL: none
		int npairs;
		struct pl_pair *pairs;    // passed to librdkafka unchanged (sasl.*, ssl.*, …)
		int64_t min_retention_us; // minimum retention of a topic
		int relay_batch, apply_batch, apply_connections;
		int64_t linger_us; // minimum interval between two batches of a busy relay or applier
	} kafka;

	struct {
		int64_t retention_us; // how long events are kept for a region that is not heard from
	} outbox;
	int64_t max_clock_skew_us; // between regions, before it is warned of
	struct {
		int64_t every_us; // 0: the region compares nothing by itself
		int rows_per_second;
	} audit;
	struct {
		bool record;
		int64_t retention_us;
	} conflicts;
	struct {
		int64_t retention_us;
	} dead_letters;
	struct {
		int64_t expire_every_us;
		int expire_batch;
	} housekeeping;

	struct pl_script_limits handler_limits, policy_limits;
	int64_t stuck_after_us, abort_after_us; // of a call into Lua that does not return at its limit

	struct {
		const char *listen; // "8080" or "127.0.0.1:8080"
		int nlocal_regions;
		const char **local_regions; // regions that NGINX reaches by their UNIX sockets
		enum pl_nginx_writes writes;
		int nreads;
		const char **reads; // conditions of proxy_next_upstream for reads
		int64_t connect_timeout_us, read_timeout_us;
		int max_fails;
		int64_t fail_timeout_us;
		struct {
			const char *certificate, *key; // files; NULL: clients are served without TLS
			const char *client_ca;         // NULL: clients need no certificate
			int64_t hsts_us;               // 0: no Strict-Transport-Security
			const char *redirect;          // "80": from there, HTTP is sent to HTTPS; or NULL
		} tls;
		struct pl_upstream_tls upstream_tls;
	} nginx;

	int nregions;
	struct pl_region *regions;
	int nretired;
	const char **retired_regions; // names that the records' histories may hold besides those of `regions`
	int nresources;
	struct pl_resource *resources;
	int nroutes;
	struct pl_route *routes;

	int nsources;
	struct pl_script_source *sources; // every .lua file under lua_root, as read with this configuration

	struct pl_arena *arena; // owns all of the above
};

// Reads the file, expands ${…} and checks everything. `region` (may be NULL) is the
// region that the variables REGION, DATABASE_URL and PORT apply to; KAFKA_BROKER always
// applies. The database of another region whose variable or file is missing is left out
// (NULL), with a warning if `region` is NULL. Returns NULL if there is any problem that
// is not a warning. Does not run Lua: see script/check.h.
struct pl_config *pl_config_load(const char *file, const char *region, struct pl_diagnostics *diagnostics);
struct pl_config *pl_config_ref(const struct pl_config *config);
void pl_config_unref(struct pl_config **config_p);

const struct pl_region *pl_config_region(const struct pl_config *config, const char *name,
                                         size_t len); // NULL: unknown
const struct pl_resource *pl_config_resource(const struct pl_config *config, const char *name);
const struct pl_resource *
pl_config_resource_of_topic(const struct pl_config *config,
                            const char *topic); // the only one: load_check.c sees to it
const struct pl_script_source *pl_config_source(const struct pl_config *config, const char *path);
// A file of the handlers, which no policy may require: see script/sandbox.
bool pl_config_source_is_handler(const char *path);
int pl_config_field(const struct pl_resource *resource, const char *name, size_t len); // index or -1
// Whether the configuration has a way to tell who a client is.
bool pl_config_authenticates(const struct pl_config *config);
bool pl_config_takes_tokens(const struct pl_config *config); // in the header Authorization
// "integer", "decimal(12,2)", "string", "boolean": as plist.resource_fields has it.
#define PL_FIELD_TYPE_MAX 32
const char *pl_config_field_type(const struct pl_field *field, char text[PL_FIELD_TYPE_MAX]);
// Puts the retired fields of each resource behind the others, counts the others, and
// finds the fields that are unique and the resources that are referred to.
void pl_config_sort_fields(struct pl_config *config);
// Whether writes of the resource have to be checked against other records.
bool pl_config_is_guarded(const struct pl_resource *resource);

// Lists the keys whose change requires a restart ("regions.us.listen", including those of
// other regions). Returns their number; 0 if a reload is enough. `names` has room for
// `max` and lives as long as `to`, which must not be shared yet.
int pl_config_needs_restart(const struct pl_config *from, const struct pl_config *to, const char **names,
                            int max);
// The same, and restores the running values of those keys in `fresh`, which must not be
// shared yet. Routes of resources that wait for the restart are removed, and listed as
// well.
int pl_config_hold(const struct pl_config *running, struct pl_config *fresh, const char **names, int max);
