// Which answer a region remembers for a request: the same as every other region, in
// whatever order the events arrive.
#include "lab_applier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN(text) "{\"status\":409,\"headers\":[],\"body\":\"" text "\"}"
#define REMEMBERED                                                                                     \
	"SELECT concat_ws(' ', status, location, vector, response_body -> 'plist:answer' ->> 'body', " \
	"response_body ->> 'price', dots) FROM processed_requests WHERE request_id = 'one'"

static void a_handlers_own_answer_follows_the_event_of_its_write(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .create = true, .request = "one" });
	lab_is(&lab, "201 /us/properties/7 {\"us\": 1} 100.00 {\"us\": 1}", 1, REMEMBERED);
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .create = true,
	        .request = "one",
	        .republished = "us; request",
	        .answer = OWN("us") });
	lab_is(&lab, "409 {\"us\": 1} us {\"us\": 1}", 1, REMEMBERED);
	// a redelivered write does not bring the default answer back
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .create = true, .request = "one" });
	lab_is(&lab, "409 {\"us\": 1} us {\"us\": 1}", 1, REMEMBERED);
	lab_is(&lab, "100.00 us 1 {\"us\": 1} f f", 1, ROW);
	lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
}

static void an_own_answer_in_the_same_batch_as_its_write_is_remembered(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .create = true, .request = "one" },
	      { .origin = "us",
	        .vector = "{\"us\":1}",
	        .create = true,
	        .request = "one",
	        .republished = "us; request",
	        .answer = OWN("us") });
	lab_is(&lab, "409 {\"us\": 1} us {\"us\": 1}", 1, REMEMBERED);
}

static void a_location_is_remembered_as_it_was_sent(void **state)
{
	APPLY({ .origin = "us",
	        .vector = "{\"us\":1}",
	        .create = true,
	        .request = "one",
	        .answer = "{\"location\":\"/eu/properties/7\"}" });
	lab_is(&lab, "201 /eu/properties/7 {\"us\": 1} 100.00 {\"us\": 1}", 1, REMEMBERED);
}

static void another_request_with_the_id_changes_no_answer(void **state)
{
	APPLY({ .origin = "us", .vector = "{\"us\":1}", .request = "one", .answer = OWN("us") });
	APPLY({ .origin = "ap",
	        .vector = "{\"ap\":1}",
	        .request = "one",
	        .fingerprint = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	        .answer = OWN("ap") });
	lab_is(&lab, "us", 1,
	       "SELECT response_body -> 'plist:answer' ->> 'body' FROM processed_requests "
	       "WHERE request_id = 'one'");
}

// Two regions executed the request, and each handler answered by itself: six events in
// any order, in batches of any size, some of them twice.
static void every_order_of_arrival_leaves_the_answer_of_the_first_region(void **state)
{
	static const struct lab_write events[] = {
		{ .origin = "us", .vector = "{\"us\":1}", .create = true, .request = "one" },
		{ .origin = "us",
		  .vector = "{\"us\":1}",
		  .create = true,
		  .request = "one",
		  .republished = "us; request",
		  .answer = OWN("us") },
		{ .origin = "ap", .vector = "{\"ap\":1}", .create = true, .request = "one" },
		{ .origin = "ap",
		  .vector = "{\"ap\":1}",
		  .create = true,
		  .request = "one",
		  .republished = "ap; request",
		  .answer = OWN("ap") },
	};
	enum { N = sizeof(events) / sizeof(events[0]) };

	srand(14);
	for (int round = 0; round < 60; round++) {
		struct lab_write order[2 * N];
		int n = N;

		memcpy(order, events, sizeof(events));
		for (; n < 2 * N && rand() % 2; n++)
			order[n] = events[rand() % N];
		for (int i = n - 1; i > 0; i--) {
			int j = rand() % (i + 1);
			struct lab_write other = order[i];

			order[i] = order[j];
			order[j] = other;
		}
		lab_empty(&lab);
		for (int i = 0, size; i < n; i += size) {
			size = 1 + rand() % (n - i);
			lab_apply(&order[i], size);
		}
		lab_is(&lab, "409 {\"ap\": 1} ap {\"ap\": 1, \"us\": 1}", 1, REMEMBERED);
		lab_is(&lab, "0", 1, "SELECT count(*) FROM conflicts");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define t(name) cmocka_unit_test_setup_teardown(name, lab_applier_setup, lab_applier_teardown)
		t(a_handlers_own_answer_follows_the_event_of_its_write),
		t(an_own_answer_in_the_same_batch_as_its_write_is_remembered),
		t(a_location_is_remembered_as_it_was_sent),
		t(another_request_with_the_id_changes_no_answer),
		t(every_order_of_arrival_leaves_the_answer_of_the_first_region),
	};

	return cmocka_run_group_tests(tests, lab_applier_start, lab_applier_stop);
}
