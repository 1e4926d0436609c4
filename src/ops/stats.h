// Counters: what the threads of a daemon did, written by each without a lock, read by whoever scrapes.
//
// Each worker has a block that only it writes; a scrape adds the blocks up. What other modules count themselves (store, listener) is copied into the
// block a few times a second, under a lock of that block alone.
#pragma once

#include "base/buf.h"
#include "http/listener.h"
#include "record/store.h"

struct pl_stats;
struct pl_stats_block;

struct pl_stats *pl_stats_new(void);
void pl_stats_free(struct pl_stats **stats); // and all its blocks
// For a worker, numbered from 0. Threads: any.
struct pl_stats_block *pl_stats_block_new(struct pl_stats *stats);

// By the block's own thread, on the way of every request.
void pl_stats_served(struct pl_stats_block *block, const struct pl_served *served);
void pl_stats_batch(struct pl_stats_block *block, int writes);

// What a worker looks like at a moment.
struct pl_stats_sample {
	struct pl_listener_stats listener;
	struct pl_store_stats store;
	bool store_ready;
	char why[PL_ERROR_TEXT_MAX]; // it is not
	size_t lua_memory;
	char config_sha256[65];      // which one it runs
};
void pl_stats_sample(struct pl_stats_block *block, const struct pl_stats_sample *sample);

// By any thread.
int pl_stats_blocks(const struct pl_stats *stats);
void pl_stats_get_sample(const struct pl_stats *stats, int i, struct pl_stats_sample *sample_r);
// Requests, latencies, batch sizes: the metrics that come from the blocks, as Prometheus text.
void pl_stats_print(struct pl_buf *buf, const struct pl_stats *stats);
