// See server.h.
#include "db/server.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define SECOND        INT64_C(1000000)
#define PATIENCE_US   (2 * SECOND)
#define PATIENCE_MAX  (300 * SECOND)
#define REMEMBERED_US (600 * SECOND) // a return after this time is not part of a series
#define SOURCES_MAX   16             // a daemon has one; plist-admin never asks

struct server_source {
	uint64_t source; // 0: this place is free
	struct pl_server newest, former;
	int64_t patience_us, moved_us, returned_us; // 0: never
};

static struct {
	pthread_mutex_t lock;
	struct server_source each[SOURCES_MAX];
	int next; // the place to be taken when all are in use
	struct pl_log_limit limit;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

void pl_server_init(struct pl_server *server, const char *dsn, const char *dsn_file)
{
	char text[1024];
	uint64_t hash = UINT64_C(14695981039346656037); // FNV-1a

	for (const char *c = dsn_file ? dsn_file : pl_log_redact_dsn(dsn, text, sizeof(text)); *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	*server = (struct pl_server){ .source = hash };
}

static struct server_source *find(uint64_t source)
{
	for (int i = 0; i < SOURCES_MAX; i++)
		if (seen.each[i].source == source)
			return &seen.each[i];
	return NULL;
}

static struct server_source *make(uint64_t source)
{
	struct server_source *place = find(0);

	if (!place)
		place = &seen.each[seen.next++ % SOURCES_MAX];
	*place = (struct server_source){ .source = source, .patience_us = PATIENCE_US };
	return place;
}

static bool within(int64_t at_us, int64_t us)
{
	return at_us > 0 && pl_mono_us() - at_us < us;
}

static bool is_at(const struct pl_server *server, const struct pl_server *other)
{
	return strcmp(server->name, other->name) == 0;
}

static void move(struct server_source *source, const struct pl_server *server)
{
	bool returns = is_at(server, &source->former) && within(source->moved_us, REMEMBERED_US);

	if (!returns)
		source->patience_us = PATIENCE_US;
	else if (source->patience_us < PATIENCE_MAX)
		source->patience_us *= 2;
	source->moved_us = pl_mono_us();
	if (returns)
		source->returned_us = source->moved_us;
	source->former = source->newest;
	if (pl_log_limit_ok(&seen.limit, 10 * SECOND))
		pl_notice("database: %s%s; sessions on the former one are replaced", PL_SERVER_MOVED,
		          returns ? ", one that they had just left (which servers does the name in the "
		                    "connection string stand for?)"
		                  : "");
}

void pl_server_note(const struct pl_server *server)
{
	struct server_source *source;

	if (!server->name[0])
		return;
	pthread_mutex_lock(&seen.lock);
	source = find(server->source);
	if (!source)
		source = make(server->source);
	else if (!is_at(server, &source->newest))
		move(source, server);
	source->newest = *server;
	pthread_mutex_unlock(&seen.lock);
}

bool pl_server_is_former(const struct pl_server *server, int64_t since_us)
{
	const struct server_source *source;
	bool is;

	pthread_mutex_lock(&seen.lock);
	source = find(server->source);
	is = server->name[0] && source && !is_at(server, &source->newest) &&
	     pl_mono_us() - since_us >= source->patience_us;
	pthread_mutex_unlock(&seen.lock);
	return is;
}

bool pl_server_alternates(void)
{
	bool does = false;

	pthread_mutex_lock(&seen.lock);
	for (int i = 0; i < SOURCES_MAX; i++)
		does |= within(seen.each[i].returned_us, REMEMBERED_US);
	pthread_mutex_unlock(&seen.lock);
	return does;
}
