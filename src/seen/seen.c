// Session tokens: clients read their own writes, whichever region answers the next
// request.
//
// Each answer to a write carries a token in the header Plist-Session. A request that
// brings tokens is answered by a region only when that region has everything that they
// name. A token names
//
//   positions  one per region: a row of that region's outbox. Everything that was seen
//              is covered by them.
//   records    the last few that were written or read, each with its vector. For these
//              a region need not wait for a position: it has what the token names if its
//              own row's vector covers the named one. So a name must be the latest that
//              was seen of its record. A list, a query, a stored answer and a 404 show
//              records without their vectors: what they may have shown is named no more.
//
// script/run_seen.c waits for what a token names, and notes what a request has seen.
//
// What a position promises
// ------------------------
// A region *has reached* position (us, 120) when it has applied each event of us that has
// the id 120 or a lower one in us's outbox. A write is *covered* by a position of its
// region if the row that it inserted there has that id or a lower one. Then: if a write
// is covered by a position, and a region has reached the position, the region has the
// write.
//
// Ids of rows are not in the order of commits: id 9 may become visible after id 12 was
// published. So no region concludes from row 12 that it has row 9. It relies on what the
// origin's relay says: "every row up to the floor was acknowledged, with these sequence
// numbers". The floor passes an id only when no transaction can still add a row below it
// (relay/outbox.c). A region has reached the floor when it has received those numbers
// without a gap (apply/reached.c). Under this rule the larger of two ids covers what both
// cover, whichever was committed first, so tokens combine by the element-wise maximum.
// The log position of a commit would not be better: it is not known before the commit,
// and a restored or promoted server counts it on another timeline.
//
// Where positions come from
// -------------------------
//   a write    The statement that writes returns the largest id that it inserted into the
//              outbox. The answer shows the record with its vector, which may count other
//              regions' writes; the event of this write carries that vector, and a
//              region that applies it has a row that covers it. So one position is
//              enough.
//   a read     of this region's own writes: the largest id that its outbox has ever had,
//              asked after the read. Of another region's: the largest id of that region
//              of which this one has applied an event, in any partition; all that it
//              could show came by such events, or by events that a third region has
//              published again, which are covered by that region's position.
//
// Both are upper bounds: they may make a region wait for more than was seen, never for
// less. Since positions cover everything, a record that is dropped because the token
// would be too long needs no further care: it costs a wait for the positions.
//
// Lost databases
// --------------
// Ids begin again in a region's new database, under a later generation of the key under
// which it counts its writes (heal/). A position of an earlier generation counts as
// reached as soon as the region publishes under a later one, and all is here that the
// others have published (plist_reach). It publishes only when it has everything back
// that any other region had, which they have published for it; the rest is lost, and no
// wait would bring it back. In the region itself every position counts as reached while
// its database is settled; a database that has lost something is not settled until it
// has been rebuilt. A region that is no longer configured is not waited for:
// `plist-admin region remove` refuses while another one lacks something of it.
//
// Forged and damaged tokens
// -------------------------
// A token contains no secrets and gives no rights. A forged one can only make its own
// client's requests wait, for at most http.session_wait each. So it is not signed; its
// checksum only detects damage. Names are replaced by hashes of 32 bits, since 16 names
// of 32 bytes would not fit. If the hashes of two regions were equal, requests would
// wait for both; no request is answered too early.
//
// tests/model/session.pml is a model of positions, floors, numbers and lost messages,
// which `./run campaign session-model` checks. The check must also find three planted
// faults.
// Threads: any.
#include "seen/seen.h"

#include <string.h>

uint32_t pl_seen_hash(const char *name, size_t len)
{
	uint32_t hash = 2166136261U; // FNV-1a

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)name[i]) * 16777619U;
	return hash;
}

// ---- positions

static void add_position(struct pl_seen *seen, const struct pl_seen_position *position)
{
	struct pl_seen_position *own = seen->positions, *end = own + seen->npositions;

	while (own < end && own->region != position->region)
		own++;
	if (own == end && seen->npositions < PL_REGIONS_MAX)
		seen->positions[seen->npositions++] = *position;
	else if (own < end && (position->generation > own->generation ||
	                       (position->generation == own->generation && position->id > own->id)))
		*own = *position;
}

void pl_seen_add_position(struct pl_seen *seen, const char *region, int64_t generation, int64_t id)
{
	struct pl_seen_position position = { pl_seen_hash(region, strlen(region)), generation, id };

	if (generation > 0 && id > 0)
		add_position(seen, &position);
}

// ---- records

static int32_t count_of(const struct pl_seen_record *record, uint32_t key)
{
	for (int i = 0; i < record->n; i++)
		if (record->counts[i].key == key)
			return record->counts[i].n;
	return 0;
}

