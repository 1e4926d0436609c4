// The checks of a heartbeat's word: see word.h.
//
// Threads: any; nothing is shared.
#include "event/word.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "event/sequence.h"

#define LIST_MAX    256
#define ID_BASE_MAX INT64_C(9000000000000000000)

struct check {
	int64_t now_us;
	struct pl_error *err;
};

static int fault(const struct check *check, const char *member, const char *what)
{
	return pl_error_set(check->err, PL_EINVAL, "word.%s is not %s", member, what);
}

static bool is_absent(const cJSON *json)
{
	return !json || cJSON_IsNull(json);
}

static bool is_count(const cJSON *json, int64_t max)
{
	int64_t n;

	return is_absent(json) || (pl_json_int64(json, &n) == 0 && n >= 0 && n <= max);
}

static bool is_text(const cJSON *json, size_t max)
{
	return cJSON_IsString(json) && strlen(json->valuestring) <= max;
}

static bool is_time(const cJSON *json)
{
	int64_t at_us;

	return is_absent(json) ||
	       (cJSON_IsString(json) &&
	        pl_clock_parse_time(json->valuestring, strlen(json->valuestring), &at_us) == 0);
}

static bool is_uuid(const cJSON *json)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (!is_text(json, sizeof(form) - 1) || strlen(json->valuestring) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if (form[i] == '-' ? json->valuestring[i] != '-'
		                   : !strchr("0123456789abcdefABCDEF", json->valuestring[i]))
			return false;
	return true;
}

static bool is_place(const struct check *check, const cJSON *json, const char *id)
{
	struct pl_outbox_place place = { 0 };
	const cJSON *generation = pl_json_get(json, "generation"), *row = pl_json_get(json, id);

	return pl_json_int64(generation, &place.generation) == 0 &&
	       (is_absent(row) || pl_json_int64(row, &place.id) == 0) &&
	       pl_sequence_place_plausible(&place, check->now_us) &&
	       is_count(pl_json_get(json, "id_base"), ID_BASE_MAX);
}

static bool are_numbers(const struct check *check, const cJSON *json)
{
	struct pl_sequences sequences = { 0 };
	bool are =
		pl_sequence_parse(json, &sequences) == 0 && pl_sequences_plausible(&sequences, check->now_us);

	pl_sequence_fini(&sequences);
	return are;
}

// The questions of each region's databases that the sender quotes.
static int check_answers(const struct check *check, const cJSON *answers)
{
	if (!is_absent(answers) && !cJSON_IsObject(answers))
		return fault(check, "answers", "an object");
	for (const cJSON *region = answers ? answers->child : NULL; region; region = region->next) {
		if (!cJSON_IsArray(region) || cJSON_GetArraySize(region) > LIST_MAX)
			return fault(check, "answers", "lists of questions");
		for (const cJSON *question = region->child; question; question = question->next)
			if (!is_uuid(question))
				return fault(check, "answers", "lists of questions");
	}
	return 0;
}

static bool is_short_or_absent(const cJSON *json)
{
	return is_absent(json) || is_text(json, PL_WORD_ID_MAX);
}

// Which databases the sender has heard as those that serve a region that asks.
static bool is_heard(const cJSON *one)
{
	int64_t n;

	return cJSON_IsObject(one) && is_text(pl_json_get(one, "place"), PL_WORD_ID_MAX) &&
	       is_text(pl_json_get(one, "run"), PL_WORD_ID_MAX) &&
	       is_text(pl_json_get(one, "address"), PL_WORD_ID_MAX) &&
	       cJSON_IsBool(pl_json_get(one, "drained")) && is_uuid(pl_json_get(one, "incarnation")) &&
	       pl_json_int64(pl_json_get(one, "ago"), &n) == 0 && n >= 0 &&
	       pl_json_int64(pl_json_get(one, "generation"), &n) == 0 && n >= 0;
}

static int check_heard(const struct check *check, const cJSON *heard)
{
	if (!is_absent(heard) && !cJSON_IsObject(heard))
		return fault(check, "heard", "an object");
	for (const cJSON *region = heard ? heard->child : NULL; region; region = region->next) {
		if (!cJSON_IsArray(region) || cJSON_GetArraySize(region) > LIST_MAX)
			return fault(check, "heard", "lists of databases");
		for (const cJSON *one = region->child; one; one = one->next)
			if (!is_heard(one))
				return fault(check, "heard", "lists of databases");
	}
	return 0;
}

