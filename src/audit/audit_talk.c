// Asks other regions, answers them while waiting, and limits the rate of reading. Between
// a round and the letter box (event/audit_mail), which the relay and an applier serve.
// Threads: the audit's.
#include "audit/audit_private.h"

#include <poll.h>
#include <stdio.h>

#include "base/faults.h"
#include "base/random.h"

#define TRIES      3
#define TRY_US     (10 * SECOND)
#define SILENT_US  (10 * SECOND)
#define REACHED_US (60 * SECOND)
#define LOOK_US    (SECOND / 20)

// ---- the pace

void pl_audit_count_rows(struct pl_audit *audit, int64_t rows)
{
	int64_t now_us = pl_mono_us();

	if (audit->free_at_us < now_us)
		audit->free_at_us = now_us;
	audit->free_at_us += (rows + LOOK_ROWS) * SECOND / audit->config->audit.rows_per_second;
}

static bool stopped(struct pl_audit *audit, int64_t us, bool mail)
{
	struct pollfd p[2] = { { .fd = pl_background_stop_fd(audit->background), .events = POLLIN },
		               { .fd = mail ? pl_audit_mail_fd(audit->options.mail) : -1,
		                 .events = POLLIN } };

	poll(p, 2, us > 0 ? (int)((us + 999) / 1000) : 0);
	return p[0].revents != 0;
}

// Does not answer other regions meanwhile: an answer would have to wait for the same.
int pl_audit_wait_turn(struct pl_audit *audit, struct pl_error *err)
{
	int64_t left_us;

	while ((left_us = audit->free_at_us - pl_mono_us()) > 0)
		if (stopped(audit, left_us, false))
			return pl_error_set(err, PL_ESTOPPED, "the audit was stopped");
	return 0;
}

// ---- listening

static void refuse(struct pl_audit *audit, const struct pl_error *err)
{
	pthread_mutex_lock(&audit->lock);
	audit->stats.refused++;
	pthread_mutex_unlock(&audit->lock);
	pl_faults_lost(PL_LOSS_AUDIT_MESSAGE);
	if (pl_log_limit_ok(&audit->refused_limit, 60 * SECOND))
		pl_warning("audit: ignoring a message that no region can have sent: %s; check which other "
		           "programs may write to the topic of the heartbeats",
		           err->text);
}

// Reads one message. 1: it is the answer; 0: it was something else.
static int take(struct pl_audit *audit)
{
	struct pl_audit_message message;
	struct pl_error err = { 0 };

	pl_arena_reset(audit->answering);
	if (pl_audit_message_parse(audit->answering, audit->in.data, audit->in.len, &message, &err) < 0) {
		refuse(audit, &err);
		return 0;
	}
	if (strcmp(message.to, audit->region->name) != 0 ||
	    !pl_config_region(audit->config, message.region, strlen(message.region)))
		return 0;
	if (!message.is_answer) {
		pl_audit_answer(audit, &message);
		return 0;
	}
	if (!audit->waiting_for || strcmp(audit->waiting_for, message.id) != 0)
		return 0;
	audit->waiting_for = NULL;
	pl_arena_reset(audit->answered);
	return pl_audit_message_parse(audit->answered, audit->in.data, audit->in.len, &audit->answer, &err) ==
	       0;
}

// Returns 1 if the answer has come, 0 when the time is up, or a code.
static int listen_until(struct pl_audit *audit, int64_t until_us, struct pl_error *err)
{
	for (;;) {
		int64_t left_us;
		bool any;

		if (!audit->options.leads(audit->options.arg))
			return pl_error_set(err, INCOMPLETE, "another daemon publishes for the region now");
		if (pl_background_outdated(audit->background))
			return pl_error_set(err, INCOMPLETE, "the configuration was reloaded");
		// One message at a time: a region that asks without end must not delay
		// everything else.
		any = pl_audit_mail_read(audit->options.mail, &audit->in);
		if (any && take(audit))
			return 1;
		left_us = until_us - pl_mono_us();
		if (left_us <= 0)
			return 0;
		if (stopped(audit, any ? 0 : left_us < SECOND ? left_us : SECOND, true))
			return pl_error_set(err, PL_ESTOPPED, "the audit was stopped");
	}
}

int pl_audit_wait(struct pl_audit *audit, int64_t until_us, struct pl_error *err)
{
	audit->waiting_for = NULL;
	return listen_until(audit, until_us, err);
}

// ---- asking

// Checks that the other region is alive. 0, INCOMPLETE if it is not, or a code.
static int check_heard(struct pl_audit *audit, const char *region, struct pl_error *err)
{
	char us[24];
	int64_t silent_us = 10 * audit->config->kafka.heartbeat_us;
	const char *params[] = { region, us };
	PGresult *result;
	bool is_heard;

	snprintf(us, sizeof(us), "%lld", (long long)(silent_us < SILENT_US ? SILENT_US : silent_us));
	result = pl_session_exec(audit->session,
	                         "SELECT FROM plist.region_heartbeats WHERE region = $1 AND heard_at > "
	                         "clock_timestamp() - $2::bigint * interval '1 microsecond'",
	                         2, params, err);
	if (!result)
		return err->code;
	is_heard = PQntuples(result) > 0;
	PQclear(result);
	return is_heard ? 0 : pl_error_set(err, INCOMPLETE, "region %s is silent", region);
}

