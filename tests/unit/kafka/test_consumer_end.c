// kafka/consumer: one that librdkafka does not destroy is left behind after a while, and
// counted as lost.
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/faults.h"
#include "kafka/consumer.h"

static sem_t may_end, ended;

// In place of librdkafka's: it hangs, as that may do.
void rd_kafka_destroy_flags(rd_kafka_t *rk, int flags)
{
	sem_wait(&may_end);
	rd_kafka_destroy(rk);
	sem_post(&ended);
}

static uint64_t lost(void)
{
	bool recent;

	return pl_faults_losses(PL_LOSS_CONSUMER, pl_mono_us(), &recent);
}

static void free_one(int64_t leave_us)
{
	struct pl_config config = {
		.kafka = { .brokers = "127.0.0.1:1", .group = "g", .heartbeat_topic = "h" }
	};
	struct pl_region region = { .name = "us" };
	struct pl_consumer_options options = { .config = &config, .region = &region };
	struct pl_error err = { 0 };
	struct pl_consumer *consumer = pl_consumer_new(&options, &err);

	assert_non_null(consumer);
	pl_consumer_free(&consumer, leave_us);
	assert_null(consumer);
}

static void a_consumer_that_does_not_end_is_left_behind_and_counted(void **state)
{

	(void)state;
	sem_init(&ended, 0, 0);
	sem_init(&may_end, 0, 1);
	free_one(20000000);
	assert_int_equal(lost(), 0);
	sem_wait(&ended);
	free_one(0);
	assert_int_equal(lost(), 1);
	sem_post(&may_end);
	sem_wait(&ended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_consumer_that_does_not_end_is_left_behind_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
