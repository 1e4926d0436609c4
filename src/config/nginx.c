// Generates the NGINX configuration: computes the values for nginx/plist.conf.template
// from the regions of the YAML.
//
// Called by plist-admin. The template contains the rules of failover and their reasons;
// this file decides which servers are tried in which order. For reads, each step is a
// group of servers: a region with the next one as backup, so that an unreachable region
// is skipped for a while. For writes, each step is a group that tries once; a region with
// several daemons has one step that uses them in turn and then one per daemon, so that
// all are tried. A daemon on the same machine is reached by a UNIX socket, since NGINX
// opens one connection per write.
// Invariant: every value is quoted, and characters that could end an argument or begin a
// variable are refused.
// Threads: any.
#include "config/nginx.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/json.h"
#include "config/template.h"

#define STEPS_MAX 8 // NGINX ends a request after ten internal redirects

static const char template_text[] =
#include "src/config/nginx_template.inc"
	;

struct render {
	const struct pl_config *config;
	struct pl_nginx_options options;
	struct pl_error *err;
	int rc;
};

// Adds a value as a quoted argument.
static void put(struct render *r, cJSON *object, const char *name, const char *value)
{
	struct pl_buf text = { 0 };

	for (const char *p = value; *p != '\0'; p++)
		if (strchr(";{}\"'\\$#", *p) != NULL || (unsigned char)*p < 0x20 || *p == 0x7f) {
			if (r->rc == 0)
				r->rc = pl_error_set(
					r->err, PL_EINVAL,
					"\"%.60s\" cannot be written into an NGINX configuration", value);
			return;
		}
	pl_buf_printf(&text, "\"%s\"", value);
	cJSON_AddStringToObject(object, name, text.data);
	pl_buf_fini(&text);
}

static void putf(struct render *r, cJSON *object, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void putf(struct render *r, cJSON *object, const char *name, const char *fmt, ...)
{
	struct pl_buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	pl_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	put(r, object, name, text.data);
	pl_buf_fini(&text);
}

// Adds words that need no quotes.
static void put_words(cJSON *object, const char *name, const char *words)
{
	cJSON_AddStringToObject(object, name, words);
}

static void put_number(cJSON *object, const char *name, int64_t number, const char *unit)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64 "%s", number, unit);
	cJSON_AddStringToObject(object, name, text);
}

static cJSON *add_object(cJSON *array)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddItemToArray(array, object);
	return object;
}

static bool is_literal(const struct pl_address_parts *parts)
{
	char text[64];
	unsigned char address[16];

	if (memchr(parts->host, ':', parts->host_len) != NULL) // IPv6
		return true;
	if (parts->host_len >= sizeof(text))
		return false;
	memcpy(text, parts->host, parts->host_len);
	text[parts->host_len] = '\0';
	return inet_pton(AF_INET, text, address) == 1;
}

// Adds an address; in the variant for `nginx -t`, a name that may not resolve is
// replaced.
static void put_address(struct render *r, cJSON *object, const char *name, const char *address)
{
	struct pl_address_parts parts;

	if (r->options.check_variant && pl_address_split(address, &parts) == 0 && !is_literal(&parts))
		putf(r, object, name, "127.0.0.1:%s", parts.port);
	else
		put(r, object, name, address);
}

static void put_duration(cJSON *object, const char *name, int64_t us)
{
	put_number(object, name, (us + 999) / 1000, "ms");
}

// ---- groups of servers

static bool is_in(const char **list, int n, const char *word)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i], word) == 0)
			return true;
	return false;
}

// Whether the first daemon of the region runs on the machine of NGINX and is reached by
// its socket.
static bool is_beside(const struct pl_config *config, const struct pl_region *region)
{
	return is_in(config->nginx.local_regions, config->nginx.nlocal_regions, region->name);
}

