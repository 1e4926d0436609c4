// plist-admin version
#include "admin/commands.h"

#include <cjson/cJSON.h>
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <lua.h>

#include "admin/table.h"
#include "config.h"

enum { LIBRARY, NUMBER };

// clang-format off
static const struct pl_table_column columns[] = {
	[LIBRARY] = { "name", PL_CELL_TEXT },
	[NUMBER] = { "version", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

static void add(struct pl_table *table, const char *name, const char *version)
{
	pl_table_row(table);
	pl_table_text(table, LIBRARY, name);
	pl_table_text(table, NUMBER, version);
}

static int version(struct pl_invocation *invocation)
{
	struct pl_table *table = pl_table_new("versions", columns);
	int pq = PQlibVersion();
	add(table, "plist", PACKAGE_VERSION);
	add(table, "lua", LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE);
	add(table, "libpq", pl_arena_printf(invocation->arena, "%d.%d", pq / 10000, pq % 10000));
	add(table, "librdkafka", rd_kafka_version_str());
	add(table, "cjson", cJSON_Version());
	pl_table_print(invocation, table, NULL);
	pl_table_free(&table);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_version = {
	.noun = "version",
	.summary = "print the versions of plist and its libraries",
	.help = "Prints the version of plist and of the libraries that it uses.",
	.prints_data = true,
	.no_config = true,
	.run = version,
};
