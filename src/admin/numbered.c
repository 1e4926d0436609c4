// See numbered.h.
#include "admin/numbered.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/cell.h"
#include "admin/messages.h"
#include "admin/pages.h"
#include "base/clock.h"

#define LOOK_US       INT64_C(200000) // between two looks at what became of a retry
#define DETAILS_BYTES INT64_C(16777216)

const char *pl_numbered_text(char text[24], int64_t number)
{
	snprintf(text, 24, "%" PRId64, number);
	return text;
}

static struct pl_table *find(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                             const struct pl_numbered *kind, const char *sql, int64_t number)
{
	struct pl_table *table = pl_table_new(kind->table, kind->columns);
	char text[24];
	const char *params[] = { pl_numbered_text(text, number) };

	pl_region_sessions_open(invocation, sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions->n; i++) {
		PGresult *result = pl_region_sessions_query(&sessions->each[i], sql, 1, params);
		kind->add_rows(table, &sessions->each[i], result);
		PQclear(result);
	}
	return table;
}

void pl_numbered_hold(const struct pl_invocation *invocation, struct pl_table *table)
{
	pl_table_hold(table, invocation->json ? DETAILS_BYTES : 0);
}

void pl_numbered_say_left_out(const struct pl_invocation *invocation, const struct pl_table *table,
                              const char *show)
{
	int n = pl_table_left_out(table);

	if (n > 0 && invocation->json)
		pl_fail("the long texts of %d rows are left out (null), since all of them need more than 16 "
		        "MiB; see 'plist-admin %s'",
		        n, show);
}

struct numbered_listing {
	const struct pl_numbered *kind;
	struct pl_table *table;
	const struct pl_region_session *session;
};

static void add_page(void *arg, const PGresult *page)
{
	struct numbered_listing *listing = arg;

	listing->kind->add_rows(listing->table, listing->session, page);
}

int pl_numbered_list(struct pl_invocation *invocation, const struct pl_numbered *kind, const char *order,
                     const char *rows)
{
	struct pl_region_sessions sessions;
	int rc = pl_invocation_regions(invocation);

	if (rc)
		return rc;
	struct pl_table *table = pl_table_new(kind->table, kind->columns);
	char limit[24];
	const char *params[] = { pl_numbered_text(limit, pl_invocation_number(invocation, "limit", 50)) };
	pl_numbered_hold(invocation, table);
	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < sessions.n; i++) {
		struct numbered_listing listing = { kind, table, &sessions.each[i] };
		pl_pages_read(&sessions.each[i],
		              &(struct pl_pages){ order, 1, params, rows, add_page, &listing });
	}
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	pl_table_print(invocation, table, rc == PL_EXIT_YES ? kind->none : NULL);
	pl_numbered_say_left_out(invocation, table, kind->show);
	pl_table_free(&table);
	pl_region_sessions_close(&sessions);
	return rc;
}

int pl_numbered_show(struct pl_invocation *invocation, const struct pl_numbered *kind, const char *sql)
{
	const struct pl_region *region;
	struct pl_region_sessions sessions;
	int64_t id;
	int rc = pl_invocation_regions(invocation);

	if (!rc)
		rc = pl_region_sessions_parse_id(invocation, invocation->args[0], &region, &id);
	if (rc)
		return rc;
	pl_invocation_only(invocation, region);
	struct pl_table *table = find(invocation, &sessions, kind, sql, id);
	rc = pl_region_sessions_exit(&sessions, PL_EXIT_YES);
	bool missing = rc == PL_EXIT_YES && pl_table_rows(table) == 0;
	pl_table_print_cards(invocation, table, missing ? kind->missing : NULL);
	rc = missing ? PL_EXIT_NO : rc;
	pl_table_free(&table);
	pl_region_sessions_close(&sessions);
	return rc;
}

int pl_numbered_names(struct pl_invocation *invocation, struct pl_numbered_names *names_r)
{
	size_t room = (size_t)invocation->nargs + 1;
	int rc = pl_invocation_regions(invocation);

	names_r->all = false;
	names_r->n = invocation->nargs;
	names_r->regions = pl_arena_alloc(invocation->arena, room * sizeof(names_r->regions[0]));
	names_r->ids = pl_arena_alloc(invocation->arena, room * sizeof(names_r->ids[0]));
	for (int i = 0; rc == 0 && i < invocation->nargs; i++) {
		const struct pl_region **region = &names_r->regions[i];

		rc = pl_region_sessions_parse_id(invocation, invocation->args[i], region, &names_r->ids[i]);
		if (rc == 0 && !*region && invocation->nregions == 1)
			*region = invocation->regions[0];
		if (rc == 0 && !*region) {
			pl_fail("%s of which region? Write %s/%s, or use --region", invocation->args[i],
			        invocation->regions[0]->name, invocation->args[i]);
			rc = PL_EXIT_USAGE;
		}
	}
	return rc;
}

int pl_numbered_names_or_all(struct pl_invocation *invocation, const char *many,
                             struct pl_numbered_names *names_r)
{
	int rc = pl_numbered_names(invocation, names_r);

	if (rc)
		return rc;
	names_r->all = pl_invocation_has(invocation, "all");
	if (names_r->all != (names_r->n > 0))
		return 0;
	pl_fail("name one or more %s as REGION/NUMBER, or use --all", many);
	return PL_EXIT_USAGE;
}

