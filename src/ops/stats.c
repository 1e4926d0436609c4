// Counters of the workers, and their sums as Prometheus text.
//
// http/listener reports each answer, store/store each transaction. One thread writes a
// block with relaxed atomics (plain additions on our machines), and others read it at any
// time: a scrape may see a request before its duration, but never a torn number. Rows are
// never removed, so counts survive a reload.
// Invariant: a row is published, by the release of `nrows`, only after its names are
// written.
// Threads: see each function.
#include "ops/stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define BLOCKS_MAX   PL_WORKERS_MAX
#define ROWS_MAX     256 // routes that were answered; further ones count as "other"
#define STATUSES_MAX 24  // per route
#define NBUCKETS     14
#define NSIZES       8

static const double buckets_s[NBUCKETS] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
	                                    0.1,    0.25,  0.5,    1,     2.5,  5,     10 };
static const int sizes[NSIZES] = { 1, 2, 4, 8, 16, 32, 64, 128 };

typedef _Atomic uint64_t counter;

struct status_count {
	int status;
	counter n;
};

struct row {
	char *method, *path;
	_Atomic int nstatuses;
	struct status_count statuses[STATUSES_MAX];
	counter buckets[NBUCKETS + 1]; // the last: longer than all of them
	counter sum_us;
};

struct pl_stats_block {
	_Atomic int nrows;
	struct row *rows[ROWS_MAX];
	counter batches[NSIZES + 1];
	counter batch_sum;
	pthread_mutex_t lock; // of sample
	struct pl_stats_sample sample;
};

struct pl_stats {
	pthread_mutex_t lock; // of adding a block
	_Atomic int nblocks;
	struct pl_stats_block *blocks[BLOCKS_MAX];
};

