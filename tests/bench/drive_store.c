// Drives the store without HTTP and Lua, to measure the database and the batches alone.
//
//	drive-store DSN [mode] [waiting] [seconds] [rows] [batch] [writers]
//	mode: put (default), get, one (all writers on one record), create
//
// Keeps `waiting` calls in flight in a closed loop, like that many connections. Prints
// the rate, the median and 99th percentile of the latency, and the batch sizes. The
// database must have sql/ applied and `rows` properties with ids from 1.
// Threads: one.
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "config/config_private.h"
#include "store/store.h"

#define SAMPLES_MAX 4000000

enum mode { PUT, GET, ONE, CREATE };

struct slot {
	struct drive *drive;
	struct pl_arena *arena;
	struct pl_write write;
	struct pl_read read;
	int64_t started_us;
};

struct drive {
	struct pl_loop *loop;
	struct pl_config *config;
	struct pl_store *store;
	enum mode mode;
	int waiting, seconds, rows;
	int64_t until_us, begun_us;
	struct slot *slots;
	long done, failed, serial;
	int32_t *latencies;
};

static struct pl_config *config_new(const char *dsn, int batch, int writers)
{
	struct pl_config *config = pl_config_new();
	struct pl_resource *resource = pl_arena_alloc(config->arena, sizeof(*resource));
	struct pl_region *region = pl_arena_alloc(config->arena, sizeof(*region));

	config->http.max_queued = 100000;
	config->database.batch = batch;
	config->database.write_connections = writers;
	config->database.read_connections_per_worker = 1;
	config->database.connect_timeout_us = 3000000;
	config->database.statement_timeout_us = 5000000;
	config->database.lock_timeout_us = 2000000;
	*resource = (struct pl_resource){ .name = "properties",
		                          .title = "Property",
		                          .table = "properties",
		                          .nfields = 3,
		                          .nall = 3,
		                          .fields = { { .name = "price",
		                                        .type = PL_FIELD_DECIMAL,
		                                        .required = true,
		                                        .precision = 12,
		                                        .scale = 2 },
		                                      { .name = "bedrooms", .type = PL_FIELD_INTEGER },
		                                      { .name = "bathrooms", .type = PL_FIELD_INTEGER } } };
	*region = (struct pl_region){ .name = "us",
		                      .database = pl_arena_strdup(config->arena, dsn),
		                      .id_base = 1000000000000 };
	config->nresources = config->nregions = 1;
	config->resources = resource;
	config->regions = region;
	return config;
}

static void begin(struct slot *slot);

static void ended(struct slot *slot, bool ok)
{
	struct drive *d = slot->drive;
	int64_t now_us = pl_mono_us();

	d->done += ok;
	d->failed += !ok;
	if (d->done < SAMPLES_MAX)
		d->latencies[d->done] = (int32_t)(now_us - slot->started_us);
	if (now_us < d->until_us)
		begin(slot);
	else
		pl_loop_stop(d->loop);
}

static void written(struct pl_write *write, void *arg)
{
	if (write->outcome != PL_OUTCOME_DONE && ((struct slot *)arg)->drive->failed < 3)
		fprintf(stderr, "outcome %d: %s\n", write->outcome, write->err.text);
	ended(arg, write->outcome == PL_OUTCOME_DONE);
}

static void read_done(struct pl_read *read, void *arg)
{
	ended(arg, read->code == 0);
}

static void begin_write(struct slot *slot)
{
	struct drive *d = slot->drive;
	struct pl_write *write = &slot->write;
	uint64_t random[4] = { pl_random(), pl_random(), pl_random(), pl_random() };

	*write = (struct pl_write){ .arena = slot->arena,
		                    .resource = &d->config->resources[0],
		                    .op = d->mode == CREATE ? PL_WRITE_CREATE : PL_WRITE_UPDATE,
		                    .id = d->mode == CREATE ? 0
		                          : d->mode == ONE  ? 1
		                                            : 1 + (int64_t)pl_random_below((uint64_t)d->rows),
		                    .principal = "",
		                    .region_prefix = "us",
		                    .ttl_us = INT64_C(86400000000),
		                    .deadline_us = slot->started_us + 10000000,
		                    .done = written,
		                    .arg = slot };
	write->request_id =
		pl_arena_printf(slot->arena, "%016llx-%ld", (unsigned long long)pl_random(), d->serial++);
	memcpy(write->fingerprint, random, sizeof(write->fingerprint));
	write->changes.values = pl_arena_alloc(slot->arena, 3 * sizeof(write->changes.values[0]));
	write->changes.set = pl_arena_alloc(slot->arena, 3 * sizeof(write->changes.set[0]));
	write->changes.set[0] = true;
	write->changes.values[0] = pl_arena_printf(slot->arena, "%llu.%02llu",
	                                           100000 + (unsigned long long)pl_random_below(800000),
	                                           (unsigned long long)pl_random_below(100));
	pl_store_write(d->store, write);
}

