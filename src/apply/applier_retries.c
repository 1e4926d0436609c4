// What an applier tries again between two batches: parked events, and resolving records
// with siblings.
//
// Called by apply/applier, of the first applier only. Threads: the applier's.
#include "apply/applier_private.h"

static void note_reresolve(struct pl_applier *applier)
{
	NOTE(applier, reresolve_total, applier->reresolve.total);
	NOTE(applier, reresolve_seen, applier->reresolve.seen);
	NOTE(applier, reresolve_changed, applier->reresolve.changed);
	NOTE(applier, reresolve_left, applier->reresolve.left);
}

// A start or a new configuration: siblings are resolved again and parked events are
// due, by the first applier.
void pl_applier_begin_retries(struct pl_applier *applier)
{
	pl_reresolve_begin(&applier->reresolve, applier->index == 0);
	note_reresolve(applier);
	if (applier->index == 0)
		pl_parked_retry_all(&applier->parked);
}

void pl_applier_retry_parked(struct pl_applier *applier)
{
	struct pl_error err = { 0 };
	int tried;

	if (!pl_session_connected(applier->tools.session) || !pl_applier_may_write(applier))
		return;
	if (pl_parked_retry_run(&applier->parked, applier->batch, &applier->tools, &applier->counts, &tried,
	                        &err) < 0) {
		if (err.code != PL_ESTOPPED && pl_log_limit_ok(&applier->database_limit, 10 * SECOND))
			pl_warning("parked events could not be retried: %s", err.text);
	} else if (tried > 0 && !applier->parked.more) {
		applier->flush_at_us = 0; // count them at once
	}
}

void pl_applier_reresolve(struct pl_applier *applier)
{
	struct pl_error err = { 0 };

	if (!pl_applier_may_write(applier))
		return;
	if (pl_reresolve_step(&applier->reresolve, applier->batch, &applier->tools, applier->arena, &err) <
	    0) {
		if (!err.retryable || !pl_session_connected(applier->tools.session))
			pl_applier_database_failed(applier, &err);
		return;
	}
	note_reresolve(applier);
	if (!applier->reresolve.pending)
		atomic_store(&applier->stats.reresolved, applier->taken);
}