static void add_servers(struct render *r, cJSON *servers, const struct pl_region *region, int only,
                        bool backup, bool read)
{
	const struct pl_config *config = r->config;

	for (int i = 0; i < region->nupstream; i++) {
		if (only >= 0 && i != only)
			continue;
		cJSON *server = add_object(servers);
		if (i == 0 && is_beside(config, region))
			putf(r, server, "address", "unix:%s", region->unix_socket);
		else
			put_address(r, server, "address", region->upstream[i]);
		put_number(server, "max_fails", read ? config->nginx.max_fails : 0, "");
		put_number(server, "fail_timeout", (config->nginx.fail_timeout_us + 999999) / 1000000,
		           "s"); // NGINX takes no part of a second here
		put_words(server, "backup", backup ? " backup" : "");
	}
}

static cJSON *add_group(struct render *r, cJSON *context, const char *name, bool keep)
{
	cJSON *group = add_object(cJSON_GetObjectItemCaseSensitive(context, "upstreams"));

	put(r, group, "name", name);
	cJSON_AddBoolToObject(group, "keep", keep);
	return cJSON_AddArrayToObject(group, "servers");
}

// How NGINX talks to all daemons.
static const char *scheme(const struct pl_config *config)
{
	return config->nginx.upstream_tls.certificate != NULL ? "https" : "http";
}

// ---- reads

static bool has_condition(const struct pl_config *config, const char *condition)
{
	return is_in(config->nginx.reads, config->nginx.nreads, condition);
}

static bool is_status(const char *condition)
{
	return strncmp(condition, "http_", 5) == 0;
}

// Statuses after which a read goes to the next group: 502 and 504 of NGINX, and those of
// daemons that the YAML lists.
static void put_read_errors(cJSON *step, const struct pl_config *config, bool last)
{
	struct pl_buf errors = { 0 };
	bool intercept = false;

	pl_buf_adds(&errors, "502 504");
	for (int i = 0; i < config->nginx.nreads && !last; i++) {
		const char *condition = config->nginx.reads[i];
		if (!is_status(condition))
			continue;
		intercept = true;
		if (strcmp(condition, "http_502") != 0 && strcmp(condition, "http_504") != 0)
			pl_buf_printf(&errors, " %s", condition + 5);
	}
	put_words(step, "errors", errors.data);
	put_words(step, "intercept", intercept ? "on" : "off");
	pl_buf_fini(&errors);
}

// What counts as a failure of a server. Statuses do not: a client could provoke one.
static void put_conditions(struct render *r, cJSON *step)
{
	struct pl_buf conditions = { 0 };

	for (int i = 0; i < r->config->nginx.nreads; i++)
		if (!is_status(r->config->nginx.reads[i]))
			pl_buf_printf(&conditions, "%s%s", conditions.len > 0 ? " " : "",
			              r->config->nginx.reads[i]);
	put_words(step, "conditions", conditions.data != NULL ? conditions.data : "off");
	pl_buf_fini(&conditions);
}

// The location where a request continues, and its name as passed to a daemon (empty if no
// other region may get the request).
static void put_next(struct render *r, cJSON *step, const char *home, const char *kind, int number,
                     bool alone)
{
	putf(r, step, "next", "@%s.%s.%d", home, kind, number);
	if (alone)
		put(r, step, "next_word", "");
	else
		putf(r, step, "next_word", "@%s.%s.%d", home, kind, number);
}

// With `alone`, there is no other region, so no status sends a read on: it would reach
// the same daemons.
static void add_read_step(struct render *r, cJSON *step, const char *home, int number, bool last, bool alone)
{
	putf(r, step, "name", "@%s.read.%d", home, number);
	putf(r, step, "pass", "%s://plist.%s.read.%d", scheme(r->config), home, number);
	if (last) {
		put(r, step, "next", "@unavailable");
		put(r, step, "next_word", "");
	} else {
		put_next(r, step, home, "read", number + 1, alone);
	}
	put_read_errors(step, r->config, last || alone);
	put_conditions(r, step);
}