// Only one thread writes a counter, so load and store need not be one atomic operation.
static void add(counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t get(const counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

// ---- blocks

struct pl_stats *pl_stats_new(void)
{
	struct pl_stats *stats = pl_calloc(1, sizeof(*stats));
	pthread_mutex_init(&stats->lock, NULL);
	return stats;
}

static void block_free(struct pl_stats_block *block)
{
	for (int i = 0; i < block->nrows; i++) {
		free(block->rows[i]->method);
		free(block->rows[i]->path);
		free(block->rows[i]);
	}
	pthread_mutex_destroy(&block->lock);
	free(block);
}

void pl_stats_free(struct pl_stats **stats_p)
{
	struct pl_stats *stats = *stats_p;
	if (!stats)
		return;
	for (int i = 0; i < stats->nblocks; i++)
		block_free(stats->blocks[i]);
	pthread_mutex_destroy(&stats->lock);
	free(stats);
	*stats_p = NULL;
}

struct pl_stats_block *pl_stats_block_new(struct pl_stats *stats)
{
	struct pl_stats_block *block = pl_calloc(1, sizeof(*block));
	pthread_mutex_init(&block->lock, NULL);
	pthread_mutex_lock(&stats->lock);
	if (stats->nblocks == BLOCKS_MAX)
		pl_die("more than %d threads have counters", BLOCKS_MAX);
	stats->blocks[stats->nblocks] = block;
	atomic_fetch_add(&stats->nblocks, 1);
	pthread_mutex_unlock(&stats->lock);
	return block;
}

// ---- counting

static struct row *row_of(struct pl_stats_block *block, const char *method, const char *path)
{
	int n = atomic_load_explicit(&block->nrows, memory_order_relaxed);
	for (int i = 0; i < n; i++)
		if (strcmp(block->rows[i]->path, path) == 0 && strcmp(block->rows[i]->method, method) == 0)
			return block->rows[i];
	if (n == ROWS_MAX)
		return block->rows[ROWS_MAX - 1];
	bool last = n == ROWS_MAX - 1;
	struct row *row = pl_calloc(1, sizeof(*row));
	row->method = pl_strdup(last ? "other" : method);
	row->path = pl_strdup(last ? "other" : path);
	block->rows[n] = row;
	atomic_store_explicit(&block->nrows, n + 1, memory_order_release);
	return row;
}

static void count_status(struct row *row, int status)
{
	int n = atomic_load_explicit(&row->nstatuses, memory_order_relaxed);
	for (int i = 0; i < n; i++)
		if (row->statuses[i].status == status) {
			add(&row->statuses[i].n, 1);
			return;
		}
	if (n == STATUSES_MAX) { // a handler that uses very many statuses
		add(&row->statuses[STATUSES_MAX - 1].n, 1);
		return;
	}
	row->statuses[n].status = n == STATUSES_MAX - 1 ? 0 : status;
	add(&row->statuses[n].n, 1);
	atomic_store_explicit(&row->nstatuses, n + 1, memory_order_release);
}

void pl_stats_served(struct pl_stats_block *block, const struct pl_served *served)
{
	struct row *row = row_of(block, served->method, served->path);
	int b = 0;
	while (b < NBUCKETS && (double)served->took_us > buckets_s[b] * 1e6)
		b++;
	add(&row->buckets[b], 1);
	add(&row->sum_us, (uint64_t)(served->took_us > 0 ? served->took_us : 0));
	count_status(row, served->status);
}

void pl_stats_batch(struct pl_stats_block *block, int writes)
{
	int s = 0;
	while (s < NSIZES && writes > sizes[s])
		s++;
	add(&block->batches[s], 1);
	add(&block->batch_sum, (uint64_t)writes);
}

void pl_stats_sample(struct pl_stats_block *block, const struct pl_stats_sample *sample)
{
	pthread_mutex_lock(&block->lock);
	block->sample = *sample;
	block->sample.taken_us = pl_mono_us();
	pthread_mutex_unlock(&block->lock);
}

int pl_stats_blocks(const struct pl_stats *stats)
{
	return atomic_load(&stats->nblocks);
}

int64_t pl_stats_age_us(const struct pl_stats *stats)
{
	int64_t now_us = pl_mono_us(), oldest_us = now_us;
	for (int i = 0; i < pl_stats_blocks(stats); i++) {
		struct pl_stats_sample sample;
		pl_stats_get_sample(stats, i, &sample);
		if (sample.taken_us && sample.taken_us < oldest_us)
			oldest_us = sample.taken_us;
	}
	return now_us - oldest_us;
}

void pl_stats_get_sample(const struct pl_stats *stats, int i, struct pl_stats_sample *sample_r)
{
	struct pl_stats_block *block = stats->blocks[i];
	pthread_mutex_lock(&block->lock);
	*sample_r = block->sample;
	pthread_mutex_unlock(&block->lock);
}

// ---- the sum

struct sum_row {
	const char *method, *path;
	int nstatuses;
	struct {
		int status;
		uint64_t n;
	} statuses[STATUSES_MAX * 2];
	uint64_t buckets[NBUCKETS + 1], sum_us;
};

struct sum {
	int n;
	struct sum_row *rows;
};

static struct sum_row *sum_row_of(struct sum *sum, const struct row *row)
{
	for (int i = 0; i < sum->n; i++)
		if (strcmp(sum->rows[i].path, row->path) == 0 &&
		    strcmp(sum->rows[i].method, row->method) == 0)
			return &sum->rows[i];
	sum->rows = pl_realloc(sum->rows, (size_t)(sum->n + 1) * sizeof(sum->rows[0]));
	struct sum_row *added = &sum->rows[sum->n++];
	memset(added, 0, sizeof(*added));
	added->method = row->method;
	added->path = row->path;
	return added;
}

static void sum_status(struct sum_row *into, int status, uint64_t n)
{
	int i = 0;
	while (i < into->nstatuses && into->statuses[i].status != status)
		i++;
	if (i == (int)(sizeof(into->statuses) / sizeof(into->statuses[0])))
		i--;
	else if (i == into->nstatuses)
		into->statuses[into->nstatuses++].status = status;
	into->statuses[i].n += n;
}

static void sum_block(struct sum *sum, const struct pl_stats_block *block)
{
	int n = atomic_load_explicit(&block->nrows, memory_order_acquire);
	for (int i = 0; i < n; i++) {
		const struct row *row = block->rows[i];
		struct sum_row *into = sum_row_of(sum, row);
		for (int b = 0; b <= NBUCKETS; b++)
			into->buckets[b] += get(&row->buckets[b]);
		into->sum_us += get(&row->sum_us);
		int nstatuses = atomic_load_explicit(&row->nstatuses, memory_order_acquire);
		for (int s = 0; s < nstatuses; s++)
			sum_status(into, row->statuses[s].status, get(&row->statuses[s].n));
	}
}

static int by_name(const void *a, const void *b)
{
	const struct sum_row *x = a, *y = b;
	int order = strcmp(x->path, y->path);
	return order ? order : strcmp(x->method, y->method);
}

// Paths come from the configuration and may contain quotes and backslashes.
static void label(struct pl_buf *buf, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			pl_buf_addc(buf, '\\');
		pl_buf_addc(buf, *text);
	}
}

static void labels(struct pl_buf *buf, const struct sum_row *row)
{
	pl_buf_adds(buf, "{method=\"");
	label(buf, row->method);
	pl_buf_adds(buf, "\",route=\"");
	label(buf, row->path);
	pl_buf_adds(buf, "\"");
}

static void print_requests(struct pl_buf *buf, const struct sum *sum)
{
	pl_buf_adds(buf, "# HELP plist_http_requests_total Answered requests, by route and status.\n# TYPE "
	                 "plist_http_requests_total counter\n");
	for (int i = 0; i < sum->n; i++)
		for (int s = 0; s < sum->rows[i].nstatuses; s++) {
			pl_buf_adds(buf, "plist_http_requests_total");
			labels(buf, &sum->rows[i]);
			pl_buf_printf(buf, ",status=\"%d\"} %llu\n", sum->rows[i].statuses[s].status,
			              (unsigned long long)sum->rows[i].statuses[s].n);
		}
}

static void print_durations(struct pl_buf *buf, const struct sum *sum)
{
	pl_buf_adds(buf,
	            "# HELP plist_http_request_duration_seconds Time from the request line until the answer "
	            "is ready.\n# TYPE plist_http_request_duration_seconds histogram\n");
	for (int i = 0; i < sum->n; i++) {
		uint64_t count = 0;
		for (int b = 0; b <= NBUCKETS; b++) {
			count += sum->rows[i].buckets[b];
			pl_buf_adds(buf, "plist_http_request_duration_seconds_bucket");
			labels(buf, &sum->rows[i]);
			if (b < NBUCKETS)
				pl_buf_printf(buf, ",le=\"%g\"} %llu\n", buckets_s[b],
				              (unsigned long long)count);
			else
				pl_buf_printf(buf, ",le=\"+Inf\"} %llu\n", (unsigned long long)count);
		}
		pl_buf_adds(buf, "plist_http_request_duration_seconds_sum");
		labels(buf, &sum->rows[i]);
		pl_buf_printf(buf, "} %.6f\nplist_http_request_duration_seconds_count",
		              (double)sum->rows[i].sum_us / 1e6);
		labels(buf, &sum->rows[i]);
		pl_buf_printf(buf, "} %llu\n", (unsigned long long)count);
	}
}

static void print_batches(struct pl_buf *buf, const struct pl_stats *stats, int nblocks)
{
	uint64_t count = 0, total = 0;
	pl_buf_adds(buf, "# HELP plist_write_batch_size Writes per batch.\n# TYPE plist_write_batch_size "
	                 "histogram\n");
	for (int s = 0; s <= NSIZES; s++) {
		for (int i = 0; i < nblocks; i++)
			count += get(&stats->blocks[i]->batches[s]);
		if (s < NSIZES)
			pl_buf_printf(buf, "plist_write_batch_size_bucket{le=\"%d\"} %llu\n", sizes[s],
			              (unsigned long long)count);
		else
			pl_buf_printf(buf, "plist_write_batch_size_bucket{le=\"+Inf\"} %llu\n",
			              (unsigned long long)count);
	}
	for (int i = 0; i < nblocks; i++)
		total += get(&stats->blocks[i]->batch_sum);
	pl_buf_printf(buf, "plist_write_batch_size_sum %llu\nplist_write_batch_size_count %llu\n",
	              (unsigned long long)total, (unsigned long long)count);
}

void pl_stats_print(struct pl_buf *buf, const struct pl_stats *stats)
{
	struct sum sum = { 0 };
	int nblocks = pl_stats_blocks(stats);
	for (int i = 0; i < nblocks; i++)
		sum_block(&sum, stats->blocks[i]);
	if (sum.n > 0)
		qsort(sum.rows, (size_t)sum.n, sizeof(sum.rows[0]), by_name);
	print_requests(buf, &sum);
	print_durations(buf, &sum);
	print_batches(buf, stats, nblocks);
	free(sum.rows);
}
