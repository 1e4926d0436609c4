// Fixture of the tests of config/: see fixture.h.
#define _GNU_SOURCE // nftw
#include "fixture.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

struct pl_diagnostics fixture_problems;
static char folder[256];

const char fixture_good[] = "kafka: { brokers: \"127.0.0.1:9092\" }\n"
			    "regions:\n"
			    "  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://us\" }\n"
			    "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\" }\n"
			    "resources:\n"
			    "  properties:\n"
			    "    topic: property-updates\n"
			    "    fields:\n"
			    "      price: { type: decimal, required: true, min: 0 }\n"
			    "      bedrooms: { type: integer, min: 0, max: 100 }\n"
			    "routes:\n"
			    "  - { method: GET, path: \"/:region/properties/:id\", handler: "
			    "handlers/property_get.lua }\n"
			    "  - { method: PUT, path: \"/:region/properties/:id\", handler: "
			    "handlers/property_put.lua, lock: required, idempotency: {} }\n"
			    "security: { clients: open }\n"
			    "database: { insecure: true }\n";

static const char *const scripts[] = {
	"handlers/property_get.lua",    "handlers/property_list.lua",
	"handlers/property_create.lua", "handlers/property_put.lua",
	"handlers/property_delete.lua", "policies/last_writer_wins.lua",
	"policies/region_order.lua",    "plist/policy.lua",
};

const char *fixture_path(const char *name)
{
	static char paths[8][512];
	static int i;

	i = (i + 1) % 8;
	snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, name);
	return paths[i];
}

const char *fixture_source(const char *name)
{
	static char path[1024];
	const char *top = getenv("PL_TOP_SRCDIR");

	snprintf(path, sizeof(path), "%s/%s", top != NULL ? top : ".", name);
	return path;
}

void fixture_write(const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s", fixture_path(name));
	for (char *p = path + strlen(folder) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			fail_msg("%s: %s", path, strerror(errno));
		*p = '/';
	}
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fchmod(fileno(f), 0600), 0); // some are secrets
	assert_int_equal(fclose(f), 0);
}

char *fixture_read(const char *file)
{
	FILE *f = fopen(file, "r");
	char *text = pl_malloc(1 << 20);

	if (f == NULL)
		fail_msg("%s: %s", file, strerror(errno));
	size_t n = fread(text, 1, (1 << 20) - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

int fixture_setup(void **state)
{
	static const char *const variables[] = { "REGION",       "DATABASE_URL",    "PORT",
		                                 "KAFKA_BROKER", "US_DATABASE_URL", "EU_DATABASE_URL",
		                                 "US_LISTEN",    "EU_LISTEN",       "US_UPSTREAM",
		                                 "EU_UPSTREAM",  "NGINX_LISTEN",    "PLIST_RUN" };
	const char *parent = getenv("TMPDIR");

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
	snprintf(folder, sizeof(folder), "%.200s/plist-config-XXXXXX", parent != NULL ? parent : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		char name[128];
		snprintf(name, sizeof(name), "lua/%s", scripts[i]);
		fixture_write(name, "return {}\n");
	}
	return 0;
}

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int fixture_teardown(void **state)
{
	pl_diagnostics_fini(&fixture_problems);
	return nftw(folder, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct pl_config *fixture_load(const char *text, const char *region)
{
	fixture_write("conf/plist.yaml", text);
	pl_diagnostics_fini(&fixture_problems);
	return pl_config_load(fixture_path("conf/plist.yaml"), region, &fixture_problems);
}

bool fixture_said(const char *line)
{
	size_t skip = strlen(fixture_path("conf/plist.yaml")) + 1;

	for (int i = 0; i < fixture_problems.n; i++)
		if (strlen(fixture_problems.lines[i].text) > skip &&
		    strcmp(fixture_problems.lines[i].text + skip, line) == 0)
			return true;
	for (int i = 0; i < fixture_problems.n; i++)
		print_message("# said: %s\n", fixture_problems.lines[i].text);
	return false;
}

void fixture_refused(const char *text, const char *line, int others)
{
	struct pl_config *config = fixture_load(text, NULL);
	int found = 0;

	for (int i = 0; i < fixture_problems.n; i++)
		found += strstr(fixture_problems.lines[i].text, line) != NULL;
	if (config != NULL || found != 1 || fixture_problems.n - fixture_problems.warnings > 1 + others)
		for (int i = 0; i < fixture_problems.n; i++)
			print_message("# said: %s\n", fixture_problems.lines[i].text);
	if (config != NULL)
		fail_msg("accepted, but should have reported: %s", line);
	if (found != 1)
		fail_msg("reported %d times: %s", found, line);
	assert_true(fixture_problems.n - fixture_problems.warnings <= 1 + others);
}

char *fixture_secure(const char *certificate)
{
	static const char form[] = "nginx: { listen: \"8443\", upstream_tls: { certificate: c, key: k, ca: a "
				   "} }\n"
				   "regions:\n"
				   "  us: { listen: \"0.0.0.0:8001\", database: \"postgresql://us\", tls: { "
				   "certificate: %s, "
				   "key: k, client_ca: a, direct_ca: d } }\n"
				   "  eu: { listen: \"0.0.0.0:8002\", database: \"postgresql://eu\", tls: { "
				   "certificate: c, "
				   "key: k, client_ca: a } }\n";
	const char *regions = strstr(fixture_good, "regions:"), *rest = strstr(fixture_good, "resources:");
	size_t size = sizeof(fixture_good) + sizeof(form) + strlen(certificate);
	char *text = pl_malloc(size);
	int n = snprintf(text, size, "%.*s", (int)(regions - fixture_good), fixture_good);

	n += snprintf(text + n, size - (size_t)n, form, certificate);
	snprintf(text + n, size - (size_t)n, "%s", rest);
	return text;
}

char *fixture_with(const char *line, const char *with)
{
	const char *at = strstr(fixture_good, line);
	char *text = pl_malloc(sizeof(fixture_good) + (with != NULL ? strlen(with) : 0) + 2);

	if (at == NULL)
		fail_msg("no line \"%s\"", line);
	while (at > fixture_good && at[-1] != '\n')
		at--;
	const char *after = strchr(at, '\n') + 1;
	sprintf(text, "%.*s%s%s%s", (int)(at - fixture_good), fixture_good, with != NULL ? with : "",
	        with != NULL ? "\n" : "", after);
	return text;
}