// The groups for reads that start in region `first`: one per region, with the next region
// as backup, and a last one that does not count failures, for when NGINX skips all
// regions although one has recovered.
static void add_reads(struct render *r, cJSON *context, cJSON *place, int first)
{
	const struct pl_config *config = r->config;
	const char *home = config->regions[first].name;
	int n = has_condition(config, "off") ? 1 : config->nregions;
	int steps = has_condition(config, "off") ? 1 : n < 2 ? 2 : n < STEPS_MAX ? n : STEPS_MAX;
	cJSON *lists[2] = { cJSON_AddArrayToObject(place, "reads_first"),
		            cJSON_AddArrayToObject(place, "reads_more") };

	for (int i = 0; i < steps; i++) {
		bool last = i + 1 == steps;
		int primary = last ? n - 1 : i, backups = last && i > 0 ? n : i + 2;
		struct pl_buf name = { 0 };
		pl_buf_printf(&name, "plist.%s.read.%d", home, i + 1);
		cJSON *servers = add_group(r, context, name.data, true);
		add_servers(r, servers, &config->regions[(first + primary) % config->nregions], -1, false,
		            !last || i == 0);
		for (int j = last ? 0 : i + 1; j < n && j < backups; j++)
			if (j != primary)
				add_servers(r, servers, &config->regions[(first + j) % config->nregions], -1,
				            true, !last);
		add_read_step(r, add_object(lists[i > 0]), home, i + 1, last, n < 2);
		pl_buf_fini(&name);
	}
}

// ---- writes

struct step {
	const struct pl_region *region;
	int only;
}; // only: one daemon of the region, or -1 for them in turn

static int plan_writes(const struct pl_config *config, int first, struct step steps[STEPS_MAX])
{
	int regions = config->nginx.writes == PL_WRITES_NEVER ? 1 : config->nregions, all = 0, n = 0;

	for (int i = 0; i < regions; i++) {
		int daemons = config->regions[(first + i) % config->nregions].nupstream;
		all += daemons > 1 ? daemons + 1 : 1;
	}
	for (int i = 0; i < regions; i++) {
		const struct pl_region *region = &config->regions[(first + i) % config->nregions];
		if (n < STEPS_MAX)
			steps[n++] = (struct step){ .region = region, .only = -1 };
		for (int j = 0; region->nupstream > 1 && all <= STEPS_MAX && j < region->nupstream; j++)
			steps[n++] = (struct step){ .region = region, .only = j };
	}
	return n;
}

static void add_write_step(struct render *r, cJSON *step, const char *home, int number, bool last)
{
	bool always = r->config->nginx.writes == PL_WRITES_ALWAYS;

	putf(r, step, "name", "@%s.write.%d", home, number);
	putf(r, step, "pass", "%s://plist.%s.write.%d", scheme(r->config), home, number);
	if (last) {
		putf(r, step, "next", "@%s.write.failed", home);
		put(r, step, "next_word", "");
	} else {
		put_next(r, step, home, "write", number + 1, false);
	}
	put_words(step, "errors", always && !last ? "502 503 504" : "502 504");
	put_words(step, "intercept", always && !last ? "on" : "off");
	cJSON_AddBoolToObject(step, "guard", number > 1 && !always);
	cJSON_AddBoolToObject(step, "doubtful", number > 1 && always);
	// The value of $upstream_bytes_sent if nothing was sent in this step; with
	// "always", if nothing was sent in any.
	put_words(step, "unsent",
	          number == 1 ? "\"0\""
	          : always    ? "\"$plist_unsent : 0\""
	                      : "\"$upstream_bytes_sent : 0\"");
}

