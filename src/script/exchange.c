// Outcomes become problems: the one place where what the store says is turned into a status, a title and a sentence.
//
// Stands between record/store and http/problem, which prints it. The titles are part of the HTTP contract.
// Threads: any; all memory is the caller's arena.
#include "script/exchange.h"

#include <string.h>

#include "base/log.h"

#define RETRY_S 1 // Retry-After of what may be better in a moment

struct pl_problem *pl_problem_new(struct pl_arena *arena, int status, const char *title)
{
	struct pl_problem *problem = pl_arena_alloc(arena, sizeof *problem);

	problem->status = status;
	problem->title = title;
	problem->retryable = -1;
	return problem;
}

static struct pl_problem *make(struct pl_arena *arena, int status, const char *title, const char *detail)
{
	struct pl_problem *problem = pl_problem_new(arena, status, title);

	problem->detail = detail;
	return problem;
}

static struct pl_problem *retry(struct pl_arena *arena, int status, const char *title, const char *detail)
{
	struct pl_problem *problem = make(arena, status, title, detail);

	problem->retryable = 1;
	problem->retry_after_s = RETRY_S;
	return problem;
}

static const char *id_header(const struct pl_route *route)
{
	return route && route->id_header ? route->id_header : "X-Request-ID";
}

static struct pl_problem *unavailable(struct pl_arena *arena, const char *detail)
{
	return retry(arena, 503, "Service unavailable", detail);
}

static struct pl_problem *unknown_outcome(struct pl_arena *arena, const struct pl_route *route)
{
	const char *title = pl_arena_printf(arena, "outcome unknown, retry with the same %s", id_header(route));
	struct pl_problem *problem = make(arena, 504, title,
	                                  "The database was lost at the moment of the commit: the write may or may not have "
	                                  "happened. A retry with the same id does it at most once.");

	problem->retryable = 1;
	return problem;
}

static const struct pl_problem *of_error(struct pl_arena *arena, const struct pl_error *err, const struct pl_route *route)
{
	const char *text = pl_arena_strdup(arena, err->text);

	switch (err->code) {
	case PL_EINVAL:
		return make(arena, 400, "Invalid request", text);
	case PL_ENOTFOUND:
		return make(arena, 404, "Not found", text);
	case PL_ECONFLICT:
		return make(arena, 409, "Conflict", text);
	case PL_EBUSY:
		return unavailable(arena, "Too many requests are waiting; nothing was done.");
	case PL_EUNAVAIL:
		return unavailable(arena, "The database is away; nothing was done.");
	case PL_ETIMEOUT:
		return unavailable(arena, "The database did not answer in time; nothing was done.");
	case PL_ESTOPPED:
		return unavailable(arena, "This server is stopping; nothing was done.");
	case PL_EUNKNOWN:
		return unknown_outcome(arena, route);
	default: // what went wrong inside is for the log, not for clients; run.c has logged what a script did wrong
		if (err->code != PL_ESCRIPT && err->code != PL_EBUDGET)
			pl_err("answered 500: %s%s%s", err->text, err->sqlstate[0] ? ", SQLSTATE " : "", err->sqlstate);
		return make(arena, 500, "Internal error", "The cause is in the server's log.");
	}
}

const struct pl_problem *pl_problem_of_error(struct pl_arena *arena, const struct pl_error *err)
{
	return of_error(arena, err, NULL);
}

const struct pl_problem *pl_problem_not_found(struct pl_arena *arena, const struct pl_resource *resource)
{
	struct pl_problem *problem = make(arena, 404, pl_arena_printf(arena, "%s not found", resource->title), NULL);

	problem->retryable = 0;
	return problem;
}

const struct pl_problem *pl_problem_of_faults(struct pl_arena *arena, const struct pl_fault *faults)
{
	struct pl_problem *problem = make(arena, 400, "Invalid request", NULL);
	const char *where = faults->pointer[0] == '/' ? faults->pointer + 1 : faults->pointer[0] ? faults->pointer : "the body";
	int more = 0;

	for (const struct pl_fault *f = faults->next; f; f = f->next)
		more++;
	problem->error = pl_arena_printf(arena, "%s %s", where, faults->detail);
	problem->detail = more == 0 ? problem->error
	                : pl_arena_printf(arena, "%s; and %d more fault%s, listed in errors", problem->error, more,
	                                  more == 1 ? "" : "s");
	problem->faults = faults;
	problem->retryable = 0;
	return problem;
}

static struct pl_problem *lock_problem(struct pl_arena *arena, const struct pl_write *write, int status, const char *title,
                                       const char *detail)
{
	struct pl_problem *problem = make(arena, status, title, detail);

	problem->current = write->record;
	problem->retryable = 0;
	return problem;
}

static const struct pl_problem *of_lock(struct pl_arena *arena, const struct pl_write *write)
{
	const char *what = write->resource->title;

	switch (write->outcome) {
	case PL_OUTCOME_EXISTS:
		return lock_problem(arena, write, 409, pl_arena_printf(arena, "%s already exists", what),
		                    pl_arena_printf(arena, "The id %lld is taken.", (long long)write->id));
	case PL_OUTCOME_VERSION:
		return lock_problem(arena, write, 409, "Conflict: version mismatch",
		                    write->record ? pl_arena_printf(arena, "Version %d is current, version %d was sent.",
		                                                    write->record->version,
		                                                    write->version)
		                                  : NULL);
	case PL_OUTCOME_ETAG:
		return lock_problem(arena, write, 412, "Precondition failed", "If-Match does not name the current entity tag.");
	default:
		return lock_problem(arena, write, 428, "Precondition required",
		                    write->op == PL_WRITE_DELETE
		                            ? "Say which version this is about: ?version= in the query string, or If-Match."
		                            : "Say which version this is about: the member version of the body, or If-Match.");
	}
}

const struct pl_problem *pl_problem_of_write(struct pl_arena *arena, const struct pl_write *write, const struct pl_route *route)
{
	struct pl_problem *problem;

	switch (write->outcome) {
	case PL_OUTCOME_DONE:
		return NULL;
	case PL_OUTCOME_REMEMBERED:
		if (route && route->on_duplicate == PL_DUPLICATE_REPLAY)
			return NULL;
		problem = make(arena, 422, "Duplicate request",
		               pl_arena_printf(arena, "This %s has been answered already.", id_header(route)));
		problem->retryable = 0;
		return problem;
	case PL_OUTCOME_REUSED:
		problem = make(arena, 422, "Request ID reused with a different request",
		               pl_arena_printf(arena, "This %s came with another request before; give each request its own.",
		                               id_header(route)));
		problem->retryable = 0;
		return problem;
	case PL_OUTCOME_RUNNING:
		return retry(arena, 409, "Request in progress",
		             pl_arena_printf(arena, "A request with this %s is being worked on.", id_header(route)));
	case PL_OUTCOME_NOT_FOUND:
		return pl_problem_not_found(arena, write->resource);
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_VERSION:
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_UNLOCKED:
		return of_lock(arena, write);
	case PL_OUTCOME_REFUSED:
		problem = make(arena, 400, "Refused by the database", pl_arena_strdup(arena, write->err.text));
		problem->retryable = 0;
		return problem;
	case PL_OUTCOME_FAILED:
		return of_error(arena, &write->err, route);
	}
	return make(arena, 500, "Internal error", NULL);
}
