// Turns the store's outcomes into problems: a status, a title and a sentence. No other
// file does; http/problem prints the result. The titles are part of the HTTP contract.
//
// Threads: any; all memory is the caller's arena.
#include "script/exchange.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "record/edge.h"
#include "store/table_gate.h"

#define RETRY_S 1 // Retry-After of a failure that may pass in a moment

struct pl_problem *pl_exchange_problem_new(struct pl_arena *arena, int status, const char *title)
{
	struct pl_problem *problem = pl_arena_alloc(arena, sizeof(*problem));

	problem->status = status;
	problem->title = title;
	problem->retryable = -1;
	return problem;
}

static struct pl_problem *make(struct pl_arena *arena, int status, const char *title, const char *detail)
{
	struct pl_problem *problem = pl_exchange_problem_new(arena, status, title);

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

// A table, a column, a function or a right is missing: no request can be served from the
// region's database.
static bool lacks_schema(const struct pl_error *err)
{
	return err->code == PL_EINTERNAL && strncmp(err->sqlstate, "42", 2) == 0;
}

bool pl_exchange_executes_nothing(const struct pl_error *err)
{
	return err->code == PL_EBUSY || err->code == PL_EUNAVAIL || err->code == PL_ETIMEOUT ||
	       err->code == PL_ESTOPPED || err->code == PL_EBEHIND || lacks_schema(err);
}

static struct pl_problem *unavailable(struct pl_arena *arena, const char *detail)
{
	struct pl_problem *problem = retry(arena, 503, "Service unavailable", detail);

	problem->not_executed = true;
	return problem;
}

// Makes a sentence of a clause.
static char *sentence(struct pl_arena *arena, const char *clause, const char *end)
{
	char *text = pl_arena_printf(arena, "%s%s", clause, end);

	text[0] = (char)toupper((unsigned char)text[0]);
	return text;
}

// store/write_task keeps PostgreSQL's own texts out of err->text.
static struct pl_problem *unknown_outcome(struct pl_arena *arena, const struct pl_error *err,
                                          const struct pl_route *route)
{
	const char *title =
		pl_arena_printf(arena, "outcome unknown, retry with the same %s", id_header(route));
	struct pl_problem *problem = make(
		arena, 504, title,
		sentence(arena, err->text, ". A retry with the same id executes the write at most once."));

	problem->retryable = 1;
	return problem;
}

// The sentence for SQLSTATEs that say more than our own codes.
static const char *cause_of(const struct pl_error *err)
{
	static const struct {
		const char *state, *cause;
	} causes[] = {
		{ "53100", "The database has no disk space left; nothing was written." },
		{ "53200", "The database is out of memory; nothing was written." },
		{ "53300", "The database accepts no more connections; nothing was written." },
		{ "55P03", "Another transaction holds a lock on the record; nothing was written." },
		{ "57014", "The database cancelled the statement at its time limit; nothing was written." },
	};

	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (strcmp(causes[i].state, err->sqlstate) == 0)
			return causes[i].cause;
	return err->code == PL_ETIMEOUT ? "The database did not answer in time; nothing was written."
	                                : "The database is unavailable; nothing was written.";
}

static const struct pl_problem *not_ready(struct pl_arena *arena, const struct pl_error *err)
{
	static struct pl_log_limit limit;

	if (pl_log_limit_ok(&limit, 10000000))
		pl_err("answered 503: the database lacks a table, column, function or right; run "
		       "plist-admin migrate, or grant the right, see plist-security(7): %s, SQLSTATE %s",
		       err->text, err->sqlstate);
	return unavailable(arena,
	                   "The database of this region is not ready for this server; nothing was written.");
}

// The write was committed, but its record cannot be read back.
static struct pl_problem *unshown(struct pl_arena *arena, const struct pl_error *err)
{
	pl_err("a write was committed, but its record cannot be shown: %s", err->text);
	struct pl_problem *problem = make(
		arena, 500, "Written, but the record cannot be shown",
		"The write was committed. Its record cannot be read back; the cause is in the server's log.");

