// plist-admin lag: shows how far each region is behind the others.
#include "admin/commands.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "admin/lag_facts.h"
#include "admin/messages.h"
#include "admin/policies_seen.h"
#include "admin/table.h"

#define BEHIND_SECONDS 10.0 // when a region counts as behind, without --max-seconds
#define INTERVAL_US    2000000

enum { R_REGION, R_DAEMON, R_EVENTS, R_OUTBOX, R_SECONDS, R_VERDICT };

// clang-format off
static const struct pl_table_column region_columns[] = {
	[R_REGION] = { "region", PL_CELL_TEXT },
	[R_DAEMON] = { "daemon", PL_CELL_TEXT },
	[R_EVENTS] = { "events_behind", PL_CELL_NUMBER },
	[R_OUTBOX] = { "outbox", PL_CELL_NUMBER },
	[R_SECONDS] = { "seconds", PL_CELL_NUMBER },
	[R_VERDICT] = { "verdict", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

enum { O_REGION, O_ORIGIN, O_EVENTS, O_OUTBOX, O_SECONDS, O_HEARD, O_VERDICT };

// clang-format off
static const struct pl_table_column origin_columns[] = {
	[O_REGION] = { "region", PL_CELL_TEXT },
	[O_ORIGIN] = { "origin", PL_CELL_TEXT },
	[O_EVENTS] = { "events_behind", PL_CELL_NUMBER },
	[O_OUTBOX] = { "outbox", PL_CELL_NUMBER },
	[O_SECONDS] = { "seconds", PL_CELL_NUMBER },
	[O_HEARD] = { "heard_seconds_ago", PL_CELL_NUMBER },
	[O_VERDICT] = { "verdict", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

enum { P_REGION, P_TOPIC, P_PARTITION, P_COMMITTED, P_APPLIED, P_END, P_BEHIND, P_SECONDS, P_VERDICT };

// clang-format off
static const struct pl_table_column partition_columns[] = {
	[P_REGION] = { "region", PL_CELL_TEXT },
	[P_TOPIC] = { "topic", PL_CELL_TEXT },
	[P_PARTITION] = { "partition", PL_CELL_NUMBER },
	[P_COMMITTED] = { "committed", PL_CELL_NUMBER },
	[P_APPLIED] = { "applied", PL_CELL_NUMBER },
	[P_END] = { "end", PL_CELL_NUMBER },
	[P_BEHIND] = { "events_behind", PL_CELL_NUMBER },
	[P_SECONDS] = { "seconds", PL_CELL_NUMBER },
	[P_VERDICT] = { "verdict", PL_CELL_TEXT },
	{ NULL },
};
// clang-format on

static void set_number(struct pl_table *table, int column, int64_t number)
{
	if (number >= 0)
		pl_table_number(table, column, number);
}

static void set_seconds(struct pl_table *table, int column, double seconds)
{
	if (seconds >= 0)
		pl_table_seconds(table, column, seconds);
}

static void set_verdict(struct pl_table *table, int column, enum pl_lag_state state)
{
	pl_table_text(table, column, pl_lag_facts_state_name(state));
	pl_table_tone(table, column,
	              state == PL_LAG_OK            ? PL_TONE_GOOD
	              : state == PL_LAG_CATCHING_UP ? PL_TONE_DOUBT
	                                            : PL_TONE_BAD);
}

static void add_region(struct pl_table *table, const struct pl_lag_of_region *lag)
{
	pl_table_row(table);
	pl_table_text(table, R_REGION, lag->region_session->region->name);
	pl_table_text(table, R_DAEMON, lag->daemon ? "up" : "down");
	pl_table_tone(table, R_DAEMON, lag->daemon ? PL_TONE_GOOD : PL_TONE_BAD);
	set_number(table, R_EVENTS, lag->events_behind);
	set_number(table, R_OUTBOX, lag->outbox_events);
	set_seconds(table, R_SECONDS, lag->seconds);
	set_verdict(table, R_VERDICT, lag->state);
}

static void add_origins(struct pl_table *table, const struct pl_lag_of_region *lag)
{
	for (int i = 0; i < lag->norigins; i++) {
		const struct pl_lag_of_origin *origin = &lag->origins[i];
		pl_table_row(table);
		pl_table_text(table, O_REGION, lag->region_session->region->name);
		pl_table_text(table, O_ORIGIN, origin->origin->name);
		set_number(table, O_EVENTS, origin->events_behind);
		set_number(table, O_OUTBOX, origin->outbox_events);
		set_seconds(table, O_SECONDS, origin->seconds);
		set_seconds(table, O_HEARD,
		            origin->heard_us < 0 ? PL_UNKNOWN : (double)origin->heard_us / 1e6);
		set_verdict(table, O_VERDICT, origin->state);
	}
}

static void add_partitions(struct pl_table *table, const struct pl_lag_of_region *lag)
{
	for (int i = 0; i < lag->npartitions; i++) {
		const struct pl_lag_of_partition *p = &lag->partitions[i];
		pl_table_row(table);
		pl_table_text(table, P_REGION, lag->region_session->region->name);
		pl_table_text(table, P_TOPIC, p->topic);
		pl_table_number(table, P_PARTITION, p->partition);
		set_number(table, P_COMMITTED, p->committed);
		set_number(table, P_APPLIED, p->applied);
		set_number(table, P_END, p->end);
		set_number(table, P_BEHIND, p->behind);
		set_seconds(table, P_SECONDS, p->seconds);
		set_verdict(table, P_VERDICT, p->state);
	}
}

static void print(const struct pl_invocation *invocation, const struct pl_lag_facts *facts,
                  const struct pl_policies_seen *seen)
{
	struct pl_table *tables[] = { pl_table_new("regions", region_columns),
		                      pl_table_new("origins", origin_columns),
		                      pl_table_new("partitions", partition_columns),
		                      pl_policies_seen_table(seen) };
	for (int i = 0; i < facts->n; i++) {
		add_region(tables[0], &facts->each[i]);
		add_origins(tables[1], &facts->each[i]);
		add_partitions(tables[2], &facts->each[i]);
	}
	pl_tables_print(invocation, 4, tables, NULL);
	for (int i = 0; i < 4; i++)
		pl_table_free(&tables[i]);
}

// Reports what could not be queried, to explain a "-" in the table. Databases have been
// reported already.
static void say_missing(const struct pl_lag_facts *facts)
{
	if (!facts->broker)
		pl_fail("kafka: %s", facts->broker_err.text);
	for (int i = 0; i < facts->n; i++)
		if (!facts->each[i].daemon)
			pl_warn("%s: the daemon does not answer: %s",
			        facts->each[i].region_session->region->name, facts->each[i].daemon_err.text);
}

static void warn(void *arg, const char *sentence)
{
	pl_warn("%s", sentence);
}

// The policy of each region, as its heartbeats report it. Rows may differ because
// policies differ; such rows are not behind, and waiting does not make them equal.
static void look_at_policies(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                             struct pl_policies_seen *seen)
{
	pl_policies_seen_fini(seen);
	seen->arena = invocation->arena;
	for (int i = 0; i < sessions->n; i++)
		pl_policies_seen_in_heartbeats(seen, &sessions->each[i]);
}

static int exit_of(const struct pl_invocation *invocation, const struct pl_region_sessions *sessions,
                   const struct pl_lag_facts *facts, double max_seconds)
{
	int answer = PL_EXIT_YES, any = facts->broker;
	for (int i = 0; i < facts->n; i++) {
		const struct pl_lag_of_region *lag = &facts->each[i];
		any |= lag->region_session->up || lag->daemon;
		// An unknown lag does not satisfy the limit.
		if (pl_invocation_has(invocation, "max-seconds") &&
		    (lag->seconds < 0 || lag->seconds > max_seconds))
			answer = PL_EXIT_NO;
	}
	int status = pl_region_sessions_exit(sessions, answer);
	if (status == PL_EXIT_UNREACHABLE || !facts->broker)
		status = any ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return status;
}

static int lag(struct pl_invocation *invocation)
{
	double max_seconds =
		(double)pl_invocation_us(invocation, "max-seconds", (int64_t)(BEHIND_SECONDS * 1e6)) / 1e6;
	int64_t interval_us = pl_invocation_us(invocation, "interval", INTERVAL_US);
	bool watch = pl_invocation_has(invocation, "watch") || pl_invocation_has(invocation, "interval");
	struct pl_region_sessions sessions;
	struct pl_lag_facts facts = { 0 };
	struct pl_policies_seen seen = { 0 };
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	struct pl_offsets *offsets = pl_offsets_new(invocation->config, pl_invocation_timeout_us(invocation));
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (;;) {
		pl_lag_facts_look(invocation, &sessions, offsets, max_seconds, &facts);
		if (watch && !invocation->json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout); // clear the screen and start at the top left
		look_at_policies(invocation, &sessions, &seen);
		print(invocation, &facts, &seen);
		say_missing(&facts);
		pl_policies_seen_compare(&seen, warn, NULL);
		rc = exit_of(invocation, &sessions, &facts, max_seconds);
		if (!watch || fflush(stdout))
			break;
		nanosleep(&(struct timespec){ interval_us / 1000000, interval_us % 1000000 * 1000 }, NULL);
		pl_region_sessions_retry(&sessions);
	}
	pl_lag_facts_fini(&facts);
	pl_policies_seen_fini(&seen);
	pl_offsets_free(&offsets);
	pl_region_sessions_close(&sessions);
	return rc;
}

static const struct pl_option lag_options[] = {
	{ "max-seconds", 'm', PL_OPTION_DURATION, "N",
	  "maximum lag in seconds (default for the verdicts: 10)" },
	{ "watch", 'w', PL_OPTION_SWITCH, NULL, "repeat until interrupted" },
	{ "interval", 'i', PL_OPTION_DURATION, "TIME",
	  "interval between repetitions (default: 2s); implies "
	  "--watch" },
	{ NULL },
};

const struct pl_command pl_cmd_lag = {
	.noun = "lag",
	.summary = "show how far each region is behind the others",
	.help = "Shows how far each region is behind each of the others (origins) and in each partition, "
		"and which policies each region uses, with a warning if they differ. It asks the databases, "
		"Kafka, and the daemons that answer; a dash means that the value is not known.\n\n"
		"Verdicts:\n"
		"ok: no event waits.\n"
		"catching-up: events wait, none longer than the limit.\n"
		"behind: the oldest waiting event is older than the limit.\n"
		"silent: no heartbeats of that origin arrive.\n"
		"gap: events that the origin has published are missing; it publishes them again if it "
		"still has them.\n"
		"unknown: the daemon has just started and has not heard from that origin.\n"
		"rebuilding: the origin fetches its records from the others.\n"
		"broker-down: Kafka is unavailable, so it is not known whether events wait.\n\n"
		"With --max-seconds, the exit status is 1 if any region is further behind, or if that is not "
		"known. Seconds are the age of the oldest event that has not been applied.",
	.options = lag_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = lag,
};