static void add_writes(struct render *r, cJSON *context, cJSON *place, int first)
{
	const struct pl_config *config = r->config;
	const char *home = config->regions[first].name;
	cJSON *list = cJSON_AddArrayToObject(place, "writes");
	struct step steps[STEPS_MAX];
	int n = plan_writes(config, first, steps);

	for (int i = 0; i < n; i++) {
		struct pl_buf name = { 0 };
		pl_buf_printf(&name, "plist.%s.write.%d", home, i + 1);
		add_servers(r, add_group(r, context, name.data, false), steps[i].region, steps[i].only, false,
		            false);
		add_write_step(r, add_object(list), home, i + 1, i + 1 == n);
		pl_buf_fini(&name);
	}
	put_words(place, "nothing",
	          config->nginx.writes == PL_WRITES_ALWAYS ? "$plist_unsent" : "$plist_nothing_executed");
	putf(r, place, "name", "@%s.write.failed", home);
	putf(r, place, "first_write", "@%s.write.1", home);
}

// ---- the whole

static void add_region(struct render *r, cJSON *context, int i)
{
	cJSON *place = add_object(cJSON_GetObjectItemCaseSensitive(context, "regions"));

	putf(r, place, "location", "/%s/", r->config->regions[i].name);
	putf(r, place, "exact", "/%s", r->config->regions[i].name); // else NGINX redirects it to the above
	cJSON_AddBoolToObject(place, "first", i == 0);
	add_reads(r, context, place, i);
	add_writes(r, context, place, i);
}

// The comment at the head of the file, and what depends on where it is used.
static void put_usage(struct render *r, cJSON *context)
{
	static const char *const usage[][2] = {
		[PL_NGINX_RELATIVE] = { "nginx -p DIRECTORY/ -c THIS-FILE -g 'daemon off;'",
		                        "All paths are relative to DIRECTORY, so an unprivileged user can "
		                        "run it." },
		[PL_NGINX_SYSTEM] = { "The whole configuration of the system's own NGINX: "
		                      "/etc/nginx/nginx.conf.",
		                      "Its paths are those of Debian's package." },
		[PL_NGINX_SITE] = { "A site of an NGINX that has a configuration already: a file in "
		                    "/etc/nginx/conf.d or sites-enabled.",
		                    "It is included in the block http { } and sets nothing outside of its "
		                    "own server." },
	};
	enum pl_nginx_place place = r->options.place;
	cJSON *lines = cJSON_AddArrayToObject(context, "usage");

	for (int i = 0; i < 2; i++)
		put_words(add_object(lines), "line", usage[place][i]);
	cJSON_AddBoolToObject(context, "whole", place != PL_NGINX_SITE);
	cJSON_AddBoolToObject(context, "system", place == PL_NGINX_SYSTEM);
	cJSON_AddBoolToObject(context, "relative", place == PL_NGINX_RELATIVE);
	put(r, context, "access_log", place == PL_NGINX_RELATIVE ? "access.log" : "/var/log/nginx/plist.log");
}

static void put_comments(struct render *r, cJSON *context)
{
	static const char *const writes[] = {
		[PL_WRITES_UNSENT] =
			"the next region is asked only if nothing was sent, or if the daemon says that it "
			"executed nothing (\"unsent\")",
		[PL_WRITES_ALWAYS] =
			"the next region is asked in any case (\"always\"), so a write may be executed twice",
		[PL_WRITES_NEVER] = "no other region is asked (\"never\")",
	};

	put_usage(r, context);
	put_words(context, "example", r->config->regions[0].name);
	put_words(context, "writes", writes[r->config->nginx.writes]);
}

// NGINX limits addresses as a daemon does. Only a daemon knows principals.
static void put_limits(cJSON *context, const struct pl_config *config)
{
	int rate = config->limits.per_address.rate, burst = config->limits.per_address.burst;

	burst = burst ? burst : rate;
	cJSON_AddBoolToObject(context, "limited", rate > 0);
	put_number(context, "limit_rate", rate, "r/s");
	put_number(context, "limit_burst", burst, "");
	cJSON_AddBoolToObject(context, "limit_more", burst > 1);
	cJSON_AddBoolToObject(context, "limit_one", burst == 1);
	put_number(context, "limit_further", burst - 1, ""); // beyond the first one
}

