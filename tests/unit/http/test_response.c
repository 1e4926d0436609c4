// http/response: a header that cannot be sent is left out, and counted as lost.
#include "http/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/faults.h"

static uint64_t lost(void)
{
	bool recent;

	return pl_faults_losses(PL_LOSS_RESPONSE_HEADER, pl_mono_us(), &recent);
}

static void a_header_that_is_not_valid_is_left_out_and_counted(void **state)
{
	struct pl_header good = { .name = "X-Good", .value = "yes" },
			 bad = { .name = "X-Bad", .value = "a\r\nSet-Cookie: b", .next = &good };
	struct pl_request request = { .method = "GET", .request_id = "" };
	struct pl_answer answer = { .status = 200, .headers = &bad };
	struct pl_response_context context = { .region = "us", .request_id = "r-1" };
	struct MHD_Response *response;
	int status;

	(void)state;
	assert_int_equal(lost(), 0);
	response = pl_response_make(&request, &answer, &context, &status);
	assert_int_equal(status, 200);
	assert_string_equal(MHD_get_response_header(response, "X-Good"), "yes");
	assert_null(MHD_get_response_header(response, "X-Bad"));
	assert_int_equal(lost(), 1);
	MHD_destroy_response(response);
	answer.headers = &good;
	response = pl_response_make(&request, &answer, &context, &status);
	assert_int_equal(lost(), 1);
	MHD_destroy_response(response);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(
		a_header_that_is_not_valid_is_left_out_and_counted) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
