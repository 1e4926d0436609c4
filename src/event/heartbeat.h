// Heartbeats: once a second, each region reports through Kafka that it is alive, what
// it has not published yet, which policies it uses, and how far it has published and
// received.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "config/config.h"
#include "event/sequence.h"
#include "event/word.h"

struct pl_heartbeat {
	char region[PL_REGION_MAX + 1];
	int64_t sent_at_us;
	int64_t outbox_events;
	int64_t outbox_oldest_us; // 0: empty
	const char *policies;     // JSON object, in the caller's arena
	// JSON objects, in the caller's arena; NULL: the region runs a version that
	// does not report them. They say what the broker has acknowledged of the
	// region's events, and how far the region has received those of each other
	// region. The numbers are strings: see event/sequence.h.
	const char *published, *applied;
	// What the region says of itself and asks of the others: see plist_word in
	// sql/014_identity.sql.
	const char *word;
	struct pl_word_sender sender; // read from the word
	// {daemon: {resource: {field: type}}}; likewise.
	const char *fields;
	// Every row of the region's outbox up to it is among what it has published.
	struct pl_outbox_place position;
	int64_t passed; // see pl_heartbeat_position
};

// What a region has published, as every heartbeat says, and shorter messages between
// them.
struct pl_heartbeat_position {
	char region[PL_REGION_MAX + 1];
	struct pl_outbox_place position;
	// The same, except for rows that Kafka has refused: the position stays before the
	// first of them, possibly for good.
	int64_t passed;
	struct pl_sequences published; // the caller frees it
};
void pl_heartbeat_print_position(struct pl_buf *buf, const char *region,
                                 const struct pl_outbox_place *position, int64_t passed,
                                 const char *published);
// -1: the message does not say it, or says what cannot be true at this time.
int pl_heartbeat_parse_position(const char *text, size_t len, int64_t now_us,
                                struct pl_heartbeat_position *position_r);

void pl_heartbeat_print(struct pl_buf *buf, const struct pl_heartbeat *heartbeat);
// Checks the form of everything that a heartbeat says, and whether it can be true at
// this time. Its readers (functions in the database, the relay) would otherwise fail each
// time.
int pl_heartbeat_parse(struct pl_arena *arena, const char *text, size_t len, int64_t now_us,
                       struct pl_heartbeat *heartbeat_r, struct pl_error *err);