	problem->retryable = 0;
	return problem;
}

// A frozen database, a standby, a table that takes no writes: the sentence says which.
static bool says_cause(const struct pl_error *err)
{
	return strcmp(err->sqlstate, "25006") == 0 || strcmp(err->sqlstate, PL_TABLE_GATE_STATE) == 0;
}

static const struct pl_problem *of_error(struct pl_arena *arena, const struct pl_error *err,
                                         const struct pl_route *route)
{
	const char *text = pl_arena_strdup(arena, err->text);

	if (lacks_schema(err))
		return not_ready(arena, err);
	switch (err->code) {
	case PL_EINVAL: return make(arena, 400, "Invalid request", text);
	case PL_ENOTFOUND: return make(arena, 404, "Not found", text);
	case PL_ECONFLICT:
		return err->retryable ? unavailable(arena, sentence(arena, text, "."))
		                      : make(arena, 409, "Conflict", text);
	case PL_EBUSY:
		return unavailable(arena, "This server has too many requests waiting; nothing was written.");
	case PL_EUNAVAIL:
		if (says_cause(err))
			return unavailable(arena, sentence(arena, text, "; nothing was written."));
		return unavailable(arena, cause_of(err));
	case PL_ETIMEOUT: return unavailable(arena, cause_of(err));
	case PL_EBEHIND: return unavailable(arena, sentence(arena, text, "; nothing was written."));
	case PL_ESTOPPED: return unavailable(arena, "This server is stopping; nothing was written.");
	case PL_EUNKNOWN: return unknown_outcome(arena, err, route);
	default: // internal causes are logged, not sent; run.c has logged the faults of scripts
		if (err->code != PL_ESCRIPT && err->code != PL_EBUDGET)
			pl_err("answered 500: %s%s%s", err->text, err->sqlstate[0] ? ", SQLSTATE " : "",
			       err->sqlstate);
		return make(arena, 500, "Internal error", "The cause is in the server's log.");
	}
}

const struct pl_problem *pl_exchange_problem_of_error(struct pl_arena *arena, const struct pl_error *err)
{
	return of_error(arena, err, NULL);
}

const struct pl_problem *pl_exchange_problem_not_found(struct pl_arena *arena,
                                                       const struct pl_resource *resource)
{
	struct pl_problem *problem =
		make(arena, 404, pl_arena_printf(arena, "%s not found", resource->title), NULL);

	problem->retryable = 0;
	return problem;
}

const struct pl_problem *pl_exchange_problem_of_faults(struct pl_arena *arena, const struct pl_fault *faults)
{
	struct pl_problem *problem = make(arena, 400, "Invalid request", NULL);
	const char *where = faults->pointer[0] == '/' ? faults->pointer + 1
	                    : faults->pointer[0]      ? faults->pointer
	                                              : "the body";
	int more = 0;

	for (const struct pl_fault *f = faults->next; f; f = f->next)
		more++;
	problem->error = pl_arena_printf(arena, "%s %s", where, faults->detail);
	problem->detail = more == 0 ? problem->error
	                            : pl_arena_printf(arena, "%s; and %d more fault%s, listed in errors",
	                                              problem->error, more, more == 1 ? "" : "s");
	problem->faults = faults;
	problem->retryable = 0;
	return problem;
}

static struct pl_problem *lock_problem(struct pl_arena *arena, const struct pl_write *write, int status,
                                       const char *title, const char *detail)
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
		return lock_problem(
			arena, write, 409, "Conflict: version mismatch",
			write->record ? pl_arena_printf(arena, "Version %d is current, version %d was sent.",
		                                        write->record->version, write->version)
				      : NULL);
	case PL_OUTCOME_ETAG:
		return lock_problem(arena, write, 412, "Precondition failed",
		                    "If-Match does not name the current entity tag.");
	default:
		return lock_problem(
			arena, write, 428, "Precondition required",
			write->op == PL_WRITE_DELETE
				? "Send the version that you expect: ?version= in the query string, or "
				  "If-Match."
				: "Send the version that you expect: the member version of the body, or "
				  "If-Match.");
	}
}

// The record cannot hold another write: see record/edge.h.
static const struct pl_problem *of_edge(struct pl_arena *arena, const struct pl_write *write)
{
	const char *what = write->resource->title;
	const char *detail = pl_arena_printf(
		arena, "The record has reached a limit: %s. It can be read, but not written %s.",
		write->err.text, pl_edge_until(arena, write->resource, write->record, pl_now_us()));

	return lock_problem(arena, write, 409, pl_arena_printf(arena, "%s cannot be written", what), detail);
}

// A fault for each of the columns that is a field: "room, day".
static const struct pl_fault *faults_of(struct pl_arena *arena, const struct pl_resource *resource,
                                        const struct pl_error *err)
{
	const char *detail = err->constraint[0]
	                             ? pl_arena_printf(arena, "violates the constraint %s", err->constraint)
	                             : "is refused by the database";
	struct pl_fault *faults = NULL, **last = &faults;

	for (const char *name = err->columns; *name; name += strspn(name, ", ")) {
		size_t len = strcspn(name, ",");

		if (pl_config_field(resource, name, len) >= 0)
			last = pl_fault_add(arena, last, pl_arena_printf(arena, "/%.*s", (int)len, name),
			                    detail);
		name += len;
	}
	return faults;
}

// The text is PostgreSQL's message, which names constraint and column; its DETAIL, with
// whole rows in it, is in the log.
static const struct pl_problem *of_refusal(struct pl_arena *arena, const struct pl_write *write)
{
	const struct pl_error *err = &write->err;
	bool unnamed = err->columns[0] && !strstr(err->text, err->columns);
	struct pl_problem *problem = make(arena, 400, "Refused by the database",
	                                  pl_arena_printf(arena, "%s%s%s%s", err->text, unnamed ? " (" : "",
	                                                  unnamed ? err->columns : "", unnamed ? ")" : ""));

	problem->retryable = 0;
	problem->faults = faults_of(arena, write->resource, err);
	return problem;
}

