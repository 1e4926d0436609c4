// A handler's run, started and ended as http/ does, for tests of script/run.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "fake_store.h"
#include "world.h"

#define HEAD                                        \
	"local records = require 'plist.records'\n" \
	"local http = require 'plist.http'\n"       \
	"local json = require 'plist.json'\n"
#define HANDLER(body) HEAD "return { name = 'h', doc = 'a test', handle = function(req) " body " end }"

struct bench {
	struct pl_config *config;
	struct pl_vm *vm;
	struct pl_store *store;
};

struct talk {
	struct pl_request *request;
	struct pl_answer answer;
	struct pl_run *run;
	int done;
	bool free_within;
};

static inline void bench_open(struct bench *b, const char *path, const char *text)
{
	struct world_file file = { path, text };

	b->config = world_config(&file, 1);
	b->vm = world_vm(b->config, PL_CONTEXT_HANDLER);
	b->store = fake_store_new(b->config);
	fake_store_put(b->store, 7, "500000.00", "3", 1);
}

static inline void bench_close(struct bench *b)
{
	pl_store_free(&b->store);
	pl_vm_free(&b->vm);
	pl_config_unref(&b->config);
}

static inline void done(struct pl_run *run, void *arg)
{
	struct talk *t = arg;

	t->done++;
	if (t->free_within) {
		t->run = NULL;
		pl_run_free(&run);
	}
}

static void (*print_problem)(struct pl_buf *, const struct pl_problem *, const char *)
	__attribute__((unused));

static inline void talk_begin(struct talk *t, struct bench *b, const char *handler, const char *method,
                              const char *target, const char *id, const char *body)
{
	*t = (struct talk){ .free_within = t->free_within };
	t->request = world_request(b->config, handler, method, target, id, body);
	t->request->print_problem = print_problem;
}

static inline void talk_start(struct talk *t, struct bench *b)
{
	t->run = pl_run_start(b->vm, b->store, t->request, &t->answer, done, t);
}

static inline void talk_end(struct talk *t)
{
	pl_run_free(&t->run);
	pl_buf_fini(&t->answer.body);
	world_request_free(&t->request);
}

// Sends one request to a handler and waits for its answer.
static inline void ask(struct talk *t, struct bench *b, const char *handler, const char *id, const char *body)
{
	t->free_within = false;
	talk_begin(t, b, handler, body ? "PUT" : "GET", "/us/properties/7", id, body);
	talk_start(t, b);
	fake_store_run(b->store);
	assert_int_equal(t->done, 1);
}

static inline const char *header(const struct talk *t, const char *name)
{
	for (const struct pl_header *h = t->answer.headers; h; h = h->next) {
		if (strcmp(h->name, name) == 0)
			return h->value;
	}
	return NULL;
}
