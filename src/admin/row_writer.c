// See row_writer.h. Threads: the tool has one.
#include "admin/row_writer.h"

#include <stdlib.h>

#include "admin/messages.h"
#include "base/clock.h"
#include "base/mem.h"

#define LAST_TRY_US 1000000 // before the deadline, even if no connection is up

struct pl_row_writer {
	struct pl_invocation *invocation;
	struct pl_region region;
	struct pl_loop *loop;
	struct pl_store *store;
	struct pl_write *write;
	bool sent, answered;
};

struct pl_row_writer *pl_row_writer_new(struct pl_invocation *invocation, struct pl_region_session *region)
{
	struct pl_row_writer *writer = pl_calloc(1, sizeof(*writer));
	struct pl_error err = { 0 };
	writer->invocation = invocation;
	writer->region = *region->region;
	writer->region.id_base_given = false; // only a daemon that starts may move the range of ids
	writer->loop = pl_loop_new();
	writer->store =
		pl_store_new(&(struct pl_store_options){ .loop = writer->loop,
	                                                 .config = invocation->config,
	                                                 .region = &writer->region,
	                                                 .key = pl_region_sessions_key(invocation, region) },
	                     &err);
	if (writer->store)
		return writer;
	pl_fail("%s: %s", region->region->name, err.text);
	pl_row_writer_free(&writer);
	return NULL;
}

void pl_row_writer_free(struct pl_row_writer **writer_p)
{
	struct pl_row_writer *writer = *writer_p;
	if (!writer)
		return;
	pl_store_free(&writer->store);
	pl_loop_free(&writer->loop);
	free(writer);
	*writer_p = NULL;
}

static void done(struct pl_write *write, void *arg)
{
	struct pl_row_writer *writer = arg;
	(void)write;
	writer->answered = true;
}

static int turn(void *arg)
{
	struct pl_row_writer *writer = arg;
	struct pl_error why;
	if (!writer->sent && (pl_store_ready(writer->store, &why) ||
	                      pl_mono_us() > writer->write->deadline_us - LAST_TRY_US)) {
		writer->sent = true;
		pl_store_write(writer->store, writer->write);
	}
	pl_store_turn(writer->store);
	if (writer->answered)
		pl_loop_stop(writer->loop);
	return 20;
}

void pl_row_writer_say_refused(const char *region, const struct pl_write *write)
{
	const char *before = "", *what = write->err.text, *after = "";
	switch (write->outcome) {
	case PL_OUTCOME_TAKEN:
		before = "another record has the same ";
		what = write->guard;
		break;
	case PL_OUTCOME_DANGLING:
		what = write->guard;
		after = " refers to a record that does not exist";
		break;
	case PL_OUTCOME_REFERENCED:
		what = write->guard;
		after = " refers to this record";
		break;
	default: break;
	}
	pl_fail("%s refused to write %s/%lld: %s%s%s", region, write->resource->name, (long long)write->id,
	        before, what, after);
}

int pl_row_writer_write(struct pl_row_writer *writer, struct pl_write *write)
{
	writer->write = write;
	writer->sent = writer->answered = false;
	write->deadline_us = pl_mono_us() + pl_invocation_timeout_us(writer->invocation) + LAST_TRY_US;
	write->done = done;
	write->arg = writer;
	pl_loop_run(writer->loop, turn, writer);
	switch (write->outcome) {
	case PL_OUTCOME_DONE:
	case PL_OUTCOME_REMEMBERED: return 0;
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_NOT_FOUND:
		pl_fail("%s/%lld was written in %s in the meantime; compare again", write->resource->name,
		        (long long)write->id, writer->region.name);
		return PL_EXIT_NO;
	case PL_OUTCOME_FAILED:
		pl_fail("%s: %s", writer->region.name, write->err.text);
		return PL_EXIT_UNREACHABLE;
	default: pl_row_writer_say_refused(writer->region.name, write); return PL_EXIT_NO;
	}
}
