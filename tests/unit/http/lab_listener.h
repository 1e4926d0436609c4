// A listener with real sockets, a real Lua state, and a store that answers when the
// test says so.
// Threads: one; the test turns the loop.
#pragma once

#include "http/listener.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../script/fake_store.h"
#include "base/clock.h"

#define GET                                                                     \
	"local records, http = require 'plist.records', require 'plist.http'\n" \
	"return { name = 'get', doc = 'Reads.', handle = function(req)\n"       \
	"  local record, err = records.get('properties', req.params.id)\n"      \
	"  return record and http.ok(record) or http.problem(err)\nend }\n"
#define PUT                                                                                       \
	"local records, http = require 'plist.records', require 'plist.http'\n"                   \
	"return { name = 'put', doc = 'Writes.', handle = function(req)\n"                        \
	"  local record, err = records.update('properties', req.params.id, req.body, req.lock)\n" \
	"  return record and http.ok(record) or http.problem(err)\nend }\n"
// The same after a lookup: three calls of the store, the first of which looks up the
// request id.
#define LOOK_AND_PUT                                                                                      \
	"local records, http = require 'plist.records', require 'plist.http'\n"                           \
	"return { name = 'put', doc = 'Writes.', handle = function(req)\n"                                \
	"  local record, err = records.get('properties', req.params.id)\n"                                \
	"  if record then record, err = records.update('properties', req.params.id, req.body, req.lock) " \
	"end\n"                                                                                           \
	"  return record and http.ok(record) or http.problem(err)\nend }\n"
#define OTHER                                                                                             \
	"local http = require 'plist.http'\n"                                                             \
	"return { name = 'other', doc = 'Says so.', handle = function() return http.ok { other = true } " \
	"end }\n"

struct world {
	struct pl_config *config;
	struct pl_loop *loop;
	struct pl_limits *limits;
	struct pl_store *store;
	struct pl_generation *generation;
	struct pl_listener *listener;
	int port, turns;
	int served, last_status;
};

#define HEALTH "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
#define READ   "GET /us/properties/7 HTTP/1.1\r\nHost: x\r\n\r\n"
#define WRITE(id, version)                                                                               \
	"PUT /us/properties/7 HTTP/1.1\r\nHost: x\r\nX-Request-ID: " id "\r\nContent-Length: 23\r\n\r\n" \
	"{\"price\":5,\"version\":" version "}"

int setup(void **state); // room for 8 connections and 4 waiting requests
int setup_for(void **state, int connections, int queue, int shared_fd);
int teardown(void **state);
// Requests that begin from now on use these handlers.
void use_program(struct world *w, const char *get, const char *put);
void step(struct world *w); // a few turns
struct pl_listener_stats stats_of(const struct world *w);

// A client. Its socket is non-blocking; each call turns the loop.
int dial(struct world *w); // or -1
void say(struct world *w, int fd, const char *text);
int ask(struct world *w, const char *text);
// What has arrived so far, until nothing more arrives; "" for nothing. *closed_r:
// whether the connection has ended.
const char *hear(struct world *w, int fd, bool *closed_r);
// Turns the loop until the connection is closed, for at most this long. Returns what
// arrived, or NULL if it was not closed.
const char *hear_to_end(struct world *w, int fd, int64_t within_us);
int count(const char *text, const char *what);
