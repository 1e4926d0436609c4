// Dead letters on their way to kafka.dead_letter_topic: key, value and headers verbatim,
// and headers of their own that say where the message was and why it was not applied.
//
// Beside relay/relay, whose producer they use: a region has one relay, so each letter is
// sent once by whichever daemon leads. The table keeps them whatever becomes of the copy.
// The names of the headers are those of Kafka's dead letter queues (KIP-1191).
// Threads: the relay's.
#include "relay/relay_private.h"

#include "base/faults.h"
#include "kafka/message_headers.h"

#define LOOK_US       SECOND
#define FAILED_US     (10 * SECOND)
// How many are read at once; of large ones, about how many bytes, but at least one. They
// are read as hexadecimal text, and the producer keeps them until the broker answers; the
// next are read then.
#define LETTERS_MAX   "100"
#define LETTERS_BYTES "4194304"

static const char read_sql[] =
	"SELECT id, topic, partition, kafka_offset, encode(key, 'hex'), encode(value, 'hex'), headers, "
	"error, tries + 1 FROM (SELECT *, sum(size) OVER (ORDER BY id) - size AS before FROM (SELECT *, "
	"coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) + "
	"coalesce(octet_length(headers::text), 0) AS size FROM plist.dead_letters WHERE sent_at IS NULL "
	"ORDER BY id LIMIT " LETTERS_MAX ") AS l) AS sized WHERE before < " LETTERS_BYTES " ORDER BY id";

static bool is_wanted(const struct pl_relay *relay, int64_t now_us)
{
	return relay->config->kafka.dead_letter_topic && relay->topics_ready && relay->letters.n == 0 &&
	       now_us >= relay->letters.look_at_us;
}

static void add(struct pl_message_header *header, const char *name, const char *value)
{
	*header = (struct pl_message_header){ name, value, strlen(value) };
}

// The message's own headers, without those of an earlier dead letter queue that it came
// back from, then ours.
static void make_headers(struct pl_relay *relay, const PGresult *result, int row,
                         struct pl_outgoing_message *message)
{
	static const char *const names[] = { "__dlq.errors.topic", "__dlq.errors.partition",
		                             "__dlq.errors.offset", "__dlq.errors.message",
		                             "__dlq.errors.delivery.count" };
	static const int columns[] = { 1, 2, 3, 7, 8 };
	struct pl_message was;
	struct pl_message_header *headers;
	char group[512];
	int n = 0;

	pl_message_headers_parse(relay->arena, PQgetvalue(result, row, 6), &was);
	headers = pl_arena_alloc(relay->arena, sizeof(headers[0]) * (size_t)(was.nheaders + 6));
	for (int i = 0; i < was.nheaders; i++)
		if (strncmp(was.headers[i].name, "__dlq.errors.", 13) != 0)
			headers[n++] = was.headers[i];
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		add(&headers[n++], names[i],
		    pl_arena_strdup(relay->arena, PQgetvalue(result, row, columns[i])));
	snprintf(group, sizeof(group), "%s-%s", relay->config->kafka.group, relay->region->name);
	add(&headers[n++], "__dlq.errors.group", pl_arena_strdup(relay->arena, group));
	message->more = headers;
	message->nmore = n;
}

static const char *cell(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static void tell_waiting(struct pl_relay *relay, int64_t id, const char *why)
{
	pl_faults_lost(PL_LOSS_DEAD_LETTER_COPY);
	if (pl_log_limit_ok(&relay->letters.limit, 10 * SECOND))
		pl_warning("dead letter %lld was not delivered to %s (%s); sending it again later",
		           (long long)id, relay->config->kafka.dead_letter_topic, why);
}

// False: the broker cannot take it now.
static bool send_letter(struct pl_relay *relay, const PGresult *result, int row)
{
	struct pl_outgoing_message message = { .partition = -1 };
	int64_t id = strtoll(PQgetvalue(result, row, 0), NULL, 10);
	struct pl_error err = { 0 };
	int code;

	message.key = pl_message_bytes(relay->arena, cell(result, row, 4), &message.key_len);
	message.value = pl_message_bytes(relay->arena, cell(result, row, 5), &message.value_len);
	make_headers(relay, result, row, &message);
	code = pl_producer_send(relay->producer, relay->config->kafka.dead_letter_topic, &message,
	                        LETTER_TAG - id, &err);
	if (code == 0)
		relay->letters.n++;
	else if (code == PL_EINVAL)
		pl_relay_letter_sent(relay, LETTER_TAG - id, PL_REFUSED, err.text);
	else
		tell_waiting(relay, id, err.text);
	return code == 0 || code == PL_EINVAL;
}

// What the broker said of those that were sent last.
static int note_sent(struct pl_relay *relay, struct pl_error *err)
{
	for (int refused = 0; refused < 2; refused++) {
		struct pl_buf *ids = refused ? &relay->letters.refused : &relay->letters.sent;
		const char *params[] = { refused ? "-infinity" : "now", ids->data };
		PGresult *result;

		if (ids->len == 0)
			continue;
		pl_buf_addc(ids, '}');
		params[1] = ids->data;
		result = pl_session_exec(relay->session,
		                         "UPDATE plist.dead_letters SET sent_at = $1::timestamptz WHERE id = "
		                         "ANY ($2::bigint[])",
		                         2, params, err);
		pl_buf_reset(ids);
		if (!result)
			return err->code;
		PQclear(result);
	}
	return 0;
}

void pl_relay_letter_sent(struct pl_relay *relay, int64_t tag, enum pl_delivery what, const char *why)
{
	struct pl_buf *ids = what == PL_DELIVERED ? &relay->letters.sent : &relay->letters.refused;
	int64_t id = LETTER_TAG - tag;

	if (relay->letters.n > 0)
		relay->letters.n--;
	if (what == PL_UNDELIVERED) {
		relay->letters.look_at_us = pl_mono_us() + FAILED_US;
		tell_waiting(relay, id, why);
		return;
	}
	if (what != PL_DELIVERED) {
		pl_faults_lost(PL_LOSS_DEAD_LETTER_COPY);
		pl_log_limited(&relay->letters.burst, PL_LOG_ERROR,
		               "dead letter %lld cannot be published to %s: %s; it stays in the table only",
		               (long long)id, relay->config->kafka.dead_letter_topic, why);
	}
	pl_buf_printf(ids, "%c%lld", ids->len == 0 ? '{' : ',', (long long)id);
}

void pl_relay_forget_letters(struct pl_relay *relay)
{
	relay->letters.n = 0;
	pl_buf_fini(&relay->letters.sent);
	pl_buf_fini(&relay->letters.refused);
}

bool pl_relay_send_letters(struct pl_relay *relay, int64_t now_us)
{
	struct pl_error err = { 0 };
	PGresult *result;
	int row = 0;

	if (!is_wanted(relay, now_us))
		return true;
	relay->letters.look_at_us = now_us + LOOK_US;
	if (note_sent(relay, &err) < 0 ||
	    !(result = pl_session_exec(relay->session, read_sql, 0, NULL, &err))) {
		pl_relay_database_failed(relay, &err);
		return false;
	}
	while (row < PQntuples(result) && send_letter(relay, result, row))
		row++;
	if (row > 0 && row == PQntuples(result))
		relay->letters.look_at_us = now_us; // as soon as these are delivered
	PQclear(result);
	pl_arena_reset(relay->arena);
	return true;
}
