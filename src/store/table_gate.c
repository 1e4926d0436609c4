// Which resources take no writes: see table_gate.h.
#include "store/table_gate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"

struct closed {
	char *resource, *why;
	struct closed *next;
};

struct pl_table_gate {
	atomic_int n; // of the list, so that an open gate costs no lock
	pthread_mutex_t lock;
	struct closed *list;
};

struct pl_table_gate *pl_table_gate_new(void)
{
	struct pl_table_gate *gate = pl_calloc(1, sizeof(*gate));

	pthread_mutex_init(&gate->lock, NULL);
	return gate;
}

static struct closed *find(const struct pl_table_gate *gate, const char *resource)
{
	struct closed *closed;

	LL_FOREACH (gate->list, closed)
		if (strcmp(closed->resource, resource) == 0)
			return closed;
	return NULL;
}

static void drop(struct pl_table_gate *gate, struct closed *closed)
{
	LL_DELETE(gate->list, closed);
	atomic_fetch_sub(&gate->n, 1);
	free(closed->resource);
	free(closed->why);
	free(closed);
}

void pl_table_gate_free(struct pl_table_gate **gate_p)
{
	struct pl_table_gate *gate = *gate_p;

	if (!gate)
		return;
	*gate_p = NULL;
	while (gate->list)
		drop(gate, gate->list);
	pthread_mutex_destroy(&gate->lock);
	free(gate);
}

static struct closed *add(struct pl_table_gate *gate, const char *resource)
{
	struct closed *closed = pl_calloc(1, sizeof(*closed));

	closed->resource = pl_strdup(resource);
	LL_PREPEND(gate->list, closed);
	atomic_fetch_add(&gate->n, 1);
	return closed;
}

bool pl_table_gate_set(struct pl_table_gate *gate, const char *resource, const char *why)
{
	struct closed *closed;
	bool same;

	pthread_mutex_lock(&gate->lock);
	closed = find(gate, resource);
	same = closed && why ? strcmp(closed->why, why) == 0 : !closed && !why;
	if (!same && !why) {
		drop(gate, closed);
	} else if (!same) {
		if (!closed)
			closed = add(gate, resource);
		free(closed->why);
		closed->why = pl_strdup(why);
	}
	pthread_mutex_unlock(&gate->lock);
	return !same;
}

void pl_table_gate_keep(struct pl_table_gate *gate, const struct pl_config *config)
{
	struct closed *closed, *next;

	pthread_mutex_lock(&gate->lock);
	LL_FOREACH_SAFE (gate->list, closed, next)
		if (!pl_config_resource(config, closed->resource))
			drop(gate, closed);
	pthread_mutex_unlock(&gate->lock);
}

bool pl_table_gate_is_closed(struct pl_table_gate *gate, const char *resource, struct pl_error *err)
{
	const struct closed *closed;

	if (!gate || atomic_load_explicit(&gate->n, memory_order_relaxed) == 0)
		return false;
	pthread_mutex_lock(&gate->lock);
	closed = find(gate, resource);
	if (closed && err) {
		pl_error_set(err, PL_EUNAVAIL, "writes to %s are refused in this region: %s", resource,
		             closed->why);
		strcpy(err->sqlstate, PL_TABLE_GATE_STATE);
	}
	pthread_mutex_unlock(&gate->lock);
	return closed != NULL;
}
