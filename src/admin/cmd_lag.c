// plist-admin lag: how far every region is behind the others, and in what.
#include "admin/commands.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "admin/lag_facts.h"
#include "admin/policies_seen.h"
#include "admin/table.h"
#include "admin/talk.h"

#define BEHIND_SECONDS 10.0   // what is called behind when --max-seconds does not say it
#define INTERVAL_US 2000000

enum { R_REGION, R_DAEMON, R_EVENTS, R_OUTBOX, R_SECONDS, R_VERDICT };

static const struct pl_column region_columns[] = {
	[R_REGION] = { "region", PL_CELL_TEXT },
	[R_DAEMON] = { "daemon", PL_CELL_TEXT },
	[R_EVENTS] = { "events_behind", PL_CELL_NUMBER },
	[R_OUTBOX] = { "outbox", PL_CELL_NUMBER },
	[R_SECONDS] = { "seconds", PL_CELL_NUMBER },
	[R_VERDICT] = { "verdict", PL_CELL_TEXT },
	{ NULL },
};

enum { O_REGION, O_ORIGIN, O_EVENTS, O_OUTBOX, O_SECONDS, O_HEARD, O_VERDICT };

static const struct pl_column origin_columns[] = {
	[O_REGION] = { "region", PL_CELL_TEXT },
	[O_ORIGIN] = { "origin", PL_CELL_TEXT },
	[O_EVENTS] = { "events_behind", PL_CELL_NUMBER },
	[O_OUTBOX] = { "outbox", PL_CELL_NUMBER },
	[O_SECONDS] = { "seconds", PL_CELL_NUMBER },
	[O_HEARD] = { "heard_seconds_ago", PL_CELL_NUMBER },
	[O_VERDICT] = { "verdict", PL_CELL_TEXT },
	{ NULL },
};

enum { P_REGION, P_TOPIC, P_PARTITION, P_COMMITTED, P_APPLIED, P_END, P_BEHIND, P_SECONDS, P_VERDICT };

