// The list of reserved headers: headers that frame a message are reserved for all uses,
// and case is ignored.
#include "config/reserved.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_header_that_frames_a_message_is_reserved_for_every_use(void **state)
{
	static const char *const names[] = {
		"Content-Length", "transfer-encoding", "CONNECTION", "Trailer", "te",
		"Upgrade",        "keep-alive",        "Host"
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_true(pl_reserved_has(names[i], PL_RESERVED_ANSWER));
		assert_true(pl_reserved_has(names[i], PL_RESERVED_ID));
		assert_true(pl_reserved_has(names[i], PL_RESERVED_PRINCIPAL));
	}
}

static void headers_that_have_a_meaning_in_requests_carry_no_id(void **state)
{
	static const char *const names[] = { "Cookie", "If-Match", "Authorization", "content-type",
		                             "Traceparent" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_true(pl_reserved_has(names[i], PL_RESERVED_ID));
		assert_true(pl_reserved_has(names[i], PL_RESERVED_PRINCIPAL));
	}
	assert_true(pl_reserved_has("x-request-id", PL_RESERVED_PRINCIPAL));
}

static void headers_that_have_a_meaning_in_answers_carry_no_id(void **state)
{
	static const char *const names[] = {
		"Allow",      "Link", "RateLimit-Reset", "Retry-After", "Server", "Vary", "WWW-Authenticate",
		"Set-Cookie", "ETag", "X-Plist-Executed"
	};
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_true(pl_reserved_has(names[i], PL_RESERVED_ID));
		assert_true(pl_reserved_has(names[i], PL_RESERVED_PRINCIPAL));
	}
}

static void a_handler_may_set_what_belongs_to_the_resource(void **state)
{
	static const char *const names[] = { "ETag",       "Location",     "Cache-Control", "Allow",
		                             "Set-Cookie", "Content-Type", "X-Mine" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_false(pl_reserved_has(names[i], PL_RESERVED_ANSWER));
	assert_true(pl_reserved_has("X-Request-ID", PL_RESERVED_ANSWER));
	assert_true(pl_reserved_has("x-plist-region", PL_RESERVED_ANSWER));
}

static void the_usual_headers_carry_ids_and_principals(void **state)
{
	assert_false(pl_reserved_has("X-Request-ID", PL_RESERVED_ID));
	assert_false(pl_reserved_has("Idempotency-Key", PL_RESERVED_ID));
	assert_false(pl_reserved_has("X-Client", PL_RESERVED_PRINCIPAL));
	assert_false(pl_reserved_has("", PL_RESERVED_ANSWER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_that_frames_a_message_is_reserved_for_every_use),
		cmocka_unit_test(headers_that_have_a_meaning_in_requests_carry_no_id),
		cmocka_unit_test(headers_that_have_a_meaning_in_answers_carry_no_id),
		cmocka_unit_test(a_handler_may_set_what_belongs_to_the_resource),
		cmocka_unit_test(the_usual_headers_carry_ids_and_principals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