static void begin(struct slot *slot)
{
	struct drive *d = slot->drive;

	pl_arena_reset(slot->arena);
	slot->started_us = pl_mono_us();
	if (d->mode != GET) {
		begin_write(slot);
		return;
	}
	slot->read = (struct pl_read){ .arena = slot->arena,
		                       .resource = &d->config->resources[0],
		                       .id = 1 + (int64_t)pl_random_below((uint64_t)d->rows),
		                       .deadline_us = slot->started_us + 10000000,
		                       .done = read_done,
		                       .arg = slot };
	pl_store_read(d->store, &slot->read);
}

static int turn(void *arg)
{
	struct drive *d = arg;
	struct pl_error why;

	if (d->begun_us == 0 && pl_store_ready(d->store, &why)) {
		d->begun_us = pl_mono_us();
		d->until_us = d->begun_us + d->seconds * INT64_C(1000000);
		for (int i = 0; i < d->waiting; i++)
			begin(&d->slots[i]);
	}
	pl_store_turn(d->store);
	return d->begun_us ? -1 : 10;
}

static int compare(const void *a, const void *b)
{
	return (*(const int32_t *)a > *(const int32_t *)b) - (*(const int32_t *)a < *(const int32_t *)b);
}

static void report(struct drive *d)
{
	double seconds = (double)(pl_mono_us() - d->begun_us) / 1e6;
	long n = d->done < SAMPLES_MAX ? d->done : SAMPLES_MAX;
	struct pl_store_stats stats;
	struct timespec cpu;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	qsort(d->latencies, (size_t)n, sizeof(d->latencies[0]), compare);
	pl_store_stats(d->store, &stats);
	printf("%.0f/s  p50 %d us  p99 %d us  failed %ld  batches %llu (%.1f a batch, %llu single)  reads "
	       "%llu in %llu  retried %llu  own cpu %.2f us each\n",
	       (double)d->done / seconds, n ? d->latencies[n / 2] : 0, n ? d->latencies[n * 99 / 100] : 0,
	       d->failed, (unsigned long long)stats.batches,
	       stats.batches ? (double)stats.writes / (double)stats.batches : 0,
	       (unsigned long long)stats.single, (unsigned long long)stats.reads,
	       (unsigned long long)stats.read_batches, (unsigned long long)stats.retried,
	       ((double)cpu.tv_sec * 1e6 + (double)cpu.tv_nsec / 1e3) / (double)(d->done ? d->done : 1));
}

int main(int argc, char **argv)
{
	static const char *const modes[] = { "put", "get", "one", "create" };
	struct drive d = { .waiting = argc > 3 ? atoi(argv[3]) : 64,
		           .seconds = argc > 4 ? atoi(argv[4]) : 5,
		           .rows = argc > 5 ? atoi(argv[5]) : 1000 };
	struct pl_error err;

	if (argc < 2) {
		fprintf(stderr, "usage: drive-store DSN [put|get|one|create] [waiting] [seconds] [rows] "
		                "[batch] [writers]\n");
		return 64;
	}
	for (int i = 0; i < 4; i++)
		if (argc > 2 && strcmp(argv[2], modes[i]) == 0)
			d.mode = (enum mode)i;
	pl_log_init(PL_LOG_WARNING, PL_LOG_TEXT);
	d.loop = pl_loop_new();
	d.config = config_new(argv[1], argc > 6 ? atoi(argv[6]) : 64, argc > 7 ? atoi(argv[7]) : 1);
	d.store = pl_store_new(&(struct pl_store_options){ .loop = d.loop,
	                                                   .config = d.config,
	                                                   .region = &d.config->regions[0] },
	                       &err);
	d.slots = pl_calloc((size_t)d.waiting, sizeof(d.slots[0]));
	d.latencies = pl_calloc(SAMPLES_MAX, sizeof(d.latencies[0]));
	for (int i = 0; i < d.waiting; i++)
		d.slots[i] = (struct slot){ .drive = &d, .arena = pl_arena_new(0) };
	pl_loop_run(d.loop, turn, &d);
	report(&d);
	d.until_us = 0; // calls that are in flight at the end are not repeated
	pl_store_free(&d.store);
	for (int i = 0; i < d.waiting; i++)
		pl_arena_free(&d.slots[i].arena);
	pl_loop_free(&d.loop);
	pl_config_unref(&d.config);
	free(d.slots);
	free(d.latencies);
	return 0;
}
