// A handler's own answer: stored with the remembered request before the client sees it,
// so that a retry gets the same answer. An event for the other regions is stored with it.
//
// If another region has executed the request, too, and its name comes first, its answer
// is the one that is remembered; ours is dropped.
//
// Called for writer clients (store/writer_client.c), on the first connection for batches.
// Threads: used under the shared writer's lock.
#include <stdio.h>
#include <string.h>

#include "store/store_private.h"

static const char statement_name[] = "plist_remember_answer";

void pl_write_answer_prepare(struct pl_conn *conn)
{
	pl_conn_prepare(
		conn, statement_name,
		"WITH r AS (UPDATE plist.processed_requests SET status = $3::smallint, response_body = "
		"$4::jsonb, location = NULL WHERE request_id = $1::text AND principal = $2::text AND "
		"plist.plist_answer_owner(dots) = $8::text RETURNING *), o AS (INSERT INTO plist.outbox "
		"(resource, record_id, origin, value, deleted, vector, request_id, principal, fingerprint, "
		"status, expires_at, republished, answer) SELECT resource, record_id, $8::text, $5::text, "
		"$7::smallint = 204, $6::jsonb, request_id, principal, fingerprint, $7::smallint, "
		"expires_at, $8::text || '; request', plist.plist_answer(status, response_body, location, "
		"$8::text, resource, record_id) FROM r) "
		"SELECT 1 FROM r UNION ALL SELECT 1 FROM plist.processed_requests WHERE "
		"request_id = $1::text AND principal = $2::text");
}

static void finish(struct pl_shared_writer *writer, struct pl_remember_answer *answer, int code,
                   const char *why)
{
	answer->code = code;
	if (code) {
		pl_error_set(&answer->err, code, "%s", why);
		answer->err.retryable = code != PL_EUNKNOWN && code != PL_ENOTFOUND;
	}
	writer->nanswers--;
	pl_post_answer(&answer->client->back, answer);
}

static void stored(void *arg, PGresult *result, const struct pl_error *err)
{
	struct pl_pending_call *pending = arg;
	struct pl_shared_writer *writer = pending->owner;
	struct pl_remember_answer *answer = pending->call;

	pl_pending_call_free(&writer->answers_sent, pending);
	if (!answer)
		return;
	if (!result)
		finish(writer, answer, PL_EUNKNOWN, err->text);
	else if (err->code)
		finish(writer, answer,
		       err->code == PL_ETIMEOUT || err->code == PL_EUNAVAIL ? err->code : PL_EINTERNAL,
		       err->text);
	else if (PQntuples(result) == 0)
		finish(writer, answer, PL_ENOTFOUND, "the request is no longer remembered");
	else
		finish(writer, answer, 0, NULL);
}

void pl_write_answer_send(struct pl_shared_writer *writer, struct pl_remember_answer *answer)
{
	static const char *const default_status[] = {
		[PL_WRITE_CREATE] = "201", [PL_WRITE_UPDATE] = "200", [PL_WRITE_DELETE] = "204"
	};
	char status[12];
	const char *values[] = { answer->request_id,
		                 answer->principal ? answer->principal : "",
		                 status,
		                 answer->body,
		                 answer->value,
		                 answer->vector,
		                 default_status[answer->op],
		                 writer->db.region->name };
	struct pl_conn_params params = { .n = 8, .values = values };
	struct pl_pending_call *pending;

	snprintf(status, sizeof(status), "%d", answer->status);
	writer->nanswers++;
	if (writer->nanswers > pl_shared_writer_queue_max(writer)) {
		finish(writer, answer, PL_EBUSY, "too many answers are waiting");
		return;
	}
	pending = pl_pending_call_new(writer, &writer->answers_sent, answer);
	if (pl_conn_send(writer->batch_conns[0].conn, statement_name, &params, stored, pending,
	                 &answer->err) < 0) {
		pl_pending_call_free(&writer->answers_sent, pending);
		finish(writer, answer, PL_EUNAVAIL, pl_arena_strdup(answer->arena, answer->err.text));
		return;
	}
	pl_database_wake_at(&writer->db, answer->deadline_us);
}

static void finish_unknown(struct pl_shared_writer *writer, struct pl_pending_call *pending, const char *why)
{
	struct pl_remember_answer *answer = pending->call;

	pending->call = NULL;
	finish(writer, answer, PL_EUNKNOWN, why);
}

void pl_write_answer_due(struct pl_shared_writer *writer, int64_t now_us)
{
	struct pl_pending_call *pending;

	DL_FOREACH (writer->answers_sent, pending) {
		const struct pl_remember_answer *answer = pending->call;

		if (answer && answer->deadline_us <= now_us)
			finish_unknown(writer, pending, "the deadline passed before the database answered");
		else if (answer)
			pl_database_wake_at(&writer->db, answer->deadline_us);
	}
}

void pl_write_answer_leave(struct pl_shared_writer *writer, const struct pl_writer_client *client)
{
	struct pl_pending_call *pending;

	DL_FOREACH (writer->answers_sent, pending) {
		const struct pl_remember_answer *answer = pending->call;

		if (answer && answer->client == client)
			finish_unknown(writer, pending, "this server stopped before the database answered");
	}
}
