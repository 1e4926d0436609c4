// Sequence numbers: what was received without a gap, and its text format.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "event/sequence.h"

static void is(const struct pl_sequence *s, int64_t seq, int64_t from, int64_t to)
{
	assert_int_equal(s->seq, seq);
	assert_int_equal(s->chain_from, from);
	assert_int_equal(s->chain_to, to);
}

static void messages_in_order_leave_no_gap(void **state)
{
	struct pl_sequence s = { 0 };

	assert_true(pl_sequence_take(&s, 5, 0));
	assert_true(pl_sequence_take(&s, 9, 5));
	assert_true(pl_sequence_take(&s, 5, 0)); // a repetition
	is(&s, 9, 0, 0);
}

static void missing_messages_stay_a_gap_until_they_are_sent_again(void **state)
{
	struct pl_sequence s = { .seq = 10 };

	assert_false(pl_sequence_take(&s, 21, 20));
	assert_false(pl_sequence_take(&s, 22, 21));
	is(&s, 10, 20, 22);
	assert_true(pl_sequence_take(&s, 31, 10)); // sent again, with new numbers
	is(&s, 31, 0, 0);
}

static void a_repetition_closes_the_part_that_it_covers(void **state)
{
	struct pl_sequence s = { .seq = 10 };

	pl_sequence_take(&s, 50, 40);
	pl_sequence_take(&s, 20, 15); // the repetition does not reach the chain
	is(&s, 10, 40, 50);
	pl_sequence_take(&s, 60, 15);
	is(&s, 10, 15, 60);
	assert_true(pl_sequence_take(&s, 61, 9));
	is(&s, 61, 0, 0);
}

static void a_second_gap_starts_the_chain_again(void **state)
{
	struct pl_sequence s = { .seq = 10 };

	pl_sequence_take(&s, 30, 20);
	assert_false(pl_sequence_take(&s, 50, 40));
	is(&s, 10, 40, 50);
}

static void a_text_reads_back_as_it_was(void **state)
{
	struct pl_sequences s = { 0 }, back = { 0 };
	struct pl_buf text = { 0 }, again = { 0 };

	*pl_sequence_at(&s, "property-updates", 2) = (struct pl_sequence){ 7, 9, 12, true };
	pl_sequence_at(&s, "homes", 0)->seq = INT64_C(1796022593834912);
	pl_sequence_print(&text, &s);
	assert_string_equal(text.data,
	                    "{\"property-updates\":\"0,0,7!9-12$\",\"homes\":\"1796022593834912\"}");
	assert_int_equal(pl_sequence_parse_text(text.data, &back), 0);
	pl_sequence_print(&again, &back);
	assert_string_equal(again.data, text.data);
	pl_sequence_fini(&s);
	pl_sequence_fini(&back);
	pl_buf_fini(&text);
	pl_buf_fini(&again);
}

static void other_text_is_refused(void **state)
{
	static const char *const bad[] = { "[]",
		                           "{\"t\":7}",
		                           "{\"t\":\"-1\"}",
		                           "{\"t\":\"1,\"}",
		                           "{\"t\":\"1!2\"}",
		                           "{\"t\":\"1 2\"}",
		                           "{\"t\":\"9999999999999999999\"}" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pl_sequences s = { 0 };

		assert_int_equal(pl_sequence_parse_text(bad[i], &s), -1);
		pl_sequence_fini(&s);
	}
}

static void a_header_has_two_ascending_numbers(void **state)
{
	static const char *const bad[] = { "",     "7",    "7/",   "/7",    "7/7",    "7/8",      "0/0",
		                           "7/6x", "-7/6", "7/6/", "7/6/1", "7/6/1/", "7/6/1/2/3" };
	struct pl_sequence_header header;

	assert_int_equal(pl_sequence_parse_header("281/280", 7, &header), 0);
	assert_int_equal(header.seq, 281);
	assert_int_equal(header.prev, 280);
	assert_int_equal(pl_sequence_parse_header("281/280/2/77", 12, &header), 0);
	assert_int_equal(header.place.generation, 2);
	assert_int_equal(header.place.id, 77);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(pl_sequence_parse_header(bad[i], strlen(bad[i]), &header), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_in_order_leave_no_gap),
		cmocka_unit_test(missing_messages_stay_a_gap_until_they_are_sent_again),
		cmocka_unit_test(a_repetition_closes_the_part_that_it_covers),
		cmocka_unit_test(a_second_gap_starts_the_chain_again),
		cmocka_unit_test(a_text_reads_back_as_it_was),
		cmocka_unit_test(other_text_is_refused),
		cmocka_unit_test(a_header_has_two_ascending_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
