// Counters: what the threads of a daemon have done, written by each without a lock and
// read by scrapes.
//
// Each worker has a block that only it writes; a scrape adds up the blocks. Numbers that
// other modules (store, listener) count themselves are copied into the block a few times
// per second, under a lock of that block.
#pragma once

#include "base/buf.h"
#include "http/listener.h"
#include "store/store.h"

struct pl_stats;
struct pl_stats_block;

struct pl_stats *pl_stats_new(void);
void pl_stats_free(struct pl_stats **stats_p); // and all its blocks
// A block for a worker; blocks are numbered from 0. Threads: any.
struct pl_stats_block *pl_stats_block_new(struct pl_stats *stats);

// Called by the thread of the block, for every request.
void pl_stats_served(struct pl_stats_block *block, const struct pl_served *served);
void pl_stats_batch(struct pl_stats_block *block, int writes);

// The state of a worker at one moment.
struct pl_stats_sample {
	struct pl_listener_stats listener;
	struct pl_store_stats store;
	bool store_ready;
	char why[PL_ERROR_TEXT_MAX]; // why the store is not ready
	size_t lua_memory;
	char config_sha256[65]; // of the configuration that it runs
	int64_t taken_us;       // pl_mono_us; set by pl_stats_sample
};
void pl_stats_sample(struct pl_stats_block *block, const struct pl_stats_sample *sample);

// Threads: any.
int pl_stats_blocks(const struct pl_stats *stats);
void pl_stats_get_sample(const struct pl_stats *stats, int i, struct pl_stats_sample *sample_r);
// How long ago the worker whose last sample is the oldest took it, in microseconds; 0
// without workers.
int64_t pl_stats_age_us(const struct pl_stats *stats);
// Appends the metrics that come from the blocks (requests, latencies, batch sizes) as
// Prometheus text.
void pl_stats_print(struct pl_buf *buf, const struct pl_stats *stats);