// A fault for each of the fields, "room,day".
static const struct pl_fault *faults_of_guard(struct pl_arena *arena, const char *fields, const char *detail)
{
	struct pl_fault *faults = NULL, **last = &faults;

	for (const char *name = fields; *name; name += *name == ',') {
		size_t len = strcspn(name, ",");

		last = pl_fault_add(arena, last, pl_fault_pointer(arena, pl_arena_strndup(arena, name, len)),
		                    detail);
		name += len;
	}
	return faults;
}

// "room", or "room and day", or "room, day and hour".
static const char *list_of(struct pl_arena *arena, const char *fields)
{
	const char *text = "";

	for (const char *name = fields; *name; name += *name == ',') {
		size_t len = strcspn(name, ",");
		bool last = name[len] == '\0';

		text = pl_arena_printf(arena, "%s%s%.*s", text, *text == '\0' ? "" : (last ? " and " : ", "),
		                       (int)len, name);
		name += len;
	}
	return text;
}

// Other records are in the way. Nothing is said about them but that they exist.
static const struct pl_problem *of_guard(struct pl_arena *arena, const struct pl_write *write)
{
	const char *what = write->resource->title, *guard = write->guard, *detail;
	struct pl_problem *problem;

	if (write->outcome == PL_OUTCOME_TAKEN) {
		detail = pl_arena_printf(arena, "Another %s has the same %s.", what, list_of(arena, guard));
		problem = make(arena, 409, "Conflict: value already in use", detail);
		problem->faults = faults_of_guard(arena, guard, "is already in use");
	} else if (write->outcome == PL_OUTCOME_DANGLING) {
		detail = pl_arena_printf(arena, "%s refers to a record that does not exist.", guard);
		problem = make(arena, 409, "Conflict: referenced record not found", detail);
		problem->faults = faults_of_guard(arena, guard, "refers to a record that does not exist");
	} else {
		detail = pl_arena_printf(arena, "%s refers to this record.", guard);
		problem = make(arena, 409, pl_arena_printf(arena, "Conflict: %s is in use", what), detail);
	}
	problem->retryable = 0;
	return problem;
}

static const struct pl_problem *duplicate(struct pl_arena *arena, const struct pl_write *write,
                                          const struct pl_route *route)
{
	const struct pl_remembered *remembered = &write->remembered;
	const char *detail = pl_arena_printf(arena, "This %s has been answered already.", id_header(route));

	if (route && route->on_duplicate == PL_DUPLICATE_REPLAY) // too large to travel
		detail = pl_arena_printf(
			arena,
			"%s The request was executed, and answered %d with %lld bytes; regions tell each "
			"other answers of up to 64 KiB. Only region %s can repeat this one.",
			detail, remembered->status, (long long)remembered->bytes, remembered->elsewhere);
	struct pl_problem *problem = make(arena, 422, "Duplicate request", detail);

	problem->retryable = 0;
	return problem;
}

const struct pl_problem *pl_exchange_problem_of_write(struct pl_arena *arena, const struct pl_write *write,
                                                      const struct pl_route *route)
{
	struct pl_problem *problem;
	const char *detail;

	switch (write->outcome) {
	case PL_OUTCOME_DONE: return NULL;
	case PL_OUTCOME_REMEMBERED:
		return route && route->on_duplicate == PL_DUPLICATE_REPLAY && !write->remembered.elsewhere
		               ? NULL
		               : duplicate(arena, write, route);
	case PL_OUTCOME_REUSED:
		detail = pl_arena_printf(arena, "This %s was sent with a different request before.",
		                         id_header(route));
		problem = make(arena, 422, "Request ID reused with a different request", detail);
		problem->retryable = 0;
		return problem;
	case PL_OUTCOME_RUNNING:
		return retry(arena, 409, "Request in progress",
		             pl_arena_printf(arena, "A request with this %s is still being executed.",
		                             id_header(route)));
	case PL_OUTCOME_NOT_FOUND: return pl_exchange_problem_not_found(arena, write->resource);
	case PL_OUTCOME_EXISTS:
	case PL_OUTCOME_VERSION:
	case PL_OUTCOME_ETAG:
	case PL_OUTCOME_UNLOCKED: return of_lock(arena, write);
	case PL_OUTCOME_EDGE: return of_edge(arena, write);
	case PL_OUTCOME_TAKEN:
	case PL_OUTCOME_DANGLING:
	case PL_OUTCOME_REFERENCED: return of_guard(arena, write);
	case PL_OUTCOME_REFUSED: return of_refusal(arena, write);
	case PL_OUTCOME_FAILED:
		if (write->written)
			return unshown(arena, &write->err);
		return of_error(arena, &write->err, route);
	}
	return make(arena, 500, "Internal error", NULL);
}