static struct pl_region_session *session_of(struct pl_region_sessions *sessions,
                                            const struct pl_region *region)
{
	for (int i = 0; i < sessions->n; i++)
		if (sessions->each[i].region == region)
			return &sessions->each[i];
	return NULL;
}

int pl_numbered_each(struct pl_invocation *invocation, const struct pl_numbered_names *names,
                     int (*act)(struct pl_invocation *invocation, struct pl_region_session *session,
                                int64_t id, const void *arg),
                     const void *arg)
{
	struct pl_region_sessions sessions;
	int answer = PL_EXIT_YES;

	pl_region_sessions_open(invocation, &sessions, pl_invocation_timeout_us(invocation));
	for (int i = 0; i < (names->all ? sessions.n : names->n); i++) {
		struct pl_region_session *session =
			names->all ? &sessions.each[i] : session_of(&sessions, names->regions[i]);

		if (session && session->up &&
		    act(invocation, session, names->all ? 0 : names->ids[i], arg) != PL_EXIT_YES)
			answer = PL_EXIT_NO;
	}
	int rc = pl_region_sessions_exit(&sessions, answer);
	pl_region_sessions_close(&sessions);
	return rc;
}

// ---- retry

// Rows of a region that were made due together.
struct retried {
	int64_t id; // 0: all of the region
	char at[64];
	int64_t n, waiting, left;
};

// False: the database failed, which has been said.
static bool make_due(struct pl_region_session *session, const struct pl_numbered_retry *kind,
                     struct retried *r)
{
	char text[24];
	const char *params[] = { pl_numbered_text(text, r->id) };
	PGresult *result = pl_region_sessions_query(session, kind->make_due, 1, params);

	if (!result)
		return false;
	r->n = r->waiting = r->left = atoll(PQcmdTuples(result));
	PQclear(result);
	result = pl_region_sessions_query(session, "SELECT clock_timestamp()", 0, NULL);
	if (!result)
		return false;
	snprintf(r->at, sizeof(r->at), "%s", pl_cell(result, 0, 0));
	PQclear(result);
	return true;
}

static bool look(struct pl_region_session *session, const struct pl_numbered_retry *kind, struct retried *r)
{
	char text[24];
	const char *params[] = { pl_numbered_text(text, r->id), r->at };
	PGresult *result = pl_region_sessions_query(session, kind->look, 2, params);

	if (!result)
		return false;
	r->waiting = pl_cell_int(result, 0, 0, 0);
	r->left = pl_cell_int(result, 0, 1, 0);
	PQclear(result);
	return true;
}

// Waits until the daemon has tried them all, or has tried none for as long as the
// timeout. False: the database failed.
static bool wait_for(struct pl_invocation *invocation, struct pl_region_session *session,
                     const struct pl_numbered_retry *kind, struct retried *r)
{
	int64_t timeout_us = pl_invocation_timeout_us(invocation), until_us = pl_mono_us() + timeout_us;

	while (r->waiting > 0 && pl_mono_us() < until_us) {
		int64_t before = r->waiting;

		if (!look(session, kind, r))
			return false;
		if (r->waiting < before)
			until_us = pl_mono_us() + timeout_us;
		if (r->waiting > 0)
			poll(NULL, 0, (int)(LOOK_US / 1000));
	}
	return true;
}

static int say_outcome(const char *region, const struct pl_numbered_retry *kind, const struct retried *r)
{
	if (r->n == 0)
		pl_say("%s: no %s", region, kind->many);
	else if (r->waiting == r->n)
		pl_fail("%s: no daemon of the region has retried %s yet; it will when it runs", region,
		        r->n == 1 ? "it" : "them");
	else if (r->waiting > 0)
		pl_fail("%s: the daemon has retried %" PRId64 " of %" PRId64
		        " %s and then stopped; see its log",
		        region, r->n - r->waiting, r->n, kind->many);
	else if (r->left > 0)
		pl_fail("%s: %" PRId64 " of %" PRId64 " %s %s %s; see 'plist-admin %s --region %s'", region,
		        r->left, r->n, kind->many, r->left == 1 ? "is" : "are", kind->again, kind->list,
		        region);
	else
		pl_say("%s: %" PRId64 " %s applied", region, r->n, r->n == 1 ? kind->one : kind->many);
	return r->waiting || r->left ? PL_EXIT_NO : PL_EXIT_YES;
}

static int retry_in(struct pl_invocation *invocation, struct pl_region_session *session, int64_t id,
                    const void *arg)
{
	const struct pl_numbered_retry *kind = arg;
	struct retried r = { .id = id };

	if (!make_due(session, kind, &r))
		return PL_EXIT_NO;
	if (r.n == 0 && id) {
		pl_fail("%s has no %s %" PRId64, session->region->name, kind->one, id);
		return PL_EXIT_NO;
	}
	return wait_for(invocation, session, kind, &r) ? say_outcome(session->region->name, kind, &r)
	                                               : PL_EXIT_NO;
}

int pl_numbered_retry(struct pl_invocation *invocation, const struct pl_numbered_retry *kind)
{
	struct pl_numbered_names names;
	int rc = pl_numbered_names_or_all(invocation, kind->many, &names);

	return rc ? rc : pl_numbered_each(invocation, &names, retry_in, kind);
}
