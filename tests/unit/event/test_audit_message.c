// Asks and answers of audits: what is printed can be read again, other messages are not
// mistaken for them, nor they for heartbeats, and the letter box is bounded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "event/audit_mail.h"
#include "event/audit_message.h"
#include "event/heartbeat.h"

static const struct pl_audit_message ask = {
	.region = "eu",
	.to = "us",
	.id = "00ff",
	.what = PL_AUDIT_RECORDS,
	.resource = "properties",
	.fields = "price decimal(12,2);",
	.track = true,
	.from = INT64_MIN,
	.until = INT64_MAX,
	.ranges = 4,
	.major = 15,
	.ids = "{1,2}",
};
static const struct pl_audit_message answer = {
	.region = "us",
	.to = "eu",
	.id = "00ff",
	.is_answer = true,
	.what = PL_AUDIT_RANGES,
	.resource = "properties",
	.fields = "",
	.by_text = true,
	.end = true,
	.positions = "{\"us\":[1,120]}",
	.rows = "0 12345678901234567890123\n1 5\n",
};

static int parse(struct pl_arena *arena, const char *text, struct pl_audit_message *message_r)
{
	struct pl_error err;

	return pl_audit_message_parse(arena, text, strlen(text), message_r, &err);
}

static void is_read_again(const struct pl_audit_message *message)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_buf text = { 0 }, again = { 0 };
	struct pl_audit_message read;

	pl_audit_message_print(&text, message);
	assert_int_equal(parse(arena, text.data, &read), 0);
	pl_audit_message_print(&again, &read);
	assert_string_equal(again.data, text.data);
	pl_buf_fini(&text);
	pl_buf_fini(&again);
	pl_arena_free(&arena);
}

static void a_message_is_read_as_it_was_printed(void **state)
{
	struct pl_audit_message fault = answer;

	fault.fault = "it has no \"such\" resource";
	is_read_again(&ask);
	is_read_again(&answer);
	is_read_again(&fault);
}

static void heartbeats_and_audit_messages_are_not_mistaken_for_each_other(void **state)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_heartbeat heartbeat = { .region = "us", .sent_at_us = 1, .policies = "{}" };
	struct pl_heartbeat_position position;
	struct pl_audit_message message;
	struct pl_buf text = { 0 };
	struct pl_error err;

	pl_heartbeat_print(&text, &heartbeat);
	assert_int_equal(parse(arena, text.data, &message), PL_EINVAL);
	pl_buf_reset(&text);
	pl_audit_message_print(&text, &answer);
	assert_int_equal(pl_heartbeat_parse(arena, text.data, text.len, 1, &heartbeat, &err), PL_EINVAL);
	assert_int_equal(pl_heartbeat_parse_position(text.data, text.len, 1, &position), -1);
	pl_buf_fini(&text);
	pl_arena_free(&arena);
}

#define HEAD "{\"region\":\"eu\",\"audit\":{\"to\":\"us\",\"id\":\"1\",\"resource\":\"p\",\"fields\":\"\","

static void text_that_is_not_a_message_is_refused(void **state)
{
	static const char *const texts[] = {
		"[]",
		"{\"region\":\"eu\",\"audit\":7}",
		HEAD "\"from\":0,\"until\":1}}",
		HEAD "\"ask\":\"everything\",\"from\":0,\"until\":1,\"ranges\":1,\"major\":15}}",
		HEAD "\"ask\":\"ranges\",\"from\":0,\"until\":1,\"ranges\":-1,\"major\":15}}",
		HEAD "\"ask\":\"ranges\",\"from\":\"0\",\"until\":1,\"ranges\":1,\"major\":15}}",
		HEAD "\"ask\":\"records\",\"from\":0,\"until\":1,\"ranges\":1,\"major\":15}}",
		HEAD "\"answer\":\"rows\",\"from\":0,\"until\":1,\"rows\":\"\"}}",
		HEAD "\"answer\":\"rows\",\"from\":0,\"until\":1,\"positions\":{}}}",
	};
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_audit_message message;

	assert_int_equal(parse(arena,
	                       HEAD "\"ask\":\"ranges\",\"from\":0,\"until\":1,\"ranges\":1,\"major\":15}}",
	                       &message),
	                 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (parse(arena, texts[i], &message) != PL_EINVAL)
			fail_msg("taken: %s", texts[i]);
	pl_arena_free(&arena);
}

static bool takes_ids(const char *ids)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_audit_message message = ask, read;
	struct pl_buf text = { 0 };
	bool taken;

	message.ids = ids;
	pl_audit_message_print(&text, &message);
	taken = parse(arena, text.data, &read) == 0;
	pl_buf_fini(&text);
	pl_arena_free(&arena);
	return taken;
}

