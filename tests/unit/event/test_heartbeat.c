// event/heartbeat: a message that no region can have sent is refused, so that no code
// that reads it later can fail because of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "event/heartbeat.h"

#define NOW "2026-11-30T12:00:00Z"
#define SENT(at)                                                         \
	"{\"region\":\"eu\",\"sent_at\":\"" at "\",\"outbox_events\":0," \
	"\"outbox_oldest_at\":null,\"policies\":{}"
#define HEAD     SENT(NOW)
#define POSITION "{\"region\":\"eu\",\"position\":{\"generation\":"
#define UUID     "\"incarnation\":\"0b6cf5a1-7a1c-4dc1-9a4a-0a3d1b2c3d4e\""
#define IDENTITY UUID ",\"place\":\"ab\",\"state\":\"settled\",\"drained\":false"

static struct pl_arena *arena;
static int64_t now_us;

static int set_up(void **state)
{
	(void)state;
	arena = pl_arena_new(0);
	return pl_clock_parse_time(NOW, strlen(NOW), &now_us);
}

static int tear_down(void **state)
{
	(void)state;
	pl_arena_free(&arena);
	return 0;
}

static int parse(const char *text, struct pl_heartbeat *heartbeat_r)
{
	struct pl_error err = { 0 };
	int code = pl_heartbeat_parse(arena, text, strlen(text), now_us, heartbeat_r, &err);

	if (code < 0)
		assert_true(err.text[0] != '\0');
	return code;
}

static void are_taken(const char *const *texts)
{
	struct pl_heartbeat heartbeat;

	for (; *texts; texts++)
		if (parse(*texts, &heartbeat) < 0)
			fail_msg("refused: %s", *texts);
}

static void are_refused(const char *const *texts)
{
	struct pl_heartbeat heartbeat;

	for (; *texts; texts++)
		if (parse(*texts, &heartbeat) == 0)
			fail_msg("taken: %s", *texts);
}

static void heartbeats_that_a_region_sends_are_accepted(void **state)
{
	(void)state;
	are_taken((const char *[]){
		HEAD "}",
		HEAD
		",\"published\":{\"p\":\"1796000000000000,0\"},\"applied\":{\"us\":{\"p\":\"7!8-9,0$\"}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY
		     ",\"generation\":1,\"high\":70,\"id_base\":null},\"base\":{},"
		     "\"known\":{\"us\":{\"generation\":1,\"outbox_id\":9}},\"asks\":[],\"served\":[]}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY
		     ",\"generation\":1796040000,\"high\":0,\"id_base\":2000000000000},"
		     "\"asks\":[{\"id\":\"a\",\"of\":\"us\",\"since\":\"2026-11-30T11:00:00.123456+00:00\"},"
		     "{\"id\":\"b\",\"of\":\"us\",\"since\":null}],"
		     "\"served\":[{\"id\":\"c\",\"from\":{},\"to\":null,\"records\":0,"
		     "\"total\":null},"
		     "{\"id\":\"d\",\"from\":{},\"to\":{\"p\":\"5\"},\"records\":1,\"total\":1}],"
		     "\"of_a_later_version\":[1,{}]}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY
		     ",\"generation\":1,\"high\":0,\"run\":\"1 17.5\",\"address\":\"\"},\"heard\":{\"us\":["
		     "{\"place\":\"p\",\"run\":\"\",\"address\":\"a\",\"drained\":false," UUID
		     ",\"generation\":1,\"ago\":0}]}}}",
		NULL });
}

static void numbers_and_times_that_cannot_be_true_yet_are_refused(void **state)
{
	(void)state;
	are_refused((const char *[]){
		SENT("2026-12-02T12:00:00Z") "}", SENT("9999-12-31T23:59:59Z") "}",
		"{\"region\":\"eu\",\"sent_at\":\"" NOW
		"\",\"outbox_events\":9223372036854775807,\"policies\":{}}",
		HEAD ",\"published\":{\"p\":\"999999999999999999\"}}",
		HEAD ",\"applied\":{\"us\":{\"p\":\"999999999999999999\"}}}",
		HEAD ",\"applied\":{\"us\":{\"p\":\"1!2-999999999999999999\"}}}",
		HEAD ",\"word\":{\"base\":{\"p\":\"999999999999999999\"}}}",
		HEAD ",\"word\":{\"known\":{\"us\":{\"generation\":9223372036854775807,\"outbox_id\":1}}}}",
		HEAD ",\"word\":{\"known\":{\"us\":{\"generation\":1,\"outbox_id\":9223372036854775807}}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":99999999999,\"high\":1}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":1,\"high\":-1}}}", NULL });
}

