// The letter box of the audit: what is kept, in which order, and what is dropped.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "event/audit_mail.h"

static struct pl_audit_mail *mail;

static int open_box(void **state)
{
	(void)state;
	mail = pl_audit_mail_new();
	pl_audit_mail_open(mail, true);
	return 0;
}

static int close_box(void **state)
{
	(void)state;
	pl_audit_mail_free(&mail);
	return 0;
}

static void send_numbered(int n)
{
	struct pl_buf text = { 0 };

	pl_buf_printf(&text, "%d", n);
	pl_audit_mail_send(mail, "eu", &text);
	pl_buf_fini(&text);
}

static void arrive_numbered(int n)
{
	char text[16];

	pl_audit_mail_arrive(mail, text, (size_t)snprintf(text, sizeof(text), "%d", n));
}

static void a_full_side_drops_and_counts_the_last_messages(void **state)
{
	struct pl_buf text = { 0 };
	char to[PL_REGION_MAX + 1];

	for (int i = 0; i < PL_AUDIT_MAIL_MAX + 3; i++)
		send_numbered(i);
	assert_int_equal(pl_audit_mail_dropped(mail), 3);
	for (int i = 0; i < PL_AUDIT_MAIL_MAX; i++) {
		assert_true(pl_audit_mail_sent(mail, to, &text));
		assert_string_equal(to, "eu");
		assert_int_equal(strtol(text.data, NULL, 10), i);
	}
	assert_false(pl_audit_mail_sent(mail, to, &text));
	pl_buf_fini(&text);
	(void)state;
}

static void each_side_has_its_own_room(void **state)
{
	struct pl_buf text = { 0 };

	for (int i = 0; i < PL_AUDIT_MAIL_MAX; i++)
		send_numbered(i);
	arrive_numbered(7);
	assert_int_equal(pl_audit_mail_dropped(mail), 0);
	assert_true(pl_audit_mail_read(mail, &text));
	assert_int_equal(strtol(text.data, NULL, 10), 7);
	for (int i = 0; i <= PL_AUDIT_MAIL_MAX; i++)
		arrive_numbered(i);
	assert_int_equal(pl_audit_mail_dropped(mail), 1);
	pl_buf_fini(&text);
	(void)state;
}

static void a_closed_box_keeps_and_counts_nothing(void **state)
{
	struct pl_buf text = { 0 };

	arrive_numbered(1);
	pl_audit_mail_open(mail, false);
	for (int i = 0; i < 2 * PL_AUDIT_MAIL_MAX; i++)
		arrive_numbered(i);
	assert_false(pl_audit_mail_read(mail, &text));
	assert_int_equal(pl_audit_mail_dropped(mail), 0);
	pl_buf_fini(&text);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_full_side_drops_and_counts_the_last_messages, open_box,
		                                close_box),
		cmocka_unit_test_setup_teardown(each_side_has_its_own_room, open_box, close_box),
		cmocka_unit_test_setup_teardown(a_closed_box_keeps_and_counts_nothing, open_box, close_box),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