static const char *port_of(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon != NULL ? colon + 1 : address;
}

// TLS with clients, and with daemons.
static void put_tls(struct render *r, cJSON *context)
{
	const struct pl_config *config = r->config;
	const struct pl_upstream_tls *upstream = &config->nginx.upstream_tls;
	bool tls = config->nginx.tls.certificate != NULL;
	bool shown = tls && config->nginx.tls.client_ca != NULL;
	const char *port = port_of(config->nginx.listen);

	cJSON_AddBoolToObject(context, "tls", tls);
	cJSON_AddBoolToObject(context, "client_certificates", shown);
	cJSON_AddBoolToObject(context, "pass_certificates", shown && config->auth.nclient_certs > 0);
	cJSON_AddBoolToObject(context, "pass_end", shown && config->auth.nclient_certs == 0);
	put_words(context, "client_verify", config->auth.nclient_certs > 0 ? "optional" : "on");
	put_words(context, "head_buffer", config->auth.nclient_certs > 0 ? "5k" : "7k");
	cJSON_AddBoolToObject(context, "upstream_tls", upstream->certificate != NULL);
	if (tls) {
		put(r, context, "certificate", config->nginx.tls.certificate);
		put(r, context, "key", config->nginx.tls.key);
	}
	if (shown)
		put(r, context, "client_ca", config->nginx.tls.client_ca);
	if (tls && config->nginx.tls.hsts_us > 0)
		putf(r, context, "hsts", "max-age=%" PRId64, config->nginx.tls.hsts_us / 1000000);
	if (tls && config->nginx.tls.redirect != NULL) {
		put_address(r, context, "redirect", config->nginx.tls.redirect);
		cJSON_AddBoolToObject(context, "other_port", strcmp(port, "443") != 0);
		put_words(context, "https_port", port);
	}
	if (upstream->certificate != NULL) {
		put(r, context, "upstream_certificate", upstream->certificate);
		put(r, context, "upstream_key", upstream->key);
		put(r, context, "upstream_ca", upstream->ca);
		put(r, context, "upstream_name", upstream->name);
	}
}

static cJSON *context_new(struct render *r)
{
	const struct pl_config *config = r->config;
	cJSON *context = cJSON_CreateObject();
	int64_t keep_us = config->http.idle_timeout_us / 2;

	put_comments(r, context);
	put_number(context, "max_fails", config->nginx.max_fails, "");
	put_address(r, context, "listen", config->nginx.listen);
	put_limits(context, config);
	cJSON_AddBoolToObject(context, "principal", config->http.principal_header != NULL);
	if (config->http.principal_header != NULL)
		put_words(context, "principal_header", config->http.principal_header);
	put_tls(r, context);
	put_number(context, "max_body", (int64_t)config->http.max_body, "");
	put_duration(context, "receive_timeout", config->http.receive_timeout_us);
	put_duration(context, "connect_timeout", config->nginx.connect_timeout_us);
	put_duration(context, "read_timeout", config->nginx.read_timeout_us);
	// NGINX closes an idle connection before the daemon does.
	put_duration(context, "keepalive_timeout", keep_us < 60000000 ? keep_us : 60000000);
	cJSON_AddArrayToObject(context, "upstreams");
	cJSON_AddArrayToObject(context, "regions");
	for (int i = 0; i < config->nregions; i++)
		add_region(r, context, i);
	return context;
}

int pl_nginx_render(const struct pl_config *config, struct pl_buf *buf,
                    const struct pl_nginx_options *options, struct pl_error *err)
{
	struct render r = { .config = config, .options = *options, .err = err };
	cJSON *context = context_new(&r);

	if (r.rc == 0)
		r.rc = pl_template_render(buf, template_text, context, err);
	cJSON_Delete(context);
	return r.rc;
}
