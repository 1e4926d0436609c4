// The table of configuration keys. schema.h lists what is derived from it; HACKING.md
// says how to add a row.
//
// config/load_walk.c walks the table and the YAML side by side to fill pl_config.
// Invariants: a row comes after its parent; paths are unique; the words of a choice are
// in the order of its enum; defaults are written as in YAML and checked like values.
// Threads: constant data.
#include "config/schema.h"

#include "config/config.h"

#define MEMBER(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define CONFIG(member)       MEMBER(struct pl_config, member)
#define REGION(member)       MEMBER(struct pl_region, member)
#define RESOURCE(member)     MEMBER(struct pl_resource, member)
#define FIELD(member)        MEMBER(struct pl_field, member)
#define ROUTE(member)        MEMBER(struct pl_route, member)
#define CERTIFICATE(member)  MEMBER(struct pl_client_cert_rule, member)
#define COUNT(type, member)  .count_offset = offsetof(type, member)
#define ELEMENTS(type, array, n, element) \
	.offset = offsetof(type, array), .size = sizeof(element), COUNT(type, n)

#define US              INT64_C(1)
#define MS              (1000 * US)
#define S               (1000 * MS)
#define M               (60 * S)
#define H               (60 * M)
#define D               (24 * H)
#define KiB             INT64_C(1024)
#define MiB             (1024 * KiB)
#define GiB             (1024 * MiB)

#define PATTERN_ADDRESS "^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$"
#define PATTERN_TOPIC   "^[A-Za-z0-9._-]{1,249}$"
#define PATTERN_LUA     "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\\.lua$"
#define FORM_ADDRESS    "an address and port such as \"0.0.0.0:8001\" or \"[::1]:8001\""
#define FORM_TOPIC      "a topic's name: letters, digits, '.', '_' and '-'"
#define FORM_LUA        "the path of a Lua file below the Lua root, such as \"handlers/item_get.lua\""
#define PATTERN_TOKEN   "^[A-Za-z0-9-]{1,64}$"

