// The answer to a write, as the store remembers it for retries.
//
// With the write, the store remembers the default answer: the status of the operation,
// the record, its entity tag, the Location of a create. If the handler answers anything
// else, that answer replaces it: status, body and all headers, as the JSON object
// {"headers": [[name, value], …], "body": text}, or "hex" for a body that is not a text.
// So a retry gets the answer that the first request got.
//
// A handler may raise after its write was committed, exceed its limits or answer a 5xx.
// To the client that means failure, or an unknown outcome. But the write is known to be
// committed, and a retry would get the default answer. So the first request gets it, too.
// Threads: a VM's.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/utf8.h"
#include "script/answer.h"
#include "script/run_state.h"

static const struct pl_json_limits let_in_once = { .bytes = (size_t)1 << 31, .depth = 8, .nodes = 1 << 16 };

static int default_status(const struct pl_write *write)
{
	return write->op == PL_WRITE_DELETE ? 204 : write->op == PL_WRITE_CREATE ? 201 : 200;
}

static void add_location(struct pl_buf *buf, const struct pl_write *write)
{
	if (write->region_prefix)
		pl_buf_printf(buf, "/%s", write->region_prefix);
	pl_buf_printf(buf, "/%s/%lld", write->resource->name, (long long)write->record->id);
}

void pl_answer_default(struct pl_run *run)
{
	const struct pl_write *write = &run->written->write;
	struct pl_buf *scratch = &run->vm->text;
	char etag[PL_ETAG_MAX];

	pl_answer_reset(run->answer);
	run->answer->status = default_status(write);
	if (write->op == PL_WRITE_CREATE) {
		pl_buf_reset(scratch);
		add_location(scratch, write);
		pl_answer_header(run, "Location", scratch->data);
	}
	if (write->op == PL_WRITE_DELETE)
		return;
	pl_record_print(&run->answer->body, write->record);
	pl_answer_header(run, "ETag", pl_vector_etag(&write->record->vector, etag));
}

static bool is_default_header(const struct pl_header *header, const struct pl_write *write,
                              struct pl_buf *scratch)
{
	char etag[PL_ETAG_MAX];

	if (strcasecmp(header->name, "ETag") == 0)
		return write->op != PL_WRITE_DELETE &&
		       strcmp(header->value, pl_vector_etag(&write->record->vector, etag)) == 0;
	if (strcasecmp(header->name, "Location") != 0 || write->op != PL_WRITE_CREATE)
		return false;
	pl_buf_reset(scratch);
	add_location(scratch, write);
	return strcmp(header->value, scratch->data) == 0;
}

bool pl_answer_is_default(struct pl_run *run)
{
	const struct pl_write *write = &run->written->write;
	const struct pl_answer *answer = run->answer;
	struct pl_buf *scratch = &run->vm->text;
	int headers = 0;

	if (answer->status != default_status(write) || answer->content_type || answer->problem)
		return false;
	for (const struct pl_header *h = answer->headers; h; h = h->next, headers++) {
		if (!is_default_header(h, write, scratch))
			return false;
	}
	if (headers != (write->op == PL_WRITE_DELETE ? 0 : write->op == PL_WRITE_CREATE ? 2 : 1))
		return false;
	pl_buf_reset(scratch);
	if (write->op != PL_WRITE_DELETE)
		pl_record_print(scratch, write->record);
	return scratch->len == answer->body.len &&
	       (scratch->len == 0 || memcmp(scratch->data, answer->body.data, scratch->len) == 0);
}

// Printing.

static void add_header(struct pl_buf *buf, const char *name, const char *value)
{
	if (!value)
		return;
	pl_buf_adds(buf, buf->data[buf->len - 1] == '[' ? "[" : ",[");
	pl_buf_add_json(buf, name, strlen(name));
	pl_buf_addc(buf, ',');
	pl_buf_add_json(buf, value, strlen(value));
	pl_buf_addc(buf, ']');
}

static void add_body(struct pl_buf *buf, const struct pl_buf *body)
{
	if (body->len == 0)
		return;
	if (strlen(body->data) == body->len && pl_utf8_valid(body->data, body->len)) {
		pl_buf_adds(buf, ",\"body\":");
		pl_buf_add_json(buf, body->data, body->len);
		return;
	}
	pl_buf_adds(buf, ",\"hex\":\"");
	for (size_t i = 0; i < body->len; i++)
		pl_buf_printf(buf, "%02x", (unsigned char)body->data[i]);
	pl_buf_addc(buf, '"');
}

