// The configuration for NGINX: from the YAML's regions to the values that nginx/plist.conf.template has places for.
//
// Called by plist-admin. The rules of failover, and the reasons, stand in the template; here is decided which servers are asked in which
// order. For reads, regions go in pairs: one group of servers with the second region as backup (so that a region that is away is left
// alone for a while), and after that group the next pair. For writes each step is a group that tries once; a region with several
// daemons has one step that takes them in turn and then one for each, so that none is left out.
// Invariant: every value is quoted, and a character that could end an argument or begin a variable is refused.
// Threads: any.
#include "config/nginx.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "config/template.h"

#define STEPS_MAX 8 // NGINX ends a request after ten internal redirects

static const char template_text[] =
#include "src/config/nginx_template.inc"
	;

struct render {
	const struct pl_config *config;
	bool check_variant;
	struct pl_error *err;
	int rc;
};

// Adds a value as one quoted argument.
static void put(struct render *r, cJSON *object, const char *name, const char *value)
{
	struct pl_buf text = { 0 };

	for (const char *p = value; *p != '\0'; p++)
		if (strchr(";{}\"'\\$#", *p) != NULL || (unsigned char)*p < 0x20 || *p == 0x7f) {
			if (r->rc == 0)
				r->rc = pl_error_set(r->err, PL_EINVAL, "\"%.60s\" cannot stand in a configuration of NGINX", value);
			return;
		}
	pl_buf_printf(&text, "\"%s\"", value);
	cJSON_AddStringToObject(object, name, text.data);
	pl_buf_fini(&text);
}

