// Reads a batch's messages as events, before the database is involved.
//
// Beside apply/batch. Threads: the batch's.
#include "apply/batch_private.h"

#include "apply/trust.h"
#include "record/edge.h"

static bool is_own(const struct pl_message *message, const char *region)
{
	const struct pl_message_header *h = message->headers;
	size_t len = strlen(region);

	for (int i = 0; i < message->nheaders; i++)
		if (strcmp(h[i].name, "plist-origin") == 0)
			return h[i].value && pl_vector_region_len(h[i].value, h[i].len) == len &&
			       memcmp(h[i].value, region, len) == 0;
	return false;
}

// A write of this region that another region republished. It is read like an event of
// another region, and applied if this database has lost it.
static bool is_returned(const struct pl_message *message, const struct pl_apply_tools *tools)
{
	char by[PL_REGION_MAX + 1];

	return pl_event_republished_by(message, by) && strcmp(by, tools->region->name) != 0 &&
	       pl_edge_name_known(tools->config, by);
}

// The configured columns would truncate a value of the event.
static const struct refusal *unfit(struct pl_arena *arena, const struct pl_event *event)
{
	struct refusal *refusal;

	if (!event->unfit)
		return NULL;
	refusal = pl_arena_alloc(arena, sizeof(*refusal));
	refusal->reason = event->unfit;
	return refusal;
}

// What this region writes has headers, so a foreign event is never our own; it is also
// applied in the region that it names.
void pl_apply_batch_read_one(struct reading *r, const struct pl_apply_tools *tools, struct item *item)
{
	const struct pl_message *m = item->message;
	const struct pl_resource *resource = pl_config_resource_of_topic(tools->config, m->topic);
	bool own = is_own(m, tools->region->name), returned = own && is_returned(m, tools);
	struct pl_event *event;
	struct pl_error err = { 0 };

	item->numbers = pl_sequences_numbers(m, tools->config, tools->region->name);
	own = own && !m->unsure && !returned;
	if (!resource) {
		item->error = "no resource of the configuration has this topic";
	} else if (own && pl_event_own_dot(m, &item->id, &item->own) == 0) {
		item->resource = resource;
		r->nown++; // to be confirmed by pl_apply_batch_check_own
		return;
	} else if (pl_event_decode(r->arena, resource, m, &event, &err) < 0 ||
	           pl_trust_event(r->arena, tools->config, event, m->broker_time_us, pl_now_us(), &err) < 0) {
		item->error = pl_arena_strdup(r->arena, err.text);
	} else {
		event->returned = returned;
		item->event = event;
		item->refusal = unfit(r->arena, event);
		r->nevents++;
	}
	r->nerrors += item->error != NULL;
}

static void read_messages(struct reading *r, const struct pl_apply_tools *tools,
                          const struct pl_message *messages, int n)
{
	if (n > r->items_cap) {
		r->items_cap = n > 2 * r->items_cap ? n : 2 * r->items_cap;
		r->items = pl_realloc(r->items, sizeof(r->items[0]) * (size_t)r->items_cap);
	}
	for (int i = 0; i < r->nitems; i++) // the array may have moved
		r->items[i].message = &messages[i];
	for (; r->nitems < n; r->nitems++) {
		r->items[r->nitems] = (struct item){ .message = &messages[r->nitems] };
		pl_apply_batch_read_one(r, tools, &r->items[r->nitems]);
	}
}

void pl_apply_batch_read(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                         const struct pl_message *messages, int n)
{
	read_messages(&batch->now, tools, messages, n);
}

void pl_apply_batch_read_ahead(struct pl_apply_batch *batch, const struct pl_apply_tools *tools,
                               const struct pl_message *messages, int n)
{
	read_messages(&batch->ahead, tools, messages, n);
}