static void values_that_the_database_would_choke_on_are_refused(void **state)
{
	(void)state;
	are_refused((const char *[]){
		"{\"region\":\"eu\",\"sent_at\":\"" NOW
		"\",\"outbox_events\":0,\"policies\":{\"p\":1e999999}}",
		HEAD ",\"fields\":{\"a\":{\"b\":{\"c\":-1e-999999}}}}",
		HEAD ",\"published\":[]}",
		HEAD ",\"applied\":\"all\"}",
		HEAD ",\"word\":{\"identity\":7}}",
		HEAD ",\"word\":{\"identity\":{\"incarnation\":\"none\",\"state\":\"settled\","
		     "\"generation\":1,\"high\":1}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":null,\"high\":1}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":1.5,\"high\":1}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":\"1\",\"high\":1}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":1}}}",
		HEAD ",\"word\":{\"identity\":{" UUID
		     ",\"state\":\"settled\",\"drained\":\"maybe\",\"generation\":1,\"high\":1}}}",
		HEAD ",\"word\":{\"known\":[1]}}",
		HEAD ",\"word\":{\"known\":{\"us\":{\"generation\":\"x\"}}}}",
		HEAD ",\"word\":{\"known\":{\"us\":{\"generation\":1,\"outbox_id\":1,\"id_base\":\"x\"}}}}",
		HEAD ",\"word\":{\"known\":{\"us\":{\"generation\":1,\"outbox_id\":1,"
		     "\"incarnation\":\"one\"}}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":1,\"high\":1,\"run\":7}}}",
		HEAD ",\"word\":{\"identity\":{" IDENTITY ",\"generation\":1,\"high\":1,\"address\":{}}}}",
		HEAD ",\"word\":{\"heard\":[]}}",
		HEAD ",\"word\":{\"heard\":{\"us\":{}}}}",
		HEAD ",\"word\":{\"heard\":{\"us\":[7]}}}",
		HEAD ",\"word\":{\"heard\":{\"us\":[{\"place\":\"p\",\"run\":\"\",\"address\":\"a\","
		     "\"drained\":\"maybe\"," UUID ",\"generation\":1,\"ago\":0}]}}}",
		HEAD ",\"word\":{\"heard\":{\"us\":[{\"place\":\"p\",\"run\":\"\",\"address\":\"a\","
		     "\"drained\":false,\"incarnation\":\"one\",\"generation\":1,\"ago\":0}]}}}",
		HEAD ",\"word\":{\"heard\":{\"us\":[{\"place\":\"p\",\"run\":\"\",\"address\":\"a\","
		     "\"drained\":false," UUID ",\"generation\":1,\"ago\":1.5}]}}}",
		HEAD ",\"word\":{\"asks\":{}}}",
		HEAD ",\"word\":{\"asks\":[7]}}",
		HEAD ",\"word\":{\"asks\":[{\"id\":\"a\",\"of\":\"us\",\"since\":\"yesterday\"}]}}",
		HEAD ",\"word\":{\"served\":[{\"id\":\"a\",\"to\":[],\"records\":1}]}}",
		HEAD ",\"word\":{\"served\":[{\"id\":\"a\",\"to\":{},\"records\":1e30}]}}",
		HEAD ",\"word\":{\"served\":[{\"id\":\"a\",\"to\":{},\"records\":1,\"total\":\"all\"}]}}",
		NULL });
}

static void a_position_that_cannot_be_true_is_refused(void **state)
{
	static const char *const bad[] = {
		POSITION "99999999999,\"id\":1},\"published\":{}}",
		POSITION "1,\"id\":9223372036854775807},\"published\":{}}",
		POSITION "1,\"id\":1},\"published\":{\"p\":\"999999999999999999\"}}",
		POSITION "1,\"id\":7,\"passed\":6},\"published\":{}}",
		POSITION "1,\"id\":1,\"passed\":9223372036854775807},\"published\":{}}",
		POSITION "1,\"id\":1,\"passed\":\"2\"},\"published\":{}}",
	};
	static const char good[] = POSITION "1,\"id\":1},\"published\":{\"p\":\"7\"}}";
	struct pl_heartbeat_position told;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(pl_heartbeat_parse_position(bad[i], strlen(bad[i]), now_us, &told), -1);
	assert_int_equal(pl_heartbeat_parse_position(good, strlen(good), now_us, &told), 0);
	pl_sequence_fini(&told.published);
}

static void what_kafka_has_refused_is_passed_by_more_than_the_position(void **state)
{
	const struct pl_outbox_place place = { .generation = 1, .id = 7 };
	struct pl_heartbeat_position told;
	struct pl_buf text = { 0 };

	(void)state;
	for (int64_t passed = 7; passed < 12; passed += 4) {
		pl_buf_reset(&text);
		pl_heartbeat_print_position(&text, "us", &place, passed, "{}");
		assert_int_equal(pl_heartbeat_parse_position(text.data, text.len, now_us, &told), 0);
		assert_int_equal(told.position.id, 7);
		assert_int_equal(told.passed, passed);
		pl_sequence_fini(&told.published);
	}
	pl_buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heartbeats_that_a_region_sends_are_accepted),
		cmocka_unit_test(numbers_and_times_that_cannot_be_true_yet_are_refused),
		cmocka_unit_test(values_that_the_database_would_choke_on_are_refused),
		cmocka_unit_test(a_position_that_cannot_be_true_is_refused),
		cmocka_unit_test(what_kafka_has_refused_is_passed_by_more_than_the_position),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