// Adds the headers and the body that http/ makes of a problem.
static void add_problem(struct pl_run *run, struct pl_buf *buf, struct pl_buf *body)
{
	const struct pl_problem *problem = run->answer->problem;
	char text[PL_ETAG_MAX];

	add_header(buf, "Content-Type", "application/problem+json");
	snprintf(text, sizeof(text), "%d", problem->retry_after_s);
	add_header(buf, "Retry-After", problem->retry_after_s > 0 ? text : NULL);
	if (problem->current && !pl_answer_find(run->answer, "ETag"))
		add_header(buf, "ETag", pl_vector_etag(&problem->current->vector, text));
	if (run->request->print_problem)
		run->request->print_problem(body, problem, run->request->echo_id);
}

static const char *whole_answer(struct pl_run *run, struct pl_arena *arena)
{
	const struct pl_answer *answer = run->answer;
	struct pl_buf buf = { 0 }, body = { 0 };
	const char *whole;

	pl_buf_adds(&buf, "{\"" PL_REMEMBERED_WHOLE "\":{\"headers\":[");
	add_header(&buf, "Content-Type", answer->content_type);
	for (const struct pl_header *h = answer->headers; h; h = h->next)
		add_header(&buf, h->name, h->value);
	if (answer->problem)
		add_problem(run, &buf, &body);
	pl_buf_addc(&buf, ']');
	add_body(&buf, answer->problem ? &body : &answer->body);
	pl_buf_adds(&buf, "}}");
	whole = pl_arena_strndup(arena, buf.data, buf.len);
	pl_buf_fini(&buf);
	pl_buf_fini(&body);
	return whole;
}

void pl_answer_to_store(struct pl_run *run, struct pl_remember_answer *answer_r)
{
	const struct pl_write *write = &run->written->write;
	struct pl_buf *scratch = &run->vm->text;

	*answer_r = (struct pl_remember_answer){
		.arena = run->arena,
		.request_id = write->request_id,
		.principal = write->principal,
		.status = run->answer->status,
		.body = whole_answer(run, run->arena),
		.op = write->op,
		.deadline_us = run->request->deadline_us,
	};
	pl_buf_reset(scratch);
	pl_record_print(scratch, write->record);
	answer_r->value = pl_arena_strdup(run->arena, scratch->data);
	pl_buf_reset(scratch);
	pl_vector_print(scratch, &write->record->vector);
	answer_r->vector = pl_arena_strdup(run->arena, scratch->data);
}

// Reading.

static void take_body(struct pl_buf *body, const cJSON *json)
{
	const char *text = pl_json_string(json, "body"), *hex = pl_json_string(json, "hex");

	if (text)
		pl_buf_adds(body, text);
	for (; hex && hex[0] && hex[1]; hex += 2)
		pl_buf_addc(body, (char)pl_hex_byte(hex));
}

static void take_header(struct pl_run *run, const cJSON *pair)
{
	const cJSON *name = cJSON_GetArrayItem(pair, 0), *value = cJSON_GetArrayItem(pair, 1);

	if (!cJSON_IsString(name) || !cJSON_IsString(value))
		return;
	if (strcasecmp(name->valuestring, "Content-Type") == 0)
		run->answer->content_type = pl_arena_strdup(run->request->arena, value->valuestring);
	else
		pl_answer_header(run, name->valuestring, value->valuestring);
}

static bool replay_whole(struct pl_run *run, const char *whole)
{
	cJSON *json = pl_json_parse(whole, strlen(whole), &let_in_once, NULL);
	const cJSON *pair;

	if (!json)
		return false;
	cJSON_ArrayForEach (pair, pl_json_get(json, "headers"))
		take_header(run, pair);
	take_body(&run->answer->body, json);
	cJSON_Delete(json);
	return true;
}

void pl_answer_replay(struct pl_run *run, const struct pl_remembered *remembered)
{
	char etag[PL_ETAG_MAX];

	pl_answer_reset(run->answer);
	run->answer->status = remembered->status;
	if (!remembered->whole || !replay_whole(run, remembered->whole)) {
		if (remembered->body)
			pl_buf_adds(&run->answer->body, remembered->body);
		if (remembered->location)
			pl_answer_header(run, "Location", remembered->location);
		if (!remembered->deleted)
			pl_answer_header(run, "ETag", pl_vector_etag(&remembered->vector, etag));
	}
	pl_answer_header(run, "Idempotent-Replayed", "true");
}