static bool covers(const struct pl_seen_record *a, const struct pl_seen_record *b)
{
	for (int i = 0; i < b->n; i++)
		if (count_of(a, b->counts[i].key) < b->counts[i].n)
			return false;
	return true;
}

// Joins the counts. False: there is no room.
static bool join(struct pl_seen_record *into, const struct pl_seen_record *other)
{
	for (int i = 0; i < other->n; i++) {
		int at = 0;

		while (at < into->n && into->counts[at].key != other->counts[i].key)
			at++;
		if (at == PL_SEEN_COUNTS_MAX)
			return false;
		if (at == into->n)
			into->counts[into->n++] = other->counts[i];
		else if (into->counts[at].n < other->counts[i].n)
			into->counts[at].n = other->counts[i].n;
	}
	return true;
}

static struct pl_seen_record *find(const struct pl_seen *seen, uint32_t resource, int64_t id)
{
	for (int i = 0; i < seen->nrecords; i++)
		if (seen->records[i].resource == resource && seen->records[i].id == id)
			return (struct pl_seen_record *)&seen->records[i];
	return NULL;
}

static void remove_record(struct pl_seen *seen, struct pl_seen_record *record)
{
	size_t behind = (size_t)(&seen->records[seen->nrecords] - record) - 1;

	memmove(record, record + 1, behind * sizeof(*record));
	seen->nrecords--;
}

// Puts the record at the head of the list, joined with what the token already says
// about it.
static void add_record(struct pl_seen *seen, const struct pl_seen_record *added)
{
	struct pl_seen_record *known = find(seen, added->resource, added->id), record = *added;

	if (known) {
		bool later = covers(added, known), earlier = covers(known, added);

		record.deleted = later ? added->deleted : earlier && known->deleted;
		if (!join(&record, known))
			record.n = 0;
		remove_record(seen, known);
	}
	if (record.n == 0)
		return;
	if (seen->nrecords == PL_SEEN_RECORDS_MAX)
		seen->nrecords--;
	memmove(&seen->records[1], &seen->records[0], sizeof(seen->records[0]) * (size_t)seen->nrecords);
	seen->records[0] = record;
	seen->nrecords++;
}

static bool hashed(struct pl_seen_record *record_r, const struct pl_vector *vector)
{
	if (vector->n > PL_SEEN_COUNTS_MAX)
		return false;
	record_r->n = vector->n;
	for (int i = 0; i < vector->n; i++) {
		const char *key;

		record_r->counts[i].n = pl_vector_at(vector, i, &key);
		record_r->counts[i].key = pl_seen_hash(key, strlen(key));
	}
	return true;
}

void pl_seen_add_record(struct pl_seen *seen, const char *resource, int64_t id,
                        const struct pl_vector *vector, bool deleted)
{
	struct pl_seen_record record = { .resource = pl_seen_hash(resource, strlen(resource)),
		                         .id = id,
		                         .deleted = deleted };

	if (hashed(&record, vector))
		add_record(seen, &record);
}

void pl_seen_forget(struct pl_seen *seen, const char *resource, int64_t id)
{
	struct pl_seen_record *known = find(seen, pl_seen_hash(resource, strlen(resource)), id);

	if (known)
		remove_record(seen, known);
}

void pl_seen_forget_all(struct pl_seen *seen)
{
	seen->nrecords = 0;
}

void pl_seen_merge(struct pl_seen *seen, const struct pl_seen *other)
{
	for (int i = 0; i < other->npositions; i++)
		add_position(seen, &other->positions[i]);
	for (int i = other->nrecords - 1; i >= 0; i--)
		add_record(seen, &other->records[i]);
}

const struct pl_seen_record *pl_seen_find(const struct pl_seen *seen, const char *resource, int64_t id)
{
	return find(seen, pl_seen_hash(resource, strlen(resource)), id);
}

// If the vector has more entries than the token names, only the named ones matter.
bool pl_seen_covered(const struct pl_seen_record *record, const struct pl_vector *vector)
{
	int32_t counts[PL_SEEN_COUNTS_MAX] = { 0 };

	if (!vector)
		return record->deleted;
	for (int i = 0; i < vector->n; i++) {
		const char *key;
		int32_t n = pl_vector_at(vector, i, &key);
		uint32_t hash = pl_seen_hash(key, strlen(key));

		for (int j = 0; j < record->n; j++)
			if (record->counts[j].key == hash && counts[j] < n)
				counts[j] = n;
	}
	for (int j = 0; j < record->n; j++)
		if (counts[j] < record->counts[j].n)
			return false;
	return true;
}

bool pl_seen_equal(const struct pl_seen_record *record, const struct pl_vector *vector)
{
	struct pl_seen_record other = { 0 };

	return hashed(&other, vector) && covers(&other, record) && covers(record, &other);
}
