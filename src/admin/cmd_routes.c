// plist-admin routes: which file answers which request, as the daemons of this configuration serve it.
#include "admin/commands.h"

#include "admin/table.h"
#include "admin/talk.h"

enum { METHOD, PATH, HANDLER, RESOURCE, LOCK, ID, DUPLICATE, TTL, TIMEOUT, ID_REQUIRED };

static const struct pl_column columns[] = {
	[METHOD] = { "method", PL_CELL_TEXT },
	[PATH] = { "path", PL_CELL_TEXT },
	[HANDLER] = { "handler", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[LOCK] = { "lock", PL_CELL_TEXT },
	[ID] = { "request_id", PL_CELL_TEXT },
	[DUPLICATE] = { "on_duplicate", PL_CELL_TEXT },
	[TTL] = { "ttl_seconds", PL_CELL_NUMBER },
	[TIMEOUT] = { "timeout_seconds", PL_CELL_NUMBER },
	[ID_REQUIRED] = { "request_id_required", PL_CELL_BOOLEAN, PL_COLUMN_DETAIL },
	{ NULL },
};

static void add_route(struct pl_table *table, const struct pl_route *route)
{
	static const char *const locks[] = { [PL_LOCK_NONE] = "none", [PL_LOCK_OPTIONAL] = "optional", [PL_LOCK_REQUIRED] = "required" };
	pl_table_row(table);
	pl_table_text(table, METHOD, route->method);
	pl_table_text(table, PATH, route->path);
	pl_table_text(table, HANDLER, route->handler);
	pl_table_text(table, RESOURCE, route->resource);
	pl_table_text(table, LOCK, locks[route->lock]);
	pl_table_seconds(table, TIMEOUT, (double)route->timeout_us / 1e6);
	pl_table_bool(table, ID_REQUIRED, route->idempotent && route->id_required);
	if (!route->idempotent)
		return;
	pl_table_text(table, ID, route->id_header);
	pl_table_text(table, DUPLICATE, route->on_duplicate == PL_DUPLICATE_REJECT ? "reject" : "replay");
	pl_table_number(table, TTL, route->ttl_us / 1000000);
}

// Those that plistd answers itself. They are not in the YAML.
static void add_own(struct pl_table *table)
{
	static const char *const paths[] = { "/health", "/:region/health", "/ready", "/metrics", "/:region/replication-lag" };
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		pl_table_row(table);
		pl_table_text(table, METHOD, "GET");
		pl_table_text(table, PATH, paths[i]);
		pl_table_text(table, HANDLER, "(plistd)");
		pl_table_text(table, LOCK, "none");
		pl_table_bool(table, ID_REQUIRED, false);
	}
}

static int routes(struct pl_call *call)
{
	int rc = pl_call_config(call);
	if (rc)
		return rc;
	struct pl_table *table = pl_table_new("routes", columns);
	for (int i = 0; i < call->config->nroutes; i++)
		add_route(table, &call->config->routes[i]);
	add_own(table);
	pl_table_print(call, table, NULL);
	pl_table_free(&table);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_routes = {
	.noun = "routes",
	.summary = "which Lua file answers which request",
	.help = "Lists the routes of the configuration in the order in which they are tried, then those that plistd answers itself.",
	.prints_data = true,
	.run = routes,
};