static int check_identity(const struct check *check, const cJSON *identity)
{
	const cJSON *drained = pl_json_get(identity, "drained"), *place = pl_json_get(identity, "place");
	const cJSON *question = pl_json_get(identity, "question");

	if (is_absent(identity))
		return 0;
	if (!cJSON_IsObject(identity) || !is_uuid(pl_json_get(identity, "incarnation")) ||
	    !(is_absent(place) || is_text(place, PL_WORD_ID_MAX)) ||
	    !(is_absent(question) || is_uuid(question)) ||
	    !is_short_or_absent(pl_json_get(identity, "run")) ||
	    !is_short_or_absent(pl_json_get(identity, "address")) ||
	    !is_text(pl_json_get(identity, "state"), PL_WORD_ID_MAX) ||
	    !(is_absent(drained) || cJSON_IsBool(drained)) || is_absent(pl_json_get(identity, "high")) ||
	    !is_place(check, identity, "high"))
		return fault(check, "identity", "the identity of a database");
	return 0;
}

static int check_known(const struct check *check, const cJSON *known)
{
	if (!is_absent(known) && !cJSON_IsObject(known))
		return fault(check, "known", "an object");
	for (const cJSON *region = known ? known->child : NULL; region; region = region->next) {
		const cJSON *incarnation = pl_json_get(region, "incarnation");

		if (!cJSON_IsObject(region) || !is_place(check, region, "outbox_id") ||
		    !(is_absent(incarnation) || is_uuid(incarnation)))
			return fault(check, "known", "what is known of other regions");
	}
	return 0;
}

static bool is_ask(const cJSON *ask)
{
	return cJSON_IsObject(ask) && is_text(pl_json_get(ask, "id"), PL_WORD_ID_MAX) &&
	       is_text(pl_json_get(ask, "of"), PL_WORD_ID_MAX) && is_time(pl_json_get(ask, "since"));
}

static bool is_served(const struct check *check, const cJSON *served)
{
	const cJSON *from = pl_json_get(served, "from"), *to = pl_json_get(served, "to");

	return cJSON_IsObject(served) && is_text(pl_json_get(served, "id"), PL_WORD_ID_MAX) &&
	       (is_absent(from) || are_numbers(check, from)) && (is_absent(to) || are_numbers(check, to)) &&
	       is_count(pl_json_get(served, "records"), PL_OUTBOX_ID_MAX) &&
	       is_count(pl_json_get(served, "total"), PL_OUTBOX_ID_MAX);
}

static int check_lists(const struct check *check, const cJSON *asks, const cJSON *served)
{
	if ((!is_absent(asks) && !cJSON_IsArray(asks)) || cJSON_GetArraySize(asks) > LIST_MAX)
		return fault(check, "asks", "a list");
	if ((!is_absent(served) && !cJSON_IsArray(served)) || cJSON_GetArraySize(served) > LIST_MAX)
		return fault(check, "served", "a list");
	for (const cJSON *ask = asks ? asks->child : NULL; ask; ask = ask->next)
		if (!is_ask(ask))
			return fault(check, "asks", "a list of asks");
	for (const cJSON *one = served ? served->child : NULL; one; one = one->next)
		if (!is_served(check, one))
			return fault(check, "served", "a list of what was published for others");
	return 0;
}

bool pl_word_storable(const cJSON *json)
{
	int64_t n;

	if (pl_json_is_number(json))
		return pl_json_int64(json, &n) == 0;
	for (const cJSON *child = json ? json->child : NULL; child; child = child->next)
		if (!pl_word_storable(child))
			return false;
	return true;
}

static void copy(char *text_r, size_t size, const char *text)
{
	snprintf(text_r, size, "%s", text ? text : "");
}

void pl_word_read_sender(const cJSON *word, struct pl_word_sender *sender_r)
{
	const cJSON *identity = pl_json_get(word, "identity");
	const char *state = pl_json_string(identity, "state"), *run = pl_json_string(identity, "run"),
		   *place = pl_json_string(identity, "place");

	snprintf(sender_r->place, sizeof(sender_r->place), "%s%s%s", place ? place : "", run ? " " : "",
	         run ? run : "");
	copy(sender_r->question, sizeof(sender_r->question), pl_json_string(identity, "question"));
	sender_r->answers = cJSON_GetArraySize(pl_json_get(word, "answers")) > 0;
	sender_r->accepted = !state || strcmp(state, "new") != 0;
}

int pl_word_check(const cJSON *word, int64_t now_us, struct pl_error *err)
{
	struct check check = { now_us, err };
	const cJSON *base = pl_json_get(word, "base");
	int code;

	if ((code = check_identity(&check, pl_json_get(word, "identity"))) < 0 ||
	    (code = check_known(&check, pl_json_get(word, "known"))) < 0 ||
	    (code = check_answers(&check, pl_json_get(word, "answers"))) < 0 ||
	    (code = check_heard(&check, pl_json_get(word, "heard"))) < 0 ||
	    (code = check_lists(&check, pl_json_get(word, "asks"), pl_json_get(word, "served"))) < 0)
		return code;
	return is_absent(base) || are_numbers(&check, base) ? 0 : fault(&check, "base", "numbers of topics");
}
