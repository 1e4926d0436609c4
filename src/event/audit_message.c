// Asks and answers as JSON: see audit_message.h. Threads: any; nothing is shared.
#include "event/audit_message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "record/vector.h"

static const struct pl_json_limits limits = { .bytes = 1024 * 1024, .depth = 6, .nodes = 1000 };
static const char *const names[PL_AUDIT_WHATS] = { "ranges", "rows", "records" };

static void add_text(struct pl_buf *buf, const char *name, const char *text)
{
	pl_buf_printf(buf, ",\"%s\":", name);
	pl_buf_add_json(buf, text, text ? strlen(text) : 0);
}

static const char *truth(bool is)
{
	return is ? "true" : "false";
}

static void print_ask(struct pl_buf *buf, const struct pl_audit_message *m)
{
	pl_buf_printf(buf, ",\"ranges\":%d,\"major\":%d", m->ranges, m->major);
	if (m->ids)
		add_text(buf, "ids", m->ids);
}

static void print_answer(struct pl_buf *buf, const struct pl_audit_message *m)
{
	if (m->fault) {
		add_text(buf, "fault", m->fault);
		return;
	}
	pl_buf_printf(buf, ",\"by_text\":%s,\"end\":%s,\"positions\":%s", truth(m->by_text), truth(m->end),
	              m->positions);
	add_text(buf, "rows", m->rows);
}

void pl_audit_message_print(struct pl_buf *buf, const struct pl_audit_message *m)
{
	pl_buf_printf(buf, "{\"region\":\"%s\",\"audit\":{\"to\":\"%s\",\"id\":\"%s\",\"%s\":\"%s\"",
	              m->region, m->to, m->id, m->is_answer ? "answer" : "ask", names[m->what]);
	add_text(buf, "resource", m->resource);
	add_text(buf, "fields", m->fields ? m->fields : "");
	pl_buf_printf(buf, ",\"track\":%s,\"from\":%lld,\"until\":%lld", truth(m->track), (long long)m->from,
	              (long long)m->until);
	if (m->is_answer)
		print_answer(buf, m);
	else
		print_ask(buf, m);
	pl_buf_adds(buf, "}}");
}

static bool take_name(const cJSON *json, const char *member, char name_r[PL_REGION_MAX + 1])
{
	const char *name = pl_json_string(json, member);

	if (!name || !pl_vector_region_name_ok(name, strlen(name)) || strchr(name, '.'))
		return false;
	strcpy(name_r, name);
	return true;
}

static bool take_text(struct pl_arena *arena, const cJSON *json, const char *member, const char **text_r)
{
	const char *text = pl_json_string(json, member);

	*text_r = text ? pl_arena_strdup(arena, text) : NULL;
	return text != NULL;
}

static bool take_what(const cJSON *json, struct pl_audit_message *m)
{
	const char *ask = pl_json_string(json, "ask"), *answer = pl_json_string(json, "answer");

	m->is_answer = answer != NULL;
	for (int i = 0; i < PL_AUDIT_WHATS && (ask || answer); i++)
		if (strcmp(names[i], answer ? answer : ask) == 0) {
			m->what = (enum pl_audit_what)i;
			return true;
		}
	return false;
}

static bool take_id(const cJSON *json, struct pl_audit_message *m)
{
	const char *id = pl_json_string(json, "id");
	size_t len = id ? strlen(id) : 0;

	if (len == 0 || len >= sizeof(m->id) || strspn(id, "0123456789abcdef-") != len)
		return false;
	memcpy(m->id, id, len + 1);
	return true;
}

static bool take_int(const cJSON *json, const char *member, int *value_r)
{
	int64_t value;

	if (pl_json_int64(pl_json_get(json, member), &value) < 0 || value < 0 || value > 1000000)
		return false;
	*value_r = (int)value;
	return true;
}

// Anyone who may write to the topic can ask: what an ask costs must be bounded.
static bool ids_ok(const char *list)
{
	long long last = 0;
	char *behind;

	for (int n = 0; n < PL_AUDIT_IDS_MAX && *list == (n ? ',' : '{'); n++, list = behind) {
		long long id;

		errno = 0;
		id = strtoll(list + 1, &behind, 10);
		if (behind == list + 1 || errno || (n > 0 && id <= last))
			return false;
		last = id;
		if (strcmp(behind, "}") == 0)
			return true;
	}
	return false;
}

static bool take_ask(struct pl_arena *arena, const cJSON *json, struct pl_audit_message *m)
{
	if (!take_int(json, "ranges", &m->ranges) || !take_int(json, "major", &m->major))
		return false;
	return m->what != PL_AUDIT_RECORDS || (take_text(arena, json, "ids", &m->ids) && ids_ok(m->ids));
}

static bool take_answer(struct pl_arena *arena, const cJSON *json, struct pl_audit_message *m)
{
	const cJSON *positions = pl_json_get(json, "positions");
	struct pl_buf text = { 0 };

	if (take_text(arena, json, "fault", &m->fault))
		return true;
	if (!cJSON_IsObject(positions) || !take_text(arena, json, "rows", &m->rows))
		return false;
	pl_json_print(&text, positions);
	m->positions = pl_arena_strndup(arena, text.data, text.len);
	pl_buf_fini(&text);
	m->by_text = cJSON_IsTrue(pl_json_get(json, "by_text"));
	m->end = cJSON_IsTrue(pl_json_get(json, "end"));
	return true;
}

static bool take(struct pl_arena *arena, const cJSON *json, struct pl_audit_message *m)
{
	const cJSON *body = pl_json_get(json, "audit");

	if (!cJSON_IsObject(body) || !take_name(json, "region", m->region) || !take_name(body, "to", m->to) ||
	    !take_id(body, m) || !take_what(body, m) || !take_text(arena, body, "resource", &m->resource) ||
	    !take_text(arena, body, "fields", &m->fields) ||
	    pl_json_int64(pl_json_get(body, "from"), &m->from) < 0 ||
	    pl_json_int64(pl_json_get(body, "until"), &m->until) < 0)
		return false;
	m->track = cJSON_IsTrue(pl_json_get(body, "track"));
	return m->is_answer ? take_answer(arena, body, m) : take_ask(arena, body, m);
}

int pl_audit_message_parse(struct pl_arena *arena, const char *text, size_t len,
                           struct pl_audit_message *message_r, struct pl_error *err)
{
	cJSON *json = pl_json_parse(text, len, &limits, err);
	int code = 0;

	memset(message_r, 0, sizeof(*message_r));
	if (!json)
		return PL_EINVAL;
	if (!cJSON_IsObject(json) || !take(arena, json, message_r))
		code = pl_error_set(err, PL_EINVAL, "it is neither an ask nor an answer");
	cJSON_Delete(json);
	return code;
}
