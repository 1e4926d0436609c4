// See guard.h.
//
// A key is a hash, so two locks may be one by chance; then a write waits in vain, for a
// moment. Locks are taken in ascending order, before the transaction holds any row, so
// two transactions cannot wait for each other.
#include "store/guard.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

// FNV-1a, of texts that are each ended by a NUL.
static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (size_t i = 0, len = strlen(text); i <= len; i++)
		hash = (hash ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
	return hash;
}

static uint64_t hash_begin(const char *what, const char *resource)
{
	return hash_text(hash_text(UINT64_C(14695981039346656037), what), resource);
}

static int compare(const void *a, const void *b)
{
	const struct pl_guard_lock *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (int)x->shared - (int)y->shared; // an exclusive lock first: it includes the other
}

// Clients choose values, and the hash is not a secret: they must not be able to choose
// one of the locks that plist takes for itself and keeps (integrity, the relay,
// migrations). Those are 32-bit numbers.
static uint64_t apart(uint64_t key)
{
	return (int64_t)key == (int32_t)key ? key ^ UINT64_C(1) << 62 : key;
}

static void add(struct pl_guard *guard, uint64_t key, bool shared, bool value)
{
	key = apart(key);
	guard->locks[guard->n++] = (struct pl_guard_lock){ (int64_t)key, shared, value };
}

int64_t pl_guard_resource_key(const struct pl_resource *resource)
{
	return (int64_t)apart(hash_begin("plist resource", resource->name));
}

void pl_guard_lock_all(struct pl_buf *sql, const struct pl_config *config)
{
	struct pl_buf keys = { 0 };

	for (int i = 0; i < config->nresources; i++)
		if (pl_config_is_guarded(&config->resources[i]))
			pl_buf_printf(&keys, "%s%lld", keys.len ? "," : "",
			              (long long)pl_guard_resource_key(&config->resources[i]));
	if (keys.len)
		pl_buf_printf(sql,
		              "SELECT count(pg_advisory_xact_lock(key)) FROM (SELECT key FROM "
		              "unnest('{%s}'::bigint[]) AS key ORDER BY key OFFSET 0) AS k",
		              keys.data);
	pl_buf_fini(&keys);
}

static bool sets(const struct pl_write *write, int field)
{
	return write->op == PL_WRITE_CREATE || (write->op == PL_WRITE_UPDATE && write->changes.set[field]);
}

static const char *value_of(const struct pl_write *write, int field)
{
	return write->changes.set[field] ? write->changes.values[field] : NULL;
}

static void add_unique(struct pl_guard *guard, const struct pl_write *write, const struct pl_unique *unique)
{
	const struct pl_resource *resource = write->resource;
	uint64_t fields = hash_begin("plist unique", resource->name), values;
	bool null = false;
	int n = 0;

	for (int i = 0; i < unique->n; i++) {
		n += sets(write, unique->fields[i]);
		fields = hash_text(fields, resource->fields[unique->fields[i]].name);
	}
	if (n == 0)
		return;
	if (unique->n > 1)
		add(guard, fields, n == unique->n, false);
	values = hash_text(fields, "=");
	for (int i = 0; i < unique->n && n == unique->n; i++) {
		const char *value = value_of(write, unique->fields[i]);

		null |= value == NULL;
		values = hash_text(values, value ? value : "");
	}
	if (n == unique->n && !null)
		add(guard, values, false, true);
}

static void add_record(struct pl_guard *guard, const char *resource, const char *id, bool shared)
{
	add(guard, hash_text(hash_begin("plist record", resource), id), shared, false);
}

// Leaves one lock of each key.
static void settle(struct pl_guard *guard)
{
	int n = 0;

	qsort(guard->locks, (size_t)guard->n, sizeof(guard->locks[0]), compare);
	for (int i = 0; i < guard->n; i++)
		if (n == 0 || guard->locks[n - 1].key != guard->locks[i].key)
			guard->locks[n++] = guard->locks[i];
	guard->n = n;
}

