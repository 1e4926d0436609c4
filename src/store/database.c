// See database.h.
#include "store/database.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

#define RETRY_US 50000 // how often a connection that is down is looked at

static void on_timer(void *arg)
{
	struct pl_database *db = arg;

	db->wake_us = INT64_MAX;
	db->due(db->owner, pl_mono_us());
}

void pl_database_init(struct pl_database *db, struct pl_loop *loop, const struct pl_config *config,
                      const struct pl_region *region, void (*due)(void *owner, int64_t now_us), void *owner)
{
	*db = (struct pl_database){ .loop = loop,
		                    .config = pl_config_ref(config),
		                    .region = region,
		                    .grace_us = config->database.connect_timeout_us,
		                    .wake_us = INT64_MAX,
		                    .due = due,
		                    .owner = owner };
	snprintf(db->key, sizeof(db->key), "%s", region->name);
	db->timer = pl_loop_timer_new(loop, on_timer, db);
	pl_statement_set_reconfigure(db);
}

void pl_database_reconfigure(struct pl_database *db, const struct pl_config *config,
                             const struct pl_region *region)
{
	struct pl_config *old = db->config;

	db->config = pl_config_ref(config);
	db->region = region;
	db->grace_us = config->database.connect_timeout_us;
	for (int i = 0; i < db->nconns; i++)
		pl_conn_set_dsn(db->conns[i].conn, region->database, region->database_file);
	pl_statement_set_reconfigure(db);
	pl_config_unref(&old);
}

void pl_database_close(struct pl_database *db)
{
	db->stopping = true;
	for (int i = 0; i < db->nconns; i++)
		pl_conn_free(&db->conns[i].conn);
	db->nconns = 0;
}

void pl_database_fini(struct pl_database *db)
{
	pl_statement_set_free_all(db);
	pl_loop_timer_free(&db->timer);
	free(db->conns);
	db->conns = NULL;
	pl_config_unref(&db->config);
}

// ---- connections

// After a loss, calls that waited for an answer wait for a connection, which may be in
// vain.
static void changed(struct pl_conn *conn, bool up, void *arg)
{
	(void)conn;
	if (!up)
		pl_database_wake_at(arg, pl_mono_us() + RETRY_US);
}

static struct pl_conn *open_connection(struct pl_database *db, const struct pl_database_conn_options *options)
{
	char name[PL_REGION_MAX + 32];

	snprintf(name, sizeof(name), "plist %s %s", db->region->name, options->purpose);
	return pl_conn_new(&(struct pl_conn_options){
		.loop = db->loop,
		.dsn = db->region->database,
		.dsn_file = db->region->database_file,
		.user = options->user,
		.application_name = name,
		.connect_timeout_us = db->config->database.connect_timeout_us,
		.statement_timeout_us = db->config->database.statement_timeout_us,
		.lock_timeout_us = options->lock_timeout_us ? options->lock_timeout_us
	                                                    : db->config->database.lock_timeout_us,
		.read_only = options->read_only,
		.result_bytes_max = options->result_bytes_max,
		.tells_superuser = !options->read_only,
		.setup = options->setup,
		.changed = changed,
		.arg = db });
}

struct pl_conn *pl_database_connect(struct pl_database *db, const struct pl_database_conn_options *options)
{
	struct pl_database_conn *added;

	db->conns = pl_realloc(db->conns, (size_t)(db->nconns + 1) * sizeof(db->conns[0]));
	added = &db->conns[db->nconns++];
	*added = (struct pl_database_conn){ .conn = open_connection(db, options),
		                            .required_for = options->required_for,
		                            .read_only = options->read_only,
		                            .first = options->first,
		                            .nkinds = options->nkinds };
	pl_statement_set_prepare_all(db, added);
	return added->conn;
}

// ---- waiting

void pl_database_wake_at(struct pl_database *db, int64_t at_us)
{
	if (at_us >= db->wake_us)
		return;
	db->wake_us = at_us;
	pl_loop_timer_set(db->timer, at_us - pl_mono_us());
}

void pl_database_wait(struct pl_database *db, const struct pl_conn *conn, int64_t deadline_us)
{
	pl_database_wake_at(db, deadline_us);
	if (!conn || !pl_conn_up(conn))
		pl_database_wake_at(db, pl_mono_us() + RETRY_US);
}

// A server that does not respond may still do so: it is given connect_timeout. One that
// refuses connections is given only NGINX's connect timeout, after which another region
// can answer.
int pl_database_unavailable(struct pl_database *db, struct pl_conn *conn, struct pl_error *err)
{
	const struct pl_error *last = pl_conn_last_error(conn);
	int64_t patience_us = db->grace_us;

	if (pl_conn_up(conn))
		return 0;
	if (pl_conn_refused(conn) && db->config->nginx.connect_timeout_us < patience_us)
		patience_us = db->config->nginx.connect_timeout_us;
	if (pl_conn_down_us(conn) < patience_us) {
		pl_database_wake_at(db, pl_mono_us() + RETRY_US);
		return 0;
	}
	pl_error_set(err, PL_EUNAVAIL, "the database is unavailable: %s",
	             last->code ? last->text : "it cannot be reached");
	err->retryable = true;
	return PL_EUNAVAIL;
}

// ---- state

static bool conn_ready(const struct pl_database_conn *one, struct pl_error *why)
{
	const struct pl_error *last = pl_conn_last_error(one->conn);

	if (!pl_conn_up(one->conn) && !pl_conn_renewing(one->conn)) {
		pl_error_set(why, PL_EUNAVAIL, "there is no connection for %s: %s", one->required_for,
		             last->code ? last->text : "connecting");
		return false;
	}
	if (!pl_conn_prepared(one->conn, why)) {
		pl_error_prefix(why, "%s", one->required_for);
		return false;
	}
	return one->read_only || pl_conn_writable(one->conn, why);
}

bool pl_database_ready(const struct pl_database *db, struct pl_error *why)
{
	for (int i = 0; i < db->nconns; i++)
		if (db->conns[i].required_for && !conn_ready(&db->conns[i], why))
			return false;
	return true;
}

uint64_t pl_database_reconnects(const struct pl_database *db)
{
	uint64_t n = 0;

	for (int i = 0; i < db->nconns; i++)
		n += pl_conn_reconnects(db->conns[i].conn);
	return n;
}
