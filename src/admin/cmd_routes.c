// plist-admin routes: which handler answers which request under this configuration.
#include "admin/commands.h"

#include "admin/messages.h"
#include "admin/table.h"

enum { METHOD, PATH, HANDLER, RESOURCE, LOCK, ID, DUPLICATE, TTL, TIMEOUT, ID_REQUIRED };

// clang-format off
static const struct pl_table_column columns[] = {
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
// clang-format on

static void add_route(struct pl_table *table, const struct pl_route *route)
{
	static const char *const locks[] = {
		[PL_LOCK_NONE] = "none", [PL_LOCK_OPTIONAL] = "optional", [PL_LOCK_REQUIRED] = "required"
	};
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

// Routes that plistd answers itself; they are not in the YAML.
static void add_own(struct pl_table *table)
{
	static const char *const paths[] = { "/health", "/:region/health", "/ready",
		                             "/:region/replication-lag" };
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		pl_table_row(table);
		pl_table_text(table, METHOD, "GET");
		pl_table_text(table, PATH, paths[i]);
		pl_table_text(table, HANDLER, "(plistd)");
		pl_table_text(table, LOCK, "none");
		pl_table_bool(table, ID_REQUIRED, false);
	}
}

static int routes(struct pl_invocation *invocation)
{
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	struct pl_table *table = pl_table_new("routes", columns);
	for (int i = 0; i < invocation->config->nroutes; i++)
		add_route(table, &invocation->config->routes[i]);
	add_own(table);
	pl_table_print(invocation, table, NULL);
	pl_table_free(&table);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_routes = {
	.noun = "routes",
	.summary = "list the routes and their handlers",
	.help = "Lists the routes in the order of the configuration, then those that plistd itself answers. "
		"Of the routes that match a path, the one with the most literal segments answers.",
	.prints_data = true,
	.run = routes,
};
