// What the daemons of this region know: see daemon_fields.h.
#include "relay/daemon_fields.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef HOST_NAME_MAX
#define HOST_NAME_MAX 255
#endif

// {"properties":{"price":"decimal(12,2)","bathrooms":"retired integer"}}
static void print_fields(struct pl_buf *buf, const struct pl_config *config)
{
	char type[PL_FIELD_TYPE_MAX];

	for (int i = 0; i < config->nresources; i++) {
		const struct pl_resource *resource = &config->resources[i];

		pl_buf_printf(buf, "%s\"%s\":{", i ? "," : "{", resource->name);
		for (int f = 0; f < resource->nall; f++)
			pl_buf_printf(buf, "%s\"%s\":\"%s%s\"", f ? "," : "", resource->fields[f].name,
			              f < resource->nfields ? "" : "retired ",
			              pl_config_field_type(&resource->fields[f], type));
		pl_buf_addc(buf, '}');
	}
	pl_buf_addc(buf, '}');
}

int pl_daemon_fields_beat(struct pl_session *session, const struct pl_config *config,
                          const struct pl_region *region, struct pl_buf *all, struct pl_error *err)
{
	char name[HOST_NAME_MAX + 16] = "";
	const char *port = strrchr(region->listen, ':');
	struct pl_buf fields = { 0 };
	PGresult *result;

	gethostname(name, HOST_NAME_MAX);
	snprintf(name + strlen(name), 16, "%s", port ? port : "");
	print_fields(&fields, config);
	const char *params[] = { name, fields.data };
	result = pl_session_exec(
		session,
		"WITH own AS (INSERT INTO plist.daemon_fields AS d (daemon, fields) "
		"VALUES ($1::text, $2::jsonb) "
		"ON CONFLICT (daemon) DO UPDATE SET fields = excluded.fields, seen_at = now() WHERE "
		"d.fields <> excluded.fields OR d.seen_at < now() - interval '5 seconds'), gone AS (DELETE "
		"FROM plist.daemon_fields WHERE daemon <> $1::text AND seen_at < now() - "
		"interval '1 minute') "
		"SELECT coalesce(jsonb_object_agg(daemon, fields) FILTER (WHERE seen_at > now() - interval "
		"'20 seconds'), '{}') || jsonb_build_object($1::text, $2::jsonb) FROM plist.daemon_fields",
		2, params, err);
	pl_buf_fini(&fields);
	if (!result)
		return err->code;
	pl_buf_adds(all, PQgetvalue(result, 0, 0));
	PQclear(result);
	return 0;
}