static const struct pl_column partition_columns[] = {
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

static void set_verdict(struct pl_table *table, int column, enum pl_lag_verdict verdict)
{
	pl_table_text(table, column, pl_lag_word(verdict));
	pl_table_tone(table, column, verdict == PL_LAG_OK ? PL_TONE_GOOD : verdict == PL_LAG_CATCHING_UP ? PL_TONE_DOUBT : PL_TONE_BAD);
}

static void add_region(struct pl_table *table, const struct pl_lag_of_region *lag)
{
	pl_table_row(table);
	pl_table_text(table, R_REGION, lag->reach->region->name);
	pl_table_text(table, R_DAEMON, lag->daemon ? "up" : "away");
	pl_table_tone(table, R_DAEMON, lag->daemon ? PL_TONE_GOOD : PL_TONE_BAD);
	set_number(table, R_EVENTS, lag->events_behind);
	set_number(table, R_OUTBOX, lag->outbox_events);
	set_seconds(table, R_SECONDS, lag->seconds);
	set_verdict(table, R_VERDICT, lag->verdict);
}

static void add_origins(struct pl_table *table, const struct pl_lag_of_region *lag)
{
	for (int i = 0; i < lag->norigins; i++) {
		const struct pl_lag_of_origin *origin = &lag->origins[i];
		pl_table_row(table);
		pl_table_text(table, O_REGION, lag->reach->region->name);
		pl_table_text(table, O_ORIGIN, origin->origin->name);
		set_number(table, O_EVENTS, origin->events_behind);
		set_number(table, O_OUTBOX, origin->outbox_events);
		set_seconds(table, O_SECONDS, origin->seconds);
		set_seconds(table, O_HEARD, origin->heard_us < 0 ? PL_UNKNOWN : (double)origin->heard_us / 1e6);
		set_verdict(table, O_VERDICT, origin->verdict);
	}
}

static void add_partitions(struct pl_table *table, const struct pl_lag_of_region *lag)
{
	for (int i = 0; i < lag->npartitions; i++) {
		const struct pl_lag_of_partition *p = &lag->partitions[i];
		pl_table_row(table);
		pl_table_text(table, P_REGION, lag->reach->region->name);
		pl_table_text(table, P_TOPIC, p->topic);
		pl_table_number(table, P_PARTITION, p->partition);
		set_number(table, P_COMMITTED, p->committed);
		set_number(table, P_APPLIED, p->applied);
		set_number(table, P_END, p->end);
		set_number(table, P_BEHIND, p->behind);
		set_seconds(table, P_SECONDS, p->seconds);
		set_verdict(table, P_VERDICT, p->verdict);
	}
}

static void print(const struct pl_call *call, const struct pl_lag_facts *facts, const struct pl_policies_seen *seen)
{
	struct pl_table *tables[] = { pl_table_new("regions", region_columns), pl_table_new("origins", origin_columns),
	                              pl_table_new("partitions", partition_columns), pl_policies_table(seen) };
	for (int i = 0; i < facts->n; i++) {
		add_region(tables[0], &facts->each[i]);
		add_origins(tables[1], &facts->each[i]);
		add_partitions(tables[2], &facts->each[i]);
	}
	pl_tables_print(call, 4, tables, NULL);
	for (int i = 0; i < 4; i++)
		pl_table_free(&tables[i]);
}

// What could not be asked is said, so that a "-" in the table has its reason. The databases have been spoken of already.
static void say_missing(const struct pl_lag_facts *facts)
{
	if (!facts->broker)
		pl_fail("kafka: %s", facts->broker_err.text);
	for (int i = 0; i < facts->n; i++)
		if (!facts->each[i].daemon)
			pl_warn("%s: its daemon does not answer: %s", facts->each[i].reach->region->name, facts->each[i].daemon_err.text);
}

static void warn(void *arg, const char *sentence)
{
	pl_warn("%s", sentence);
}

// Each region's policy as the heartbeats tell it: rows that differ for that reason are not behind, and no waiting makes them equal.
static void look_at_policies(struct pl_call *call, struct pl_reaches *reaches, struct pl_policies_seen *seen)
{
	pl_policies_seen_fini(seen);
	seen->arena = call->arena;
	for (int i = 0; i < reaches->n; i++)
		pl_policies_from_heartbeats(seen, &reaches->each[i]);
}

static int exit_of(const struct pl_call *call, const struct pl_reaches *reaches, const struct pl_lag_facts *facts, double max_seconds)
{
	int answer = PL_EXIT_YES, any = facts->broker;
	for (int i = 0; i < facts->n; i++) {
		const struct pl_lag_of_region *lag = &facts->each[i];
		any |= lag->reach->up || lag->daemon;
		// What is not known is not within the limit.
		if (pl_call_has(call, "max-seconds") && (lag->seconds < 0 || lag->seconds > max_seconds))
			answer = PL_EXIT_NO;
	}
	int status = pl_reaches_exit(reaches, answer);
	if (status == PL_EXIT_UNREACHABLE || !facts->broker)
		status = any ? PL_EXIT_PARTIAL : PL_EXIT_UNREACHABLE;
	return status;
}

static int lag(struct pl_call *call)
{
	double max_seconds = (double)pl_call_us(call, "max-seconds", (int64_t)(BEHIND_SECONDS * 1e6)) / 1e6;
	int64_t interval_us = pl_call_us(call, "interval", INTERVAL_US);
	bool watch = pl_call_has(call, "watch") || pl_call_has(call, "interval");
	struct pl_reaches reaches;
	struct pl_lag_facts facts = { 0 };
	struct pl_policies_seen seen = { 0 };
	int rc = pl_call_regions(call);
	if (rc)
		return rc;
	struct pl_offsets *offsets = pl_offsets_new(call->config, pl_call_timeout_us(call));
	pl_reaches_open(call, &reaches, pl_call_timeout_us(call));
	for (;;) {
		pl_lag_look(call, &reaches, offsets, max_seconds, &facts);
		if (watch && !call->json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout); // from the top left, on an empty screen
		look_at_policies(call, &reaches, &seen);
		print(call, &facts, &seen);
		say_missing(&facts);
		pl_policies_compare(&seen, warn, NULL);
		rc = exit_of(call, &reaches, &facts, max_seconds);
		if (!watch || fflush(stdout))
			break;
		nanosleep(&(struct timespec){ interval_us / 1000000, interval_us % 1000000 * 1000 }, NULL);
		pl_reaches_again(&reaches);
	}
	pl_lag_facts_fini(&facts);
	pl_policies_seen_fini(&seen);
	pl_offsets_free(&offsets);
	pl_reaches_close(&reaches);
	return rc;
}

const struct pl_command pl_cmd_lag = {
	.noun = "lag",
	.summary = "how far every region is behind the others",
	.help = "Shows for every region how far it is behind: against each of the others (origins), and in each partition of Kafka; and which policy each decides "
	        "by, with a warning where regions differ. It asks the databases, Kafka, and the daemons that answer; a dash means that nobody could be asked.\n\n"
	        "Verdicts:\n"
	        "ok: nothing waits.\n"
	        "catching-up: something waits, for less than the limit.\n"
	        "behind: the oldest that waits is older than the limit.\n"
	        "silent: no heartbeat of that origin arrives.\n"
	        "broker-away: Kafka does not answer, so it cannot be known whether anything waits.\n\n"
	        "With --max-seconds the limit is a question: exit 1 when any region is further behind, or when it is not known. "
	        "Seconds count from the oldest event that is not applied.",
	.options = (const struct pl_option[]){
		{ "max-seconds", 'm', PL_OPTION_DURATION, "N", "the limit, in seconds (default for the verdicts: 10)" },
		{ "watch", 'w', PL_OPTION_SWITCH, NULL, "look again and again, until interrupted" },
		{ "interval", 'i', PL_OPTION_DURATION, "TIME", "between two looks (default: 2s); means --watch" },
		{ NULL },
	},
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = lag,
};