static void putf(struct render *r, cJSON *object, const char *name, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

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

// Adds words of our own making, which need no quotes.
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

static bool is_literal(const char *host, size_t len)
{
	char text[64];
	unsigned char address[16];

	if (len > 1 && host[0] == '[')
		return true;
	if (len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = '\0';
	return inet_pton(AF_INET, text, address) == 1;
}

// An address; in the variant for `nginx -t` a name that may not resolve is replaced.
static void put_address(struct render *r, cJSON *object, const char *name, const char *address)
{
	const char *colon = strrchr(address, ':');

	if (r->check_variant && colon != NULL && !is_literal(address, (size_t)(colon - address)))
		putf(r, object, name, "127.0.0.1%s", colon);
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

// Whether the region's first daemon is on NGINX's own machine and reached by its socket.
static bool is_beside(const struct pl_config *config, const struct pl_region *region)
{
	return is_in(config->nginx.beside, config->nginx.nbeside, region->name);
}

static void add_servers(struct render *r, cJSON *servers, const struct pl_region *region, int only, bool backup, bool read)
{
	const struct pl_config *config = r->config;

	for (int i = 0; i < region->nupstream; i++) {
		if (only >= 0 && i != only)
			continue;
		cJSON *server = add_object(servers);
		if (i == 0 && is_beside(config, region))
			putf(r, server, "address", "unix:%s", region->socket);
		else
			put_address(r, server, "address", region->upstream[i]);
		put_number(server, "max_fails", read ? config->nginx.max_fails : 0, "");
		put_number(server, "fail_timeout", (config->nginx.fail_timeout_us + 999999) / 1000000, "s"); // NGINX takes no part of a second here
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

// ---- reads

static bool has_condition(const struct pl_config *config, const char *condition)
{
	return is_in(config->nginx.reads, config->nginx.nreads, condition);
}

// Statuses after which a read goes on to the next group: NGINX's own 502 and 504, and those of daemons that the YAML names.
static void put_read_errors(cJSON *step, const struct pl_config *config, bool last)
{
	struct pl_buf errors = { 0 };
	bool intercept = false;

	pl_buf_adds(&errors, "502 504");
	for (int i = 0; i < config->nginx.nreads && !last; i++) {
		const char *condition = config->nginx.reads[i];
		if (strncmp(condition, "http_", 5) != 0)
			continue;
		intercept = true;
		if (strcmp(condition, "http_502") != 0 && strcmp(condition, "http_504") != 0)
			pl_buf_printf(&errors, " %s", condition + 5);
	}
	put_words(step, "errors", errors.data);
	put_words(step, "intercept", intercept ? "on" : "off");
	pl_buf_fini(&errors);
}

static void put_conditions(struct render *r, cJSON *step)
{
	struct pl_buf conditions = { 0 };

	for (int i = 0; i < r->config->nginx.nreads; i++)
		pl_buf_printf(&conditions, "%s%s", i > 0 ? " " : "", r->config->nginx.reads[i]);
	put_words(step, "conditions", conditions.data != NULL ? conditions.data : "off");
	pl_buf_fini(&conditions);
}

// The groups that a read for region `first` goes through.
static void add_reads(struct render *r, cJSON *context, cJSON *place, int first)
{
	const struct pl_config *config = r->config;
	const char *home = config->regions[first].name;
	int n = has_condition(config, "off") ? 1 : config->nregions, steps = (n + 1) / 2;
	cJSON *lists[2] = { cJSON_AddArrayToObject(place, "reads_first"), cJSON_AddArrayToObject(place, "reads_more") };

	for (int i = 0; i < steps; i++) {
		cJSON *step = add_object(lists[i > 0]);
		struct pl_buf name = { 0 };
		pl_buf_printf(&name, "plist.%s.read.%d", home, i + 1);
		cJSON *servers = add_group(r, context, name.data, true);
		for (int j = 2 * i; j < n && j < 2 * i + 2; j++)
			add_servers(r, servers, &config->regions[(first + j) % config->nregions], -1, j > 2 * i, true);
		putf(r, step, "name", "@%s.read.%d", home, i + 1);
		putf(r, step, "pass", "http://%s", name.data);
		if (i + 1 < steps)
			putf(r, step, "next", "@%s.read.%d", home, i + 2);
		else
			put(r, step, "next", "@unavailable");
		put_read_errors(step, config, i + 1 == steps);
		put_conditions(r, step);
		pl_buf_fini(&name);
	}
}

// ---- writes

struct step { const struct pl_region *region; int only; }; // only: one daemon of the region, or -1 for them in turn

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

// What $upstream_bytes_sent says when nothing left NGINX in `n` tries.
static void put_unsent(struct render *r, cJSON *object, int n)
{
	struct pl_buf text = { 0 };

	for (int i = 0; i < n; i++)
		pl_buf_adds(&text, i > 0 ? " : 0" : "0");
	put(r, object, "unsent", text.data);
	pl_buf_fini(&text);
}

static void add_writes(struct render *r, cJSON *context, cJSON *place, int first)
{
	const struct pl_config *config = r->config;
	const char *home = config->regions[first].name;
	bool always = config->nginx.writes == PL_WRITES_ALWAYS;
	cJSON *list = cJSON_AddArrayToObject(place, "writes");
	struct step steps[STEPS_MAX];
	int n = plan_writes(config, first, steps);

	for (int i = 0; i < n; i++) {
		cJSON *step = add_object(list);
		struct pl_buf name = { 0 };
		bool last = i + 1 == n;
		pl_buf_printf(&name, "plist.%s.write.%d", home, i + 1);
		add_servers(r, add_group(r, context, name.data, false), steps[i].region, steps[i].only, false, false);
		putf(r, step, "name", "@%s.write.%d", home, i + 1);
		putf(r, step, "pass", "http://%s", name.data);
		if (last)
			putf(r, step, "next", "@%s.write.failed", home);
		else
			putf(r, step, "next", "@%s.write.%d", home, i + 2);
		put_words(step, "errors", always && !last ? "502 503 504" : "502 504");
		put_words(step, "intercept", always && !last ? "on" : "off");
		if (i > 0 && !always) {
			cJSON_AddBoolToObject(step, "guard", true);
			put_unsent(r, step, i);
		} else {
			cJSON_AddBoolToObject(step, "guard", false);
		}
		pl_buf_fini(&name);
	}
	put_unsent(r, place, n);
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

static void put_comments(struct render *r, cJSON *context)
{
	static const char *const writes[] = {
		[PL_WRITES_UNSENT] = "the next region is asked only if nothing of the request was sent (\"unsent\")",
		[PL_WRITES_ALWAYS] = "the next region is asked in any case (\"always\"), so a write may be executed twice",
		[PL_WRITES_NEVER] = "no other region is asked (\"never\")",
	};

	put_words(context, "example", r->config->regions[0].name);
	put_words(context, "writes", writes[r->config->nginx.writes]);
}

static cJSON *context_new(struct render *r)
{
	const struct pl_config *config = r->config;
	cJSON *context = cJSON_CreateObject();
	int64_t keep_us = config->http.idle_timeout_us / 2;

	put_comments(r, context);
	put_address(r, context, "listen", config->nginx.listen);
	put_number(context, "max_body", (int64_t)config->http.max_body, "");
	put_duration(context, "connect_timeout", config->nginx.connect_timeout_us);
	put_duration(context, "read_timeout", config->nginx.read_timeout_us);
	// NGINX lets go of an idle connection before the daemon does.
	put_duration(context, "keepalive_timeout", keep_us < 60000000 ? keep_us : 60000000);
	cJSON_AddArrayToObject(context, "upstreams");
	cJSON_AddArrayToObject(context, "regions");
	for (int i = 0; i < config->nregions; i++)
		add_region(r, context, i);
	return context;
}

int pl_nginx_render(const struct pl_config *config, struct pl_buf *buf, bool check_variant, struct pl_error *err)
{
	struct render r = { .config = config, .check_variant = check_variant, .err = err };
	cJSON *context = context_new(&r);

	if (r.rc == 0)
		r.rc = pl_template_render(buf, template_text, context, err);
	cJSON_Delete(context);
	return r.rc;
}