static int take_answer(struct pl_audit *audit, const struct pl_audit_message *ask, struct pl_error *err)
{
	const struct pl_audit_message *answer = &audit->answer;

	if (answer->fault)
		return pl_error_set(err, PL_ENOTFOUND, "region %s: %s: %s", ask->to, ask->resource,
		                    answer->fault);
	if (answer->what != ask->what || strcmp(answer->resource, ask->resource) != 0 ||
	    strcmp(answer->region, ask->to) != 0)
		return pl_error_set(err, INCOMPLETE, "region %s answered something else", ask->to);
	return 0;
}

int pl_audit_ask(struct pl_audit *audit, struct pl_audit_message *ask, struct pl_error *err)
{
	struct pl_buf text = { 0 };
	int code = 0;

	snprintf(ask->region, sizeof(ask->region), "%s", audit->region->name);
	snprintf(ask->id, sizeof(ask->id), "%016llx", (unsigned long long)pl_random());
	ask->major = PQserverVersion(pl_session_pg(audit->session)) / 10000;
	pl_audit_message_print(&text, ask);
	for (int i = 0; i < TRIES && code == 0; i++) {
		if ((code = check_heard(audit, ask->to, err)) < 0)
			break;
		audit->waiting_for = ask->id;
		pl_audit_mail_send(audit->options.mail, ask->to, &text);
		audit->options.send(audit->options.arg);
		code = listen_until(audit, pl_mono_us() + TRY_US, err);
	}
	audit->waiting_for = NULL;
	pl_buf_fini(&text);
	if (code == 0)
		return pl_error_set(err, INCOMPLETE,
		                    "region %s does not answer; its daemons may be of a version that "
		                    "has no audit, or the heartbeats' topic may not take messages of "
		                    "this size",
		                    ask->to);
	return code < 0 ? code : take_answer(audit, ask, err);
}

// ---- positions

// Whether this region has applied that place in the other one's outbox, except for what
// is parked here or was refused there.
static bool has_passed(struct pl_audit *audit, const PGresult *result, int row)
{
	const struct pl_outbox_place place = { strtoll(PQgetvalue(result, row, 1), NULL, 10),
		                               strtoll(PQgetvalue(result, row, 2), NULL, 10) };

	return pl_audit_mail_has_passed(audit->options.mail, PQgetvalue(result, row, 0), &place);
}

// Finds the first region of which events are missing here: `region_r`; "": none.
static int find_missing(struct pl_audit *audit, char region_r[PL_REGION_MAX + 1], struct pl_error *err)
{
	struct pl_buf regions = { 0 };
	const char *params[] = { audit->region->name, NULL, audit->answer.positions };
	PGresult *result;

	for (int i = 0; i < audit->config->nregions; i++)
		pl_buf_printf(&regions, "%c%s", i ? ',' : '{', audit->config->regions[i].name);
	pl_buf_addc(&regions, '}');
	params[1] = regions.data;
	result = pl_session_exec(audit->session,
	                         "SELECT e.key, e.value ->> 0, e.value ->> 1 FROM jsonb_each($3::jsonb) AS e "
	                         "LEFT JOIN plist.plist_positions($1) AS p ON p.region = e.key WHERE e.key = "
	                         "ANY ($2::text[]) AND (p.reached_id > 0 AND (p.reached_generation, "
	                         "p.reached_id) >= ((e.value ->> 0)::bigint, (e.value ->> 1)::bigint)) "
	                         "IS NOT TRUE ORDER BY 1",
	                         3, params, err);
	pl_buf_fini(&regions);
	if (!result)
		return err->code;
	region_r[0] = '\0';
	for (int i = 0; i < PQntuples(result) && !region_r[0]; i++)
		if (!has_passed(audit, result, i))
			snprintf(region_r, PL_REGION_MAX + 1, "%s", PQgetvalue(result, i, 0));
	PQclear(result);
	return 0;
}

int pl_audit_await(struct pl_audit_round *round, struct pl_error *err)
{
	struct pl_audit *audit = round->audit;
	int64_t until_us = pl_mono_us() + REACHED_US;
	char missing[PL_REGION_MAX + 1];
	int code;

	for (;;) {
		if ((code = find_missing(audit, missing, err)) < 0)
			return code;
		if (!missing[0])
			return 0;
		if (pl_mono_us() >= until_us)
			return pl_error_set(err, INCOMPLETE,
			                    "events of region %s that region %s has are not here yet",
			                    missing, round->with);
		if ((code = pl_audit_wait(audit, pl_mono_us() + LOOK_US, err)) < 0)
			return code;
	}
}