static void collect(struct pl_guard *guard, const struct pl_write *write)
{
	const struct pl_resource *resource = write->resource;
	char digits[PL_BUF_DIGITS_SIZE];

	if (write->op == PL_WRITE_DELETE) {
		if (resource->referenced)
			add_record(guard, resource->name, pl_buf_digits_i64(digits, write->id), false);
		return;
	}
	for (int i = 0; i < resource->nunique; i++)
		add_unique(guard, write, &resource->uniques[i]);
	for (int i = 0; i < resource->nfields; i++) {
		const char *to = resource->fields[i].references;

		if (to && sets(write, i) && value_of(write, i))
			add_record(guard, to, value_of(write, i), true);
	}
}

void pl_guard_of_write(struct pl_guard *guard_r, struct pl_arena *arena, const struct pl_write *write)
{
	const struct pl_resource *resource = write->resource;
	size_t room = 2 * (size_t)resource->nunique + (size_t)resource->nfields + 2;

	guard_r->n = 0;
	guard_r->locks = NULL;
	if (!pl_config_is_guarded(resource))
		return;
	guard_r->locks = pl_arena_alloc(arena, room * sizeof(guard_r->locks[0]));
	collect(guard_r, write);
	if (guard_r->n > 0)
		add(guard_r, (uint64_t)pl_guard_resource_key(resource), true, false);
	settle(guard_r);
}

// The lock of the same key in `guard`, or NULL.
static const struct pl_guard_lock *find(const struct pl_guard *guard, int64_t key)
{
	int low = 0, high = guard->n;

	while (low < high) {
		int middle = (low + high) / 2;

		if (guard->locks[middle].key == key)
			return &guard->locks[middle];
		if (guard->locks[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

// Whether two writes cannot be in one statement.
static bool excludes(const struct pl_guard *a, const struct pl_guard *b)
{
	for (int i = 0; i < a->n; i++) {
		const struct pl_guard_lock *other = find(b, a->locks[i].key);

		if (other && !(other->shared && a->locks[i].shared))
			return true;
	}
	return false;
}

bool pl_guard_same_value(const struct pl_guard *a, const struct pl_guard *b)
{
	for (int i = 0; i < a->n; i++) {
		const struct pl_guard_lock *other = a->locks[i].value ? find(b, a->locks[i].key) : NULL;

		if (other && other->value)
			return true;
	}
	return false;
}

static void insert(struct pl_guard_union *all, const struct pl_guard_lock *lock)
{
	int at = all->guard.n;

	if (find(&all->guard, lock->key)) // both are shared
		return;
	if (all->guard.n == all->room) {
		all->room = all->room ? 2 * all->room : 64;
		all->guard.locks =
			pl_realloc(all->guard.locks, (size_t)all->room * sizeof(all->guard.locks[0]));
	}
	while (at > 0 && all->guard.locks[at - 1].key > lock->key)
		at--;
	memmove(&all->guard.locks[at + 1], &all->guard.locks[at],
	        (size_t)(all->guard.n - at) * sizeof(all->guard.locks[0]));
	all->guard.locks[at] = *lock;
	all->guard.n++;
}

bool pl_guard_union_add(struct pl_guard_union *all, const struct pl_guard *guard)
{
	if (excludes(guard, &all->guard))
		return false;
	for (int i = 0; i < guard->n; i++)
		insert(all, &guard->locks[i]);
	return true;
}

void pl_guard_union_fini(struct pl_guard_union *all)
{
	free(all->guard.locks);
	memset(all, 0, sizeof(*all));
}

static void add_keys(const struct pl_guard *guard, bool shared, struct pl_buf *buf)
{
	int n = 0;

	pl_buf_addc(buf, '{');
	for (int i = 0; i < guard->n; i++)
		if (guard->locks[i].shared == shared)
			pl_buf_printf(buf, "%s%lld", n++ ? "," : "", (long long)guard->locks[i].key);
	pl_buf_addc(buf, '}');
}

void pl_guard_params(const struct pl_guard *guard, struct pl_buf *exclusive, struct pl_buf *shared)
{
	add_keys(guard, false, exclusive);
	add_keys(guard, true, shared);
}
