// The certificates of the configuration, as far as they are on this machine.
//
// Threads: the tool has one.
#include "admin/certificates_seen.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tls/certificate.h"

#define SOON_US (14 * INT64_C(86400000000))

enum { USE, STATE, EXPIRES, SUBJECT, FILE_NAME };

// clang-format off
static const struct pl_table_column columns[] = {
	[USE] = { "certificate", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[EXPIRES] = { "expires_at", PL_CELL_TEXT },
	[SUBJECT] = { "subject", PL_CELL_TEXT },
	[FILE_NAME] = { "file", PL_CELL_TEXT, PL_COLUMN_DETAIL },
	{ NULL },
};
// clang-format on

enum certificate_state { BROKEN, ELSEWHERE, UNREADABLE, EARLY, EXPIRED, SOON, VALID };

static const struct {
	const char *name;
	enum pl_tone tone;
	const char *told; // in a sentence, before a time; NULL: nothing
} states[] = {
	[BROKEN] = { "broken", PL_TONE_BAD, NULL },
	[ELSEWHERE] = { "not on this machine", PL_TONE_PLAIN, NULL },
	[UNREADABLE] = { "unreadable", PL_TONE_PLAIN, NULL },
	[EARLY] = { "not valid yet", PL_TONE_BAD, "is not valid before" },
	[EXPIRED] = { "expired", PL_TONE_BAD, "expired at" },
	[SOON] = { "expires soon", PL_TONE_DOUBT, "expires at" },
	[VALID] = { "valid", PL_TONE_GOOD, NULL },
};

static enum certificate_state state_of(const struct pl_certificate *one)
{
	int64_t now_us = pl_now_us();
	if (one->broken)
		return BROKEN;
	if (one->expires_us == 0)
		return access(one->file, F_OK) != 0 ? ELSEWHERE : UNREADABLE;
	if (one->starts_us > now_us)
		return EARLY;
	return one->expires_us <= now_us ? EXPIRED : one->expires_us - now_us < SOON_US ? SOON : VALID;
}

// What an operator has to know of it; NULL: nothing.
static const char *sentence_of(const struct pl_certificate *one, enum certificate_state state,
                               struct pl_arena *arena)
{
	char time[PL_TIME_TEXT_MAX];
	if (state == BROKEN)
		return pl_arena_printf(arena, "%s: %s", one->use, one->why);
	if (!states[state].told)
		return NULL;
	pl_clock_format_time(state == EARLY ? one->starts_us : one->expires_us, time);
	return pl_arena_printf(arena, "%s: the certificate of %s in %s %s %s", one->use, one->subject,
	                       one->file, states[state].told, time);
}

static void add(struct pl_table *table, const struct pl_certificate *one, enum certificate_state state)
{
	pl_table_row(table);
	pl_table_text(table, USE, one->use);
	pl_table_text(table, FILE_NAME, one->file);
	pl_table_text(table, STATE, states[state].name);
	pl_table_tone(table, STATE, states[state].tone);
	if (one->expires_us == 0)
		return;
	pl_table_time(table, EXPIRES, one->expires_us);
	pl_table_text(table, SUBJECT, one->subject);
}

struct pl_table *pl_certificates_seen(const struct pl_config *config, struct pl_arena *arena,
                                      void (*warn)(void *arg, const char *sentence), void *arg)
{
	struct pl_certificate *list = pl_calloc(PL_CERTIFICATES_MAX, sizeof(list[0]));
	struct pl_table *table = pl_table_new("certificates", columns);
	int n = pl_certificate_list(config, NULL, arena, list);
	for (int i = 0; i < n; i++) {
		enum certificate_state state = state_of(&list[i]);
		const char *sentence = sentence_of(&list[i], state, arena);
		add(table, &list[i], state);
		if (sentence)
			warn(arg, sentence);
	}
	free(list);
	return table;
}