static const struct pl_key rows[] = {
	{ "log", PL_KEY_MAP, .doc = "What is logged, and in which form. Log lines go to standard error." },
	{ "log.format", PL_KEY_CHOICE, 0, CONFIG(log.format), "text", .choices = "text|json",
	  .doc = "The form of a log line: text for people, or json for one JSON object per line." },
	{ "log.level", PL_KEY_CHOICE, 0, CONFIG(log.level), "info",
	  .choices = "debug|info|notice|warning|error", .doc = "The lowest severity that is logged." },

	{ "lua", PL_KEY_MAP, .doc = "Where the Lua files are, and their limits." },
	{ "lua.path", PL_KEY_STRING, 0, CONFIG(lua_root),
	  .derived = "\"../lua\", or the installed directory if that does not exist", .min = 1, .max = 1024,
	  .doc = "The Lua root: the directory that contains handlers, policies and plist, relative to the "
	         "directory of the YAML file. Policies that come with plist are always found; a file of the "
	         "same name in the Lua root replaces one." },
	{ "lua.stuck_after", PL_KEY_DURATION, 0, CONFIG(stuck_after_us), "2s", .min = 10 * MS, .max = H,
	  .doc = "How long a call into Lua may take before the daemon logs the script and reports that it is "
	         "not ready; never less than five times the time limit of the call." },
	{ "lua.abort_after", PL_KEY_DURATION, 0, CONFIG(abort_after_us), "10s", .min = 0, .max = H,
	  .doc = "How long a call into Lua may take before the daemon aborts, and its supervisor restarts "
	         "it; never less than ten times the time limit of the call. Set it to 0s to disable this." },
	{ "lua.handlers", PL_KEY_MAP, .doc = "Limits of the virtual machine that runs handlers." },
	{ "lua.handlers.instructions", PL_KEY_INTEGER, 0, CONFIG(handler_limits.instructions), "10000000",
	  .min = 10000, .max = INT64_C(100000000000),
	  .doc = "Maximum number of Lua instructions per request." },
	{ "lua.handlers.time", PL_KEY_DURATION, 0, CONFIG(handler_limits.wall_us), "200ms", .min = MS,
	  .max = M, .doc = "How long a handler may run without waiting for the database." },
	{ "lua.handlers.memory", PL_KEY_SIZE, 0, CONFIG(handler_limits.memory), "32MiB", .min = MiB,
	  .max = 4 * GiB,
	  .doc = "Maximum memory of the virtual machine of one worker, which all its requests share." },
	{ "lua.policies", PL_KEY_MAP,
	  .doc = "Limits of the virtual machine that runs policies. Use the same values in all regions." },
	{ "lua.policies.instructions", PL_KEY_INTEGER, 0, CONFIG(policy_limits.instructions), "1000000",
	  .min = 10000, .max = INT64_C(100000000000),
	  .doc = "Maximum number of Lua instructions per conflict. This is the limit that takes effect "
	         "first, because it is the same on every machine." },
	{ "lua.policies.time", PL_KEY_DURATION, 0, CONFIG(policy_limits.wall_us), "100ms", .min = MS,
	  .max = M, .doc = "How long a policy may take per conflict; a safety net." },
	{ "lua.policies.memory", PL_KEY_SIZE, 0, CONFIG(policy_limits.memory), "8MiB", .min = MiB,
	  .max = 4 * GiB, .doc = "Maximum memory of the virtual machine." },

	{ "http", PL_KEY_MAP, .doc = "How the daemon serves requests." },
	{ "http.workers", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(http.workers), "auto", .min = 1,
	  .max = PL_WORKERS_MAX, .word = "auto",
	  .doc = "Number of threads that serve requests, each with its own event loop, Lua state and "
	         "database connections; auto is one per processor." },
	{ "http.max_connections", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(http.max_connections), "1024",
	  .min = 1, .max = 65536,
	  .doc = "Maximum number of client connections per worker. When it is reached, one that is slow "
	         "or has been idle long, and has sent few requests, is closed." },
	{ "http.max_queued", PL_KEY_INTEGER, 0, CONFIG(http.max_queued), "1024", .min = 1, .max = 1000000,
	  .doc = "Maximum number of requests in progress in one worker, waiting ones included. Further "
	         "requests are answered 503." },
	{ "http.max_body", PL_KEY_SIZE, 0, CONFIG(http.max_body), "64KiB", .min = 64, .max = 16 * MiB,
	  .doc = "Maximum size of a request body. A larger body is answered 413." },
	{ "http.max_response", PL_KEY_SIZE, 0, CONFIG(http.max_response), "8MiB", .min = KiB, .max = GiB,
	  .doc = "Maximum size of a response body of a handler. A larger one is logged and answered 500." },
	{ "http.request_timeout", PL_KEY_DURATION, 0, CONFIG(http.request_timeout_us), "10s", .min = 10 * MS,
	  .max = H,
	  .doc = "Deadline of a request whose route sets none. After it, the answer is 503 or 504." },
	{ "http.session_wait", PL_KEY_DURATION, 0, CONFIG(http.session_wait_us), "1s", .min = 0,
	  .max = 30 * S,
	  .doc = "How long a request with the header Plist-Session waits until this region has applied what "
	         "its client has written or read before. After it, the request is answered 503 with "
	         "X-Plist-Executed: no, and NGINX takes it to the next region. 0: it does not wait." },
	{ "http.receive_timeout", PL_KEY_DURATION, 0, CONFIG(http.receive_timeout_us), "10s", .min = 10 * MS,
	  .max = H, .doc = "How long a request may take to arrive, from its first byte to its last." },
	{ "http.idle_timeout", PL_KEY_DURATION, 0, CONFIG(http.idle_timeout_us), "75s", .min = S, .max = D,
	  .doc = "How long an idle connection is kept open." },
	{ "http.drain_timeout", PL_KEY_DURATION, 0, CONFIG(http.drain_timeout_us), "10s", .min = 0, .max = H,
	  .doc = "How long a daemon that is being stopped waits for requests in flight, and then for its "
	         "outbox to be published." },
	{ "http.principal_header", PL_KEY_STRING, 0, CONFIG(http.principal_header), .derived = "none",
	  .pattern = PATTERN_TOKEN, .form = "the name of a header",
	  .doc = "A header whose value identifies the client, set by a proxy that authenticates. It counts "
	         "only from http.trusted_proxies; the generated NGINX configuration removes it from all "
	         "requests. Request ids are unique per principal. A principal of plist's own is refused." },
	{ "http.trusted_proxies", PL_KEY_STRINGS, 0, CONFIG(http.trusted_proxies),
	  COUNT(struct pl_config, http.ntrusted_proxies), .derived = "none", .max = 64,
	  .pattern = "^(unix|[0-9A-Fa-f.:]+(/[0-9]{1,3})?)$",
	  .form = "an address, a network such as \"10.0.0.0/8\", or unix for clients of the UNIX socket",
	  .doc = "Proxies whose X-Forwarded-For and http.principal_header are believed. List the addresses "
	         "from which NGINX connects." },

	{ "security", PL_KEY_MAP, .doc = "Who may send requests." },
	{ "security.clients", PL_KEY_CHOICE, 0, CONFIG(security.clients), "local",
	  .choices = "local|open|required",
	  .doc = "With local, requests need no credentials, but a daemon starts only if it listens on a "
	         "loopback address. With required, requests of routes need credentials. With open, they need "
	         "none, wherever the daemon listens. Credentials that are sent are checked in any case." },
	{ "auth", PL_KEY_MAP, .doc = "How clients prove who they are." },
	{ "auth.api_keys", PL_KEY_STRING, 0, CONFIG(auth.api_keys), .derived = "none", .min = 1, .max = 1024,
	  .doc = "The file with the hashes of API keys, which plist-admin keys manages. No other user may be "
	         "able to read it. The path is relative to the directory of the YAML file. A client sends "
	         "its key as Authorization: Bearer KEY." },

	{ "auth.jwt", PL_KEY_MAP, 0, CONFIG(auth.has_jwt),
	  .doc = "Accepts signed tokens, JSON Web Tokens, as Authorization: Bearer TOKEN. The algorithm is "
	         "that of the key: RS256, ES256 or EdDSA." },
	{ "auth.jwt.keys", PL_KEY_STRING, 0, CONFIG(auth.jwt.keys), .derived = "none", .min = 1, .max = 1024,
	  .doc = "The file with the issuer's public keys, a JSON Web Key Set. After it has changed, reload. "
	         "The path is relative to the directory of the YAML file. Set either this or jwks_url." },
	{ "auth.jwt.jwks_url", PL_KEY_STRING, 0, CONFIG(auth.jwt.jwks_url), .derived = "none", .max = 500,
	  .pattern = "^https?://[!-~]+$", .form = "a URL such as \"https://issuer.example/jwks.json\"",
	  .doc = "Where the daemon fetches the key set. Without TLS (http://) it must be on a loopback "
	         "address. Redirects are not followed. While a fetch fails, the keys stay in force that were "
	         "fetched before." },
	{ "auth.jwt.jwks_ca", PL_KEY_STRING, 0, CONFIG(auth.jwt.jwks_ca),
	  .derived = "the authorities that the system trusts", .min = 1, .max = 1024,
	  .doc = "File with the certificate of the authority that has signed the one of jwks_url." },
	{ "auth.jwt.refresh", PL_KEY_DURATION, 0, CONFIG(auth.jwt.refresh_us), "5m", .min = S, .max = D,
	  .doc = "Interval at which the keys are fetched; after a failure, sooner. A token with an unknown "
	         "key makes it fetch them early, but not within 10s of the last attempt." },
	{ "auth.jwt.issuer", PL_KEY_STRING, PL_KEY_REQUIRED, CONFIG(auth.jwt.issuer), .min = 1, .max = 255,
	  .doc = "What the claim iss must be." },
	{ "auth.jwt.audience", PL_KEY_STRING, PL_KEY_REQUIRED, CONFIG(auth.jwt.audience), .min = 1,
	  .max = 255, .doc = "What the claim aud must be, or contain." },
	{ "auth.jwt.leeway", PL_KEY_DURATION, 0, CONFIG(auth.jwt.leeway_us), "30s", .min = 0, .max = 10 * M,
	  .doc = "How far the clock of the issuer may differ when exp, nbf and iat are compared." },
	{ "auth.jwt.principal_claim", PL_KEY_STRING, 0, CONFIG(auth.jwt.principal_claim), "sub", .min = 1,
	  .max = 128,
	  .doc = "The claim whose value is the principal: at most 64 visible ASCII characters, but not "
	         "plist-admin or one that begins with plist:, which are plist's own." },
	{ "auth.jwt.roles_claim", PL_KEY_STRINGS, 0, CONFIG(auth.jwt.roles_claim),
	  COUNT(struct pl_config, auth.jwt.nroles_claim), .def = "roles", .max = 8,
	  .doc = "The claim with the roles, a list of strings or one string of words; or the path to it, "
	         "such as [realm_access, roles]. Words that cannot be the name of a role are left out." },

	{ "auth.client_certificates", PL_KEY_SEQUENCE, 0,
	  ELEMENTS(struct pl_config, auth.client_certs, auth.nclient_certs, struct pl_client_cert_rule),
	  .max = 256,
	  .doc = "Which client certificates stand for which principal; the first entry that matches counts. "
	         "Clients show their certificates to NGINX (nginx.tls.client_ca), or to the daemon itself "
	         "(regions.<name>.tls.direct_ca)." },
	{ "auth.client_certificates[].subject", PL_KEY_STRING, 0, CERTIFICATE(subject), .derived = "none",
	  .pattern = "^[A-Za-z0-9.]+=.+$", .form = "a subject such as \"CN=shop,O=Example\"", .max = 255,
	  .doc = "The whole subject, as openssl x509 -noout -subject -nameopt RFC2253 prints it. An entry "
	         "has either this or san." },
	{ "auth.client_certificates[].san", PL_KEY_STRING, 0, CERTIFICATE(san), .derived = "none",
	  .pattern = "^(DNS|URI|email):[!-~]+$",
	  .form = "a name such as \"DNS:shop.example\", \"URI:spiffe://example/shop\" or "
	          "\"email:shop@example.org\"",
	  .max = 255,
	  .doc = "One of the alternative names. One * stands for one or more characters: in a DNS name other "
	         "than a dot, in a URI other than a slash, in an e-mail address other than an at sign." },
	{ "auth.client_certificates[].principal", PL_KEY_STRING, 0, CERTIFICATE(principal),
	  .derived = "the name that matches san, without its prefix", .pattern = "^[!-~]{1,64}$",
	  .form = "1 to 64 visible ASCII characters", .doc = "The principal; not one of plist's own." },
	{ "auth.client_certificates[].roles", PL_KEY_STRINGS, 0, CERTIFICATE(roles),
	  COUNT(struct pl_client_cert_rule, nroles), .derived = "none", .max = 32,
	  .pattern = "^[a-z][a-z0-9_-]{0,31}$",
	  .form = "a role: a lower-case letter, then up to 31 letters, digits, '_' and '-'",
	  .doc = "The roles of the principal." },

	{ "control", PL_KEY_MAP,
	  .doc = "What users of this machine may do over the control socket. Root and the user that runs the "
	         "daemon may do everything; if the lists below are not set, nobody else may connect." },
	{ "control.operators", PL_KEY_STRINGS, PL_KEY_RESTART, CONFIG(control.operators),
	  COUNT(struct pl_config, control.noperators), .derived = "none", .max = 64,
	  .pattern = "^@?[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$", .form = "a user, or a group such as \"@admins\"",
	  .doc = "Users and groups that may use all commands. What they do is logged." },
	{ "control.viewers", PL_KEY_STRINGS, PL_KEY_RESTART, CONFIG(control.viewers),
	  COUNT(struct pl_config, control.nviewers), .derived = "none", .max = 64,
	  .pattern = "^@?[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$", .form = "a user, or a group such as \"@staff\"",
	  .doc = "Users and groups that may only look: status, lag, metrics and policies." },

	{ "limits", PL_KEY_MAP,
	  .doc = "How many requests a client may send. Further ones are answered 429, with Retry-After." },
	{ "limits.per_principal", PL_KEY_MAP,
	  .doc = "Limits of a client that has proved who it is, in each daemon." },
	{ "limits.per_principal.rate", PL_KEY_INTEGER, 0, CONFIG(limits.per_principal.rate), "none", .min = 1,
	  .max = 1000000, .word = "none", .doc = "Requests per second." },
	{ "limits.per_principal.burst", PL_KEY_INTEGER, 0, CONFIG(limits.per_principal.burst), "rate",
	  .min = 1, .max = 1000000, .word = "rate",
	  .doc = "Number of requests that a client may send at once after it has been quiet; rate is as many "
	         "as in one second." },
	{ "limits.per_address", PL_KEY_MAP,
	  .doc = "Limits of an IPv4 address or an IPv6 network of 64 bits, whoever sends from it, in each "
	         "daemon and in NGINX. Behind NGINX, http.trusted_proxies must name it, or all clients have "
	         "its address." },
	{ "limits.per_address.rate", PL_KEY_INTEGER, 0, CONFIG(limits.per_address.rate), "none", .min = 1,
	  .max = 1000000, .word = "none", .doc = "Requests per second." },
	{ "limits.per_address.burst", PL_KEY_INTEGER, 0, CONFIG(limits.per_address.burst), "rate", .min = 1,
	  .max = 1000000, .word = "rate",
	  .doc = "Number of requests that an address may send at once after it has been quiet; rate is as "
	         "many as in one second." },

	{ "admin", PL_KEY_MAP, .doc = "What the daemon shows its operators." },
	{ "admin.listen", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(admin.listen),
	  .derived = "the loopback address, at a port that is 1000 above that of regions.<name>.listen",
	  .pattern = PATTERN_ADDRESS, .form = FORM_ADDRESS, .max = 255,
	  .doc = "The address of the operators' listener of every daemon, which serves /metrics and /ready "
	         "with reasons. It has no authentication, so it must not be reachable for others." },

	{ "database", PL_KEY_MAP,
	  .doc = "How the daemon uses its database. The connection string of each region is "
	         "regions.<name>.database." },
	{ "database.connect_timeout", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(database.connect_timeout_us),
	  "3s", .min = 10 * MS, .max = 10 * M,
	  .doc = "How long a connection attempt may take. It also limits how long a request waits for a "
	         "database that does not respond." },
	{ "database.statement_timeout", PL_KEY_DURATION, PL_KEY_RESTART,
	  CONFIG(database.statement_timeout_us), "5s", .min = 10 * MS, .max = H,
	  .doc = "How long a statement may run on the server." },
	{ "database.lock_timeout", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(database.lock_timeout_us), "2s",
	  .min = MS, .max = H, .doc = "How long a statement may wait for a lock." },
	{ "database.replace_after", PL_KEY_DURATION, 0, CONFIG(database.replace_after_us), "1m", .max = 7 * D,
	  .doc = "How long nobody may have heard the region's database, before one at another address, which "
	         "may be a copy, takes its place by itself; see A DATABASE IS LOST in plist-workflows(7)." },
	{ "database.query_role", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(database.query_role), "plist_query",
	  .pattern = "^[a-z_][a-z0-9_]{0,62}$",
	  .form = "a lower-case letter or '_', then letters, digits and '_', 63 characters at most",
	  .doc = "The database role that runs the SQL of handlers (db.query). It logs in with the password "
	         "of the region's own role and has read-only access. plist-admin migrate creates it." },
	{ "database.insecure", PL_KEY_BOOLEAN, PL_KEY_RESTART, CONFIG(database.insecure), "false",
	  .doc = "Whether connections to databases on other machines may go without sslmode=verify-full: "
	         "anybody in between can then read and change everything." },
	{ "database.batch", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(database.batch), "64", .min = 1,
	  .max = 1024, .doc = "Maximum number of writes in one transaction." },
	{ "database.write_connections", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(database.write_connections),
	  "1", .min = 1, .max = 64,
	  .doc = "Number of connections for writes, shared by all workers. Each runs one batch at a time; "
	         "one large batch is usually faster than two small ones." },
	{ "database.read_connections_per_worker", PL_KEY_INTEGER, PL_KEY_RESTART,
	  CONFIG(database.read_connections_per_worker), "1", .min = 1, .max = 64,
	  .doc = "Number of connections for reads, per worker." },

	{ "kafka", PL_KEY_MAP, .doc = "The broker that carries writes between regions." },
	{ "kafka.brokers", PL_KEY_STRING, PL_KEY_REQUIRED | PL_KEY_RESTART, CONFIG(kafka.brokers),
	  .env = "KAFKA_BROKER", .pattern = "^[A-Za-z0-9._-]+:[0-9]{1,5}(, *[A-Za-z0-9._-]+:[0-9]{1,5})*$",
	  .form = "a list \"host:port,host:port\"", .min = 1, .max = 4096,
	  .doc = "Addresses of one or more brokers. The client learns those of the others from them." },
	{ "kafka.group", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(kafka.group), "plist",
	  .pattern = "^[A-Za-z0-9._-]{1,200}$", .form = "letters, digits, '.', '_' and '-', 200 at most",
	  .doc = "First part of the name of the consumer group; the region is the second." },
	{ "kafka.partitions", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.partitions), "8", .min = 1,
	  .max = 256, .doc = "Number of partitions of topics that plist creates." },
	{ "kafka.replication_factor", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.replication_factor), "1",
	  .min = 1, .max = 15,
	  .doc = "Replication factor of topics that plist creates. Use 3 in production." },
	{ "kafka.heartbeat", PL_KEY_DURATION, PL_KEY_RESTART, CONFIG(kafka.heartbeat_us), "1s",
	  .min = 50 * MS, .max = M,
	  .doc = "Interval between heartbeats, which tell the other regions that this one is alive and how "
	         "many events it has not published yet." },
	{ "kafka.heartbeat_topic", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(kafka.heartbeat_topic),
	  "plist-heartbeats", .pattern = PATTERN_TOPIC, .form = FORM_TOPIC,
	  .doc = "The topic for heartbeats." },
	{ "kafka.dead_letter_topic", PL_KEY_STRING, PL_KEY_RESTART, CONFIG(kafka.dead_letter_topic),
	  .derived = "none", .pattern = PATTERN_TOPIC, .form = FORM_TOPIC,
	  .doc = "A topic to which every dead letter is published as well, unchanged, with headers that say "
	         "where the message was and why it was not applied." },
	{ "kafka.min_retention", PL_KEY_DURATION, 0, CONFIG(kafka.min_retention_us), "1d", .min = 0,
	  .max = 3650 * D,
	  .doc = "Minimum retention that the topics of resources must have. A topic with a shorter one is "
	         "reported: what a region misses there has to be published again, see outbox.retention." },
	{ "kafka.properties", PL_KEY_PAIRS, PL_KEY_RESTART, CONFIG(kafka.pairs),
	  .count_offset = offsetof(struct pl_config, kafka.npairs), .max = 256,
	  .doc = "Settings of librdkafka, passed on unchanged, such as sasl.username or ssl.ca.location. The "
	         "name of a setting that holds a secret may end in _file. Settings that decide what is "
	         "delivered, such as acks or auto.offset.reset, are refused, and so are useless numbers. One "
	         "that lowers security is named at start. Changed certificates and keys need a reload." },
	{ "kafka.relay_batch", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.relay_batch), "1000", .min = 1,
	  .max = 100000, .doc = "Maximum number of events that the relay reads at once, up to about 4 MiB." },
	{ "kafka.linger", PL_KEY_DURATION, 0, CONFIG(kafka.linger_us), "40ms", .min = 0, .max = M,
	  .doc = "Minimum interval between batches of the relay, and of the applier, under load, so that "
	         "more events share one request or transaction. A single event is never delayed." },
	{ "kafka.apply_batch", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.apply_batch), "2500", .min = 1,
	  .max = 100000, .doc = "Maximum number of events that the applier writes in one transaction." },
	{ "kafka.apply_connections", PL_KEY_INTEGER, PL_KEY_RESTART, CONFIG(kafka.apply_connections), "1",
	  .min = 1, .max = 64,
	  .doc = "Number of database connections that apply events in parallel. The partitions are "
	         "distributed among them." },

	{ "outbox", PL_KEY_MAP,
	  .doc = "Events of this region, kept until every other region has applied them." },
	{ "outbox.retention", PL_KEY_DURATION, 0, CONFIG(outbox.retention_us), "7d", .min = H,
	  .max = 3650 * D,
	  .doc = "How long events are kept for a region that is not heard from. A region that is "
	         "unavailable for longer lacks them; see repair." },
	{ "repair", PL_KEY_CHOICE, 0, CONFIG(repair), "automatic", .choices = "automatic|manual",
	  .doc = "Whether a region asks by itself for events that it lacks and that their origin no longer "
	         "keeps. With manual, an operator has to run plist-admin repair." },
	{ "max_clock_skew", PL_KEY_DURATION, 0, CONFIG(max_clock_skew_us), "500ms", .min = MS, .max = H,
	  .doc = "How far the clock of another region may differ from this one's before plistd warns of "
	         "it." },

	{ "audit", PL_KEY_MAP, .doc = "How a region compares its records with those of the others." },
	{ "audit.every", PL_KEY_DURATION, 0, CONFIG(audit.every_us), "1h", .min = 0, .max = 30 * D,
	  .doc = "How often. 0s: only when plist-admin audit --now asks for it." },
	{ "audit.rows_per_second", PL_KEY_INTEGER, 0, CONFIG(audit.rows_per_second), "20000", .min = 1000,
	  .max = 10000000, .doc = "Maximum number of records that this reads of a region's database." },
	{ "conflicts", PL_KEY_MAP, .doc = "What is kept about concurrent writes." },
	{ "conflicts.record", PL_KEY_BOOLEAN, 0, CONFIG(conflicts.record), "true",
	  .doc = "Whether each conflict is recorded in the table conflicts." },
	{ "conflicts.retention", PL_KEY_DURATION, 0, CONFIG(conflicts.retention_us), "90d", .min = H,
	  .max = 36500 * D, .doc = "How long a conflict is kept, open or closed." },

	{ "dead_letters", PL_KEY_MAP, .doc = "Messages that were not applied." },
	{ "dead_letters.retention", PL_KEY_DURATION, 0, CONFIG(dead_letters.retention_us), "30d", .min = H,
	  .max = 36500 * D, .doc = "How long a dead letter is kept." },

	{ "housekeeping", PL_KEY_MAP, .doc = "How expired rows are deleted." },
	{ "housekeeping.expire_every", PL_KEY_DURATION, 0, CONFIG(housekeeping.expire_every_us), "10s",
	  .min = 100 * MS, .max = D, .doc = "Interval at which expired request ids are deleted." },
	{ "housekeeping.expire_batch", PL_KEY_INTEGER, 0, CONFIG(housekeeping.expire_batch), "5000", .min = 1,
	  .max = 1000000, .doc = "Maximum number of rows deleted in one transaction." },

	{ "regions", PL_KEY_NAMED, PL_KEY_REQUIRED,
	  ELEMENTS(struct pl_config, regions, nregions, struct pl_region), .min = 1, .max = PL_REGIONS_MAX,
	  .pattern = "^[a-z][a-z0-9-]{0,31}$",
	  .form = "a lower-case letter, then up to 31 letters, digits and hyphens",
	  .doc = "The regions, in the order in which NGINX fails over from one to the next. The list must be "
	         "the same for all daemons. Append new regions at the end." },
	{ "regions.<name>.listen", PL_KEY_STRING, PL_KEY_REQUIRED | PL_KEY_RESTART, REGION(listen),
	  .env = "PORT", .pattern = PATTERN_ADDRESS, .form = FORM_ADDRESS, .max = 255,
	  .doc = "The address on which the daemon of the region listens. The environment variable replaces "
	         "only the port." },
	{ "regions.<name>.upstream", PL_KEY_STRINGS, 0, REGION(upstream), COUNT(struct pl_region, nupstream),
	  .derived = "the address of listen", .pattern = PATTERN_ADDRESS, .form = FORM_ADDRESS, .max = 64,
	  .doc = "One or more addresses at which NGINX reaches the daemons of the region. Prefer IP "
	         "addresses: NGINX resolves names only when it starts." },
	{ "regions.<name>.unix_socket", PL_KEY_STRING, PL_KEY_RESTART, REGION(unix_socket), .derived = "none",
	  .min = 1, .max = 1024,
	  .doc = "A UNIX socket on which the daemon listens as well, for nginx.local_regions. The path is "
	         "relative to the directory of the YAML file." },
	{ "regions.<name>.admin_listen", PL_KEY_STRING, PL_KEY_RESTART, REGION(admin_listen),
	  .given_offset = offsetof(struct pl_region, admin_listen_given), .derived = "admin.listen",
	  .pattern = PATTERN_ADDRESS, .form = FORM_ADDRESS, .max = 255,
	  .doc = "The address of the operators' listener of this region, if it differs from that of the "
	         "others: daemons on one machine need different ports." },
	{ "regions.<name>.tls", PL_KEY_MAP,
	  .doc = "The daemon speaks HTTPS, and only with clients that have a certificate: NGINX and "
	         "plist-admin, see nginx.upstream_tls. All regions, or none, have this." },
	{ "regions.<name>.tls.certificate", PL_KEY_STRING, PL_KEY_RESTART, REGION(tls.certificate),
	  .derived = "none; the daemon speaks HTTP", .min = 1, .max = 1024,
	  .doc = "File with the certificate of the daemon and those of its issuers, in PEM form. It must be "
	         "for the name nginx.upstream_tls.name. A reload reads the three files again." },
	{ "regions.<name>.tls.key", PL_KEY_STRING, PL_KEY_RESTART, REGION(tls.key), .derived = "none",
	  .min = 1, .max = 1024, .doc = "File with its private key. Only the daemon's user may read it." },
	{ "regions.<name>.tls.client_ca", PL_KEY_STRING, PL_KEY_RESTART, REGION(tls.client_ca),
	  .derived = "none", .min = 1, .max = 1024,
	  .doc = "File with the certificate of the authority that signs the certificates of those who may "
	         "connect. Use one that signs nothing else." },
	{ "regions.<name>.tls.direct_ca", PL_KEY_STRING, PL_KEY_RESTART, REGION(tls.direct_ca),
	  .derived = "none", .min = 1, .max = 1024,
	  .doc = "File with the certificate of another authority, which signs the certificates of clients "
	         "that may connect to the daemon without NGINX. Such a client cannot speak for others, as "
	         "a proxy does; auth.client_certificates says who it is." },
	{ "regions.<name>.database", PL_KEY_STRING, PL_KEY_RESTART | PL_KEY_SECRET, REGION(database),
	  .env = "DATABASE_URL", .max = 4096, .file_offset = offsetof(struct pl_region, database_file),
	  .doc = "The PostgreSQL database of the region, as a URL or as libpq keywords. Only the daemon and "
	         "plist-admin of the region itself need it. A new password takes effect without a restart." },
	{ "regions.<name>.id_base", PL_KEY_INTEGER, PL_KEY_RESTART, REGION(id_base),
	  .derived = "1000000000000 times the position of the region in the list at its first start, counted "
	             "from 1; stored in its database from then on",
	  .given_offset = offsetof(struct pl_region, id_base_given), .min = 0,
	  .max = INT64_C(9000000000000000),
	  .doc = "The region assigns ids above this number to new records. Ids that are already in use are "
	         "skipped." },
	{ "regions.<name>.control_socket", PL_KEY_STRING, PL_KEY_RESTART, REGION(control_socket),
	  .derived = "\"/run/plist/<region>.sock\"", .min = 1, .max = 1024,
	  .doc = "The UNIX socket on which the daemon accepts commands of plist-admin. The path is relative "
	         "to the directory of the YAML file." },

	{ "retired_regions", PL_KEY_STRINGS, 0, CONFIG(retired_regions), COUNT(struct pl_config, nretired),
	  .derived = "none", .max = PL_RETIRED_MAX, .pattern = "^[a-z][a-z0-9-]{0,31}$",
	  .form = "names of regions",
	  .doc = "Regions that have been removed but whose writes the records still count. An event of a "
	         "region that is in neither list is not applied." },

	{ "resources", PL_KEY_NAMED, PL_KEY_REQUIRED | PL_KEY_RESTART,
	  ELEMENTS(struct pl_config, resources, nresources, struct pl_resource), .min = 1, .max = 64,
	  .pattern = "^[a-z][a-z0-9_-]{0,62}$",
	  .form = "a lower-case letter, then up to 62 letters, digits, '_' and '-'",
	  .doc = "The kinds of records. The name of a resource is the path segment after the region." },
	{ "resources.<name>.table", PL_KEY_STRING, PL_KEY_RESTART, RESOURCE(table),
	  .derived = "the name of the resource", .pattern = "^[a-z_][a-z0-9_]{0,58}$",
	  .form = "a lower-case SQL name of at most 59 characters",
	  .doc = "The table that holds the records." },
	{ "resources.<name>.topic", PL_KEY_STRING, PL_KEY_REQUIRED | PL_KEY_RESTART, RESOURCE(topic),
	  .pattern = PATTERN_TOPIC, .form = FORM_TOPIC, .doc = "The topic that carries the writes." },
	{ "resources.<name>.policy", PL_KEY_STRING, 0, RESOURCE(policy), "policies/last_writer_wins.lua",
	  .pattern = PATTERN_LUA, .form = FORM_LUA, .max = 255,
	  .doc = "The Lua file that decides conflicts: which value a record has when regions wrote it "
	         "concurrently." },
	{ "resources.<name>.shadow_policy", PL_KEY_STRING, 0, RESOURCE(shadow_policy), .derived = "none",
	  .pattern = PATTERN_LUA, .form = FORM_LUA, .max = 255,
	  .doc = "A second policy that is run on each conflict as well. Its decisions are counted and "
	         "compared, but have no effect." },
	{ "resources.<name>.title", PL_KEY_STRING, 0, RESOURCE(title),
	  .derived = "the name in the singular, capitalised", .min = 1, .max = 64,
	  .pattern = "^[A-Za-z][A-Za-z0-9 _-]*$", .form = "one or a few words",
	  .doc = "What one record is called in messages." },
	{ "resources.<name>.track_fields", PL_KEY_BOOLEAN, PL_KEY_RESTART, RESOURCE(track_fields), "false",
	  .doc = "Whether the time and region of the last change of each field are stored, for policies that "
	         "merge field by field." },
	{ "resources.<name>.tolerate", PL_KEY_STRINGS, 0, RESOURCE(tolerate),
	  COUNT(struct pl_resource, ntolerate), .derived = "none", .max = 64, .pattern = "^.{1,63}$",
	  .form = "a name of at most 63 characters",
	  .doc = "Names of constraints, unique indexes, triggers and policies of the table that may refuse "
	         "or change rows. A rule for INSERT or UPDATE cannot be tolerated. If the table has others, "
	         "writes of clients are refused. See plist-workflows(7), \"Change the schema\"." },
	{ "resources.<name>.unique", PL_KEY_LISTS, 0, RESOURCE(unique), COUNT(struct pl_resource, nunique),
	  .derived = "none", .max = PL_UNIQUES_MAX, .word = "room, day",
	  .pattern = "^[a-z_][a-z0-9_]{0,62}(,[a-z_][a-z0-9_]{0,62}){0,7}$",
	  .form = "a list of lists of one to eight fields, such as [[name], [room, day]]",
	  .doc = "Lists of fields whose values no two records may share; records with a null value share "
	         "nothing. The daemon refuses a client's write with 409 if another record has the values. "
	         "It never refuses a write of another region. If such a write makes two records share "
	         "values, that is a violation: see plist-policies(7)." },
	{ "resources.<name>.violations", PL_KEY_STRING, 0, RESOURCE(violations), .derived = "none",
	  .pattern = PATTERN_LUA, .form = FORM_LUA, .max = 255,
	  .doc = "The Lua file that resolves violations of unique and of references. Without it, each "
	         "stays open until somebody changes one of its records." },
	{ "resources.<name>.fields", PL_KEY_NAMED, PL_KEY_REQUIRED | PL_KEY_RESTART | PL_KEY_INLINE,
	  ELEMENTS(struct pl_resource, fields, nall, struct pl_field), .min = 1, .max = PL_FIELDS_MAX,
	  .pattern = "^[a-z_][a-z0-9_]{0,62}$", .form = "a lower-case SQL name of at most 63 characters",
	  .doc = "The fields of a record, which are columns of the table, in the order in which JSON shows "
	         "them." },
	{ "resources.<name>.fields.<name>.type", PL_KEY_CHOICE, PL_KEY_REQUIRED | PL_KEY_RESTART, FIELD(type),
	  .choices = "decimal|integer|string|boolean",
	  .doc = "The type of the value. An integer has 32 bits; a decimal is exact." },
	{ "resources.<name>.fields.<name>.required", PL_KEY_BOOLEAN, 0, FIELD(required), "false",
	  .doc = "Whether a new record must have the field. The field can then never be null." },
	{ "resources.<name>.fields.<name>.min", PL_KEY_NUMBER, 0, FIELD(min), .derived = "none", .max = 64,
	  .doc = "The smallest allowed value of a decimal or integer." },
	{ "resources.<name>.fields.<name>.max", PL_KEY_NUMBER, 0, FIELD(max), .derived = "none", .max = 64,
	  .doc = "The largest allowed value of a decimal or integer." },
	{ "resources.<name>.fields.<name>.precision", PL_KEY_INTEGER, 0, FIELD(precision), "12", .min = 1,
	  .max = 1000, .doc = "Total number of digits of a decimal, as in the table." },
	{ "resources.<name>.fields.<name>.scale", PL_KEY_INTEGER, 0, FIELD(scale), "2", .min = 0, .max = 1000,
	  .doc = "Number of digits of a decimal after the point. A value with more digits is refused, never "
	         "rounded." },
	{ "resources.<name>.fields.<name>.max_length", PL_KEY_INTEGER, 0, FIELD(max_length), "255", .min = 1,
	  .max = 65535, .doc = "Maximum number of characters of a string." },
	{ "resources.<name>.fields.<name>.references", PL_KEY_STRING, 0, FIELD(references), .derived = "none",
	  .max = 63,
	  .doc = "A resource. The value is the id of one of its records, or null. The daemon refuses a "
	         "client's write with 409 if there is no such record, and the delete of a record that a "
	         "field refers to. The field is an integer, or a decimal of scale 0." },
	{ "resources.<name>.fields.<name>.retired", PL_KEY_BOOLEAN, PL_KEY_RESTART, FIELD(retired), "false",
	  .doc = "Whether the field is on its way out: its values are stored and replicated, but neither "
	         "shown nor writable. See plist-workflows(7), \"Change the schema\"." },

	{ "routes", PL_KEY_SEQUENCE, PL_KEY_REQUIRED,
	  ELEMENTS(struct pl_config, routes, nroutes, struct pl_route), .min = 1, .max = 256,
	  .doc = "Which handler answers which request. If several routes match a path, the one with the most "
	         "literal segments is used." },
	{ "routes[].method", PL_KEY_CHOICE, PL_KEY_REQUIRED, ROUTE(method),
	  .choices = "GET|POST|PUT|PATCH|DELETE", .doc = "The method. A route for GET also answers HEAD." },
	{ "routes[].path", PL_KEY_STRING, PL_KEY_REQUIRED, ROUTE(path), .max = 255,
	  .pattern = "^/:region(/([A-Za-z0-9._~-]+|:[a-z_][a-z0-9_]*))+$",
	  .form = "a path such as \"/:region/items/:id\": it begins with /:region/, has no empty segment, "
	          "and :name matches any segment",
	  .doc = "The path. A segment that begins with a colon is a parameter." },
	{ "routes[].handler", PL_KEY_STRING, PL_KEY_REQUIRED, ROUTE(handler), .pattern = PATTERN_LUA,
	  .form = FORM_LUA, .max = 255, .doc = "The Lua file that answers the request." },
	{ "routes[].resource", PL_KEY_STRING, 0, ROUTE(resource),
	  .derived = "the resource named by the segment after the region, if any", .max = 63,
	  .doc = "The resource whose records the route serves." },
	{ "routes[].lock", PL_KEY_CHOICE, 0, ROUTE(lock), "none", .choices = "none|optional|required",
	  .doc = "Whether a write must name the version that it replaces, by version in the body or the "
	         "query, or by If-Match." },
	{ "routes[].timeout", PL_KEY_DURATION, 0, ROUTE(timeout_us), .derived = "http.request_timeout",
	  .min = 10 * MS, .max = H, .doc = "Deadline of requests of this route." },
	{ "routes[].allow", PL_KEY_STRINGS, 0, ROUTE(allow), COUNT(struct pl_route, nallow),
	  .derived = "any client", .max = 32, .pattern = "^[a-z][a-z0-9_-]{0,31}$",
	  .form = "a role: a lower-case letter, then up to 31 letters, digits, '_' and '-'",
	  .doc = "Roles, one of which a client must have. Other clients are answered 403, and those without "
	         "credentials 401." },
	{ "routes[].idempotency", PL_KEY_MAP, 0, ROUTE(idempotent),
	  .doc = "Remembers answered writes by the request id that the client sent, so that a retry is "
	         "recognised. Without it, a retry is executed again." },
	{ "routes[].idempotency.header", PL_KEY_STRING, 0, ROUTE(id_header), "X-Request-ID",
	  .pattern = PATTERN_TOKEN, .form = "the name of a header",
	  .doc = "The header that carries the request id, with or without double quotes." },
	{ "routes[].idempotency.required", PL_KEY_BOOLEAN, 0, ROUTE(id_required), "true",
	  .doc = "Whether a request without a request id is refused. If not, the daemon generates an id, and "
	         "returns it in X-Request-ID unless the request had that header." },
	{ "routes[].idempotency.on_duplicate", PL_KEY_CHOICE, 0, ROUTE(on_duplicate), "reject",
	  .choices = "reject|replay",
	  .doc = "Whether a retry of an answered write is rejected with 422, or gets the first answer "
	         "again." },
	{ "routes[].idempotency.ttl", PL_KEY_DURATION, 0, ROUTE(ttl_us), "24h", .min = S, .max = 3650 * D,
	  .doc = "How long a request id is remembered." },

	{ "nginx", PL_KEY_MAP,
	  .doc = "Settings of the NGINX configuration that plist-admin nginx generates." },
	{ "nginx.listen", PL_KEY_STRING, 0, CONFIG(nginx.listen), "127.0.0.1:8080", .max = 255,
	  .pattern = "^(([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):)?[0-9]{1,5}$",
	  .form = "a port, or an address and port such as \"127.0.0.1:8080\"",
	  .doc = "The port or address on which NGINX listens. If other machines can reach it, "
	         "security.clients must be open or required." },
	{ "nginx.local_regions", PL_KEY_STRINGS, 0, CONFIG(nginx.local_regions),
	  COUNT(struct pl_config, nginx.nlocal_regions), .derived = "none", .max = PL_REGIONS_MAX,
	  .doc = "Regions whose daemon runs on the same machine as NGINX. Their unix_socket replaces the "
	         "first address of upstream." },
	{ "nginx.connect_timeout", PL_KEY_DURATION, 0, CONFIG(nginx.connect_timeout_us), "500ms", .min = MS,
	  .max = M,
	  .doc = "How long NGINX waits for a daemon to accept a connection before it tries the next region. "
	         "A daemon whose database refuses connections waits for it as long." },
	{ "nginx.read_timeout", PL_KEY_DURATION, 0, CONFIG(nginx.read_timeout_us),
	  .derived = "the longest timeout of a route plus 3s", .min = MS, .max = 2 * H,
	  .doc = "How long NGINX waits for a response. If it is shorter than the timeout of a route, a slow "
	         "request counts as a failure of the daemon." },
	{ "nginx.max_fails", PL_KEY_INTEGER, 0, CONFIG(nginx.max_fails), "3", .min = 0, .max = 1000,
	  .doc = "Number of unanswered reads after which a daemon is skipped for fail_timeout; 0 disables "
	         "this. A response never counts as a failure, whatever its status." },
	{ "nginx.fail_timeout", PL_KEY_DURATION, 0, CONFIG(nginx.fail_timeout_us), "2s", .min = MS, .max = H,
	  .doc = "How long a failed daemon is skipped, rounded up to whole seconds." },
	{ "nginx.tls", PL_KEY_MAP, .doc = "Clients are served by HTTPS (TLS 1.2 and 1.3, HTTP/2)." },
	{ "nginx.tls.certificate", PL_KEY_STRING, 0, CONFIG(nginx.tls.certificate),
	  .derived = "none; clients are served by HTTP", .min = 1, .max = 1024,
	  .doc = "File with the certificate for clients and those of its issuers, in PEM form." },
	{ "nginx.tls.key", PL_KEY_STRING, 0, CONFIG(nginx.tls.key), .derived = "none", .min = 1, .max = 1024,
	  .doc = "File with its private key." },
	{ "nginx.tls.client_ca", PL_KEY_STRING, 0, CONFIG(nginx.tls.client_ca),
	  .derived = "none; clients need no certificate", .min = 1, .max = 1024,
	  .doc = "File with the certificate of the authority that signs those of clients. A "
	         "client with another certificate is answered 403, and so is one without, unless "
	         "auth.client_certificates is set." },
	{ "nginx.tls.hsts", PL_KEY_DURATION, 0, CONFIG(nginx.tls.hsts_us), "0s", .min = 0, .max = 3650 * D,
	  .doc = "How long browsers must use only HTTPS for this host name (Strict-Transport-Security); 0s "
	         "does not ask them to." },
	{ "nginx.tls.redirect", PL_KEY_STRING, 0, CONFIG(nginx.tls.redirect), .derived = "none", .max = 255,
	  .pattern = "^(([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):)?[0-9]{1,5}$",
	  .form = "a port, or an address and port such as \"127.0.0.1:80\"",
	  .doc = "A port or address on which NGINX answers HTTP with a redirect to HTTPS." },
	{ "nginx.upstream_tls", PL_KEY_MAP,
	  .doc = "How NGINX and plist-admin connect to daemons that have regions.<name>.tls. The files must "
	         "be readable where either of them runs." },
	{ "nginx.upstream_tls.certificate", PL_KEY_STRING, 0, CONFIG(nginx.upstream_tls.certificate),
	  .derived = "none", .min = 1, .max = 1024,
	  .doc = "File with the certificate that daemons are shown, signed by their client_ca." },
	{ "nginx.upstream_tls.key", PL_KEY_STRING, 0, CONFIG(nginx.upstream_tls.key), .derived = "none",
	  .min = 1, .max = 1024, .doc = "File with its private key." },
	{ "nginx.upstream_tls.ca", PL_KEY_STRING, 0, CONFIG(nginx.upstream_tls.ca), .derived = "none",
	  .min = 1, .max = 1024,
	  .doc = "File with the certificate of the authority that signs those of the daemons." },
	{ "nginx.upstream_tls.name", PL_KEY_STRING, 0, CONFIG(nginx.upstream_tls.name), "plistd", .max = 253,
	  .pattern = "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", .form = "a host name",
	  .doc = "The name that the certificate of each daemon must have as its subjectAltName. It is the "
	         "same for all, because a request may be answered by any of them." },
	{ "nginx.failover", PL_KEY_MAP, .doc = "When a request is sent to another region." },
	{ "nginx.failover.reads", PL_KEY_STRINGS, 0, CONFIG(nginx.reads),
	  COUNT(struct pl_config, nginx.nreads), .def = "error, timeout, http_502, http_503, http_504",
	  .choices = "error|timeout|invalid_header|http_500|http_502|http_503|http_504|http_429|off",
	  .max = 8, .doc = "Failures after which a read is sent to the next region." },
	{ "nginx.failover.writes", PL_KEY_CHOICE, 0, CONFIG(nginx.writes), "unsent",
	  .choices = "unsent|always|never",
	  .doc = "When a write is sent to the next region. With unsent, which is safe, only if nothing was "
	         "sent, or if the daemon answered that it executed nothing. With always, after any failure, "
	         "so a write may be executed twice. With never, not at all. A write asks at most eight "
	         "regions." },
};

const struct pl_key *pl_schema_rows(int *n_r)
{
	*n_r = (int)(sizeof(rows) / sizeof(rows[0]));
	return rows;
}