// Each record that is asked for is read, however large it is: an ask must not name the
// same one many times.
static void an_ask_names_a_bounded_number_of_records_once(void **state)
{
	static const char *const broken[] = { "",
		                              "{",
		                              "{}",
		                              "{1",
		                              "{1,}",
		                              "{1}x",
		                              "{1,1}",
		                              "{2,1}",
		                              "{{1}}",
		                              "{NULL}",
		                              "{9223372036854775808}" };
	struct pl_buf list = { 0 };

	assert_true(takes_ids("{-9223372036854775808,-1,0,9223372036854775807}"));
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		if (takes_ids(broken[i]))
			fail_msg("taken: %s", broken[i]);
	for (int i = 0; i <= PL_AUDIT_IDS_MAX; i++) {
		pl_buf_printf(&list, "%c%d}", i ? ',' : '{', i);
		assert_int_equal(takes_ids(list.data), i < PL_AUDIT_IDS_MAX);
		list.data[--list.len] = '\0';
	}
	pl_buf_fini(&list);
}

static void send(struct pl_audit_mail *mail, int n)
{
	struct pl_buf text = { 0 };

	pl_buf_add_i64(&text, n);
	pl_audit_mail_send(mail, "us", &text);
	pl_buf_fini(&text);
}

static void a_full_box_drops_what_comes_and_keeps_the_order(void **state)
{
	struct pl_audit_mail *mail = pl_audit_mail_new();
	char to[PL_REGION_MAX + 1], expected[8];
	struct pl_buf text = { 0 };

	for (int i = 0; i < PL_AUDIT_MAIL_MAX + 3; i++)
		send(mail, i);
	for (int i = 0; i < PL_AUDIT_MAIL_MAX; i++) {
		snprintf(expected, sizeof(expected), "%d", i);
		assert_true(pl_audit_mail_sent(mail, to, &text));
		assert_string_equal(text.data, expected);
		assert_string_equal(to, "us");
	}
	assert_false(pl_audit_mail_sent(mail, to, &text));
	pl_buf_fini(&text);
	pl_audit_mail_free(&mail);
}

static void a_closed_box_keeps_nothing(void **state)
{
	struct pl_audit_mail *mail = pl_audit_mail_new();
	struct pl_buf text = { 0 };

	pl_audit_mail_arrive(mail, "a", 1);
	assert_false(pl_audit_mail_read(mail, &text));
	pl_audit_mail_open(mail, true);
	pl_audit_mail_arrive(mail, "b", 1);
	pl_audit_mail_arrive(mail, "c", 1);
	assert_true(pl_audit_mail_read(mail, &text));
	assert_string_equal(text.data, "b");
	pl_audit_mail_open(mail, false);
	assert_false(pl_audit_mail_read(mail, &text));
	pl_buf_fini(&text);
	pl_audit_mail_free(&mail);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_read_as_it_was_printed),
		cmocka_unit_test(heartbeats_and_audit_messages_are_not_mistaken_for_each_other),
		cmocka_unit_test(text_that_is_not_a_message_is_refused),
		cmocka_unit_test(an_ask_names_a_bounded_number_of_records_once),
		cmocka_unit_test(a_full_box_drops_what_comes_and_keeps_the_order),
		cmocka_unit_test(a_closed_box_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
