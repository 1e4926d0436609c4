// Problems as clients read them. Threads: one.
#include "http/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static cJSON *print(const struct pl_problem *problem, const char *id)
{
	struct pl_buf buf = { 0 };
	struct pl_error err;
	pl_problem_print(&buf, problem, id);
	cJSON *json = pl_json_parse(buf.data, buf.len, &pl_json_default_limits, &err);
	assert_non_null(json);
	pl_buf_fini(&buf);
	return json;
}

static void a_problem_has_what_rfc_9457_names_and_the_older_member(void **state)
{
	cJSON *json = print(
		&(struct pl_problem){ .status = 409, .title = "Conflict: version mismatch", .retryable = -1 },
		"r-1");
	assert_string_equal(pl_json_string(json, "type"), "urn:plist:problem:conflict-version-mismatch");
	assert_string_equal(pl_json_string(json, "title"), "Conflict: version mismatch");
	assert_string_equal(pl_json_string(json, "detail"), "Conflict: version mismatch");
	assert_string_equal(pl_json_string(json, "error"), "Conflict: version mismatch");
	assert_string_equal(pl_json_string(json, "instance"), "urn:plist:request:r-1");
	assert_string_equal(pl_json_number_text(pl_json_get(json, "status")), "409");
	assert_null(pl_json_get(json, "retryable"));
	assert_null(pl_json_get(json, "current_version"));
	assert_null(pl_json_get(json, "errors"));
	cJSON_Delete(json);
}

static void a_title_that_is_the_phrase_of_the_status_needs_no_type(void **state)
{
	cJSON *json = print(
		&(struct pl_problem){ .status = 400, .detail = "why", .error = "older", .retryable = 1 },
		NULL);
	assert_string_equal(pl_json_string(json, "type"), "about:blank");
	assert_string_equal(pl_json_string(json, "title"), "Bad Request");
	assert_string_equal(pl_json_string(json, "detail"), "why");
	assert_string_equal(pl_json_string(json, "error"), "older");
	assert_true(cJSON_IsTrue(pl_json_get(json, "retryable")));
	cJSON_Delete(json);
}

static void the_current_version_comes_with_its_tag(void **state)
{
	struct pl_record record = { .version = 3 };
	pl_vector_set(&record.vector, "us", 2);
	pl_vector_set(&record.vector, "eu", 1);
	cJSON *json = print(
		&(struct pl_problem){ .status = 412, .title = "x", .current = &record, .retryable = 0 }, "r");
	assert_string_equal(pl_json_number_text(pl_json_get(json, "current_version")), "3");
	assert_string_equal(pl_json_string(json, "current_etag"), "\"eu:1+us:2\"");
	assert_true(cJSON_IsFalse(pl_json_get(json, "retryable")));
	cJSON_Delete(json);
}

static void faults_are_listed_with_their_pointers(void **state)
{
	struct pl_fault second = { .pointer = "/colour", .detail = "there is no such \"field\"" },
			first = { .pointer = "/price", .detail = "missing", .next = &second };
	cJSON *json = print(
		&(struct pl_problem){ .status = 400, .title = "x", .faults = &first, .retryable = -1 }, "r");
	const cJSON *errors = pl_json_get(json, "errors");
	assert_int_equal(cJSON_GetArraySize(errors), 2);
	assert_string_equal(pl_json_string(cJSON_GetArrayItem(errors, 0), "pointer"), "/price");
	assert_string_equal(pl_json_string(cJSON_GetArrayItem(errors, 1), "detail"),
	                    "there is no such \"field\"");
	cJSON_Delete(json);
}

static void a_handlers_members_are_added_and_replace_none_of_ours(void **state)
{
	static const char text[] =
		"{\"balance\":10.50,\"status\":200,\"error\":\"mine\",\"errors\":[],\"accounts\":[\"a\"]}";
	cJSON *extra = pl_json_parse(text, strlen(text), &pl_json_default_limits, NULL);
	cJSON *json = print(
		&(struct pl_problem){ .status = 403, .title = "Not enough", .extra = extra, .retryable = -1 },
		"r");
	assert_string_equal(pl_json_number_text(pl_json_get(json, "balance")), "10.50");
	assert_string_equal(pl_json_number_text(pl_json_get(json, "status")), "403");
	assert_string_equal(pl_json_string(json, "error"), "Not enough");
	assert_null(pl_json_get(json, "errors"));
	assert_int_equal(cJSON_GetArraySize(pl_json_get(json, "accounts")), 1);
	cJSON_Delete(json);
	cJSON_Delete(extra);
}

static void a_status_without_a_standard_phrase_gets_one(void **state)
{
	assert_string_equal(pl_problem_status_phrase(404), "Not Found");
	assert_string_equal(pl_problem_status_phrase(599), "Error");
	assert_string_equal(pl_problem_status_phrase(0), "Error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_problem_has_what_rfc_9457_names_and_the_older_member),
		cmocka_unit_test(a_title_that_is_the_phrase_of_the_status_needs_no_type),
		cmocka_unit_test(the_current_version_comes_with_its_tag),
		cmocka_unit_test(faults_are_listed_with_their_pointers),
		cmocka_unit_test(a_handlers_members_are_added_and_replace_none_of_ours),
		cmocka_unit_test(a_status_without_a_standard_phrase_gets_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
