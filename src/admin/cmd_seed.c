// plist-admin seed: loads the same initial rows into every region, from files or
// generated.
//
// Writes only to the databases. Nothing is put into the outbox, since every region gets
// identical rows. That is also why no row is refused because of a unique value or a
// reference: the regions would differ. Writes of clients wait until the rows are there
// and are checked against them, and what the rows violate is noted, as for events.
// Invariant: after an interruption, the same command continues where it stopped;
// existing rows are not changed.
#include "admin/commands.h"

#include <ctype.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/cell.h"
#include "admin/format.h"
#include "admin/messages.h"
#include "admin/progress.h"
#include "admin/region_sessions.h"
#include "admin/seed_rows.h"
#include "admin/table.h"
#include "base/buf.h"
#include "base/file.h"
#include "integrity/integrity.h"
#include "store/guard.h"

#define CHUNK    10000 // rows per transaction
#define ROWS_MAX 1000000000
#define FILE_MAX ((size_t)256 << 20) // bytes of a seed file

enum { REGION, RESOURCE, SOURCE, ADDED, ROWS };

// clang-format off
static const struct pl_table_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[SOURCE] = { "source", PL_CELL_TEXT },
	[ADDED] = { "added", PL_CELL_NUMBER },
	[ROWS] = { "rows", PL_CELL_NUMBER },
	{ NULL },
};
// clang-format on

static void add_row(struct pl_table *table, const struct pl_region_session *region_session,
                    const struct pl_resource *resource, const char *source, int64_t before, int64_t after)
{
	pl_table_row(table);
	pl_table_text(table, REGION, region_session->region->name);
	pl_table_text(table, RESOURCE, resource->name);
	pl_table_text(table, SOURCE, source);
	pl_table_number(table, ADDED, after - before);
	pl_table_number(table, ROWS, after);
}

// Queries one number; -1 if the query failed.
static int64_t ask_number(struct pl_region_session *region_session, const char *sql, int nparams,
                          const char *const *params)
{
	PGresult *result = pl_region_sessions_query(region_session, sql, nparams, params);
	int64_t number = result && PQntuples(result) == 1 ? pl_cell_int(result, 0, 0, 0) : -1;
	PQclear(result);
	return number;
}

static int64_t count_rows(struct pl_region_session *region_session, const struct pl_resource *resource)
{
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "SELECT count(*) FROM ");
	pl_seed_rows_add_identifier(&sql, resource->table);
	int64_t count = ask_number(region_session, sql.data, 0, NULL);
	pl_buf_fini(&sql);
	return count;
}

static void do_or_lose(struct pl_region_session *region_session, const char *sql)
{
	struct pl_error err = { 0 };
	if (region_session->up && pl_session_do(region_session->session, sql, &err))
		pl_region_sessions_lost(region_session, &err);
}

static void analyze(struct pl_region_session *region_session, const struct pl_resource *resource)
{
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "ANALYZE ");
	pl_seed_rows_add_identifier(&sql, resource->table);
	do_or_lose(region_session, sql.data);
	pl_buf_fini(&sql);
}

// ---- unique values and references

static void warn_of(void *arg, const struct pl_integrity_noted *noted)
{
	const struct pl_region_session *region_session = arg;
	if (noted->unique)
		pl_warn("%s: %" PRId64 " values of (%s) are shared by several records of %s; see plist-admin "
		        "conflicts list --open --type multiple_unique_conflicts",
		        region_session->region->name, noted->n, noted->fields, noted->resource->name);
	else
		pl_warn("%s: %" PRId64 " records of %s refer by %s to a record that does not exist; see "
		        "plist-admin conflicts list --open --type reference_missing",
		        region_session->region->name, noted->n, noted->resource->name, noted->fields);
}

static void note_violations(struct pl_invocation *invocation, struct pl_region_session *region_session)
{
	struct pl_error err = { 0 };
	if (region_session->up && pl_integrity_note_all(region_session->session, invocation->config, warn_of,
	                                                region_session, &err) < 0)
		pl_region_sessions_lost(region_session, &err);
}

// ---- from files

struct seed_file {
	const char *name;
	struct pl_buf text;
};

struct seed_files {
	int n;
	struct seed_file *each;
};

static int add_file(struct pl_invocation *invocation, struct seed_files *files, const char *name)
{
	files->each = pl_realloc(files->each, (size_t)(files->n + 1) * sizeof(*files->each));
	files->each[files->n] = (struct seed_file){ pl_arena_strdup(invocation->arena, name), { 0 } };
	struct pl_error err;
	struct pl_buf *text = &files->each[files->n++].text;
	int rc = pl_file_read(name, FILE_MAX, text, &err);
	if (rc == 0 && text->len != strlen(text->data))
		rc = pl_error_set(&err, PL_EINVAL, "is not text: it contains NUL bytes");
	if (rc)
		pl_fail("%s: %s", name, err.text);
	return rc;
}

// Whether a name in a text of SQL, starting at `at`, is the target of a statement: INTO
// name, COPY name, UPDATE name.
static bool is_written(const char *text, const char *at, size_t len)
{
	static const char *const verbs[] = { "into", "copy", "update" };
	if (isalnum((unsigned char)at[len]) || at[len] == '_')
		return false;
	while (at > text && strchr("\". \t\n", at[-1]))
		at--;
	if (at - text >= 6 && strncmp(at - 6, "public", 6) == 0) // without its schema
		for (at -= 6; at > text && strchr("\" \t\n", at[-1]);)
			at--;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++) {
		size_t n = strlen(verbs[i]);
		if ((size_t)(at - text) >= n && strncasecmp(at - n, verbs[i], n) == 0)
			return true;
	}
	return false;
}

// Whether the text writes to the table of a resource.
static bool is_about(const struct pl_invocation *invocation, const char *text)
{
	for (int i = 0; i < invocation->config->nresources; i++) {
		const char *table = invocation->config->resources[i].table;
		for (const char *at = text; (at = strstr(at, table)); at += strlen(table))
			if (is_written(text, at, strlen(table)))
				return true;
	}
	return false;
}

// Seeds of another application would fail, or fill a table that nobody asked for.
static int add_default_file(struct pl_invocation *invocation, struct seed_files *files, const char *name)
{
	int rc = add_file(invocation, files, name);
	struct seed_file *file = rc == 0 ? &files->each[files->n - 1] : NULL;
	if (file && !is_about(invocation, file->text.data)) {
		pl_say("%s does not write to any table of this configuration; skipped", name);
		pl_buf_fini(&file->text);
		files->n--;
	}
	return rc;
}

static int add_default_files(struct pl_invocation *invocation, struct seed_files *files)
{
	glob_t found = { 0 };
	char *pattern = pl_arena_printf(invocation->arena, "%s/*_seed.sql", pl_invocation_seeds(invocation));
	int rc = glob(pattern, 0, NULL, &found) ? -1 : 0;
	if (rc)
		pl_fail("there is no %s; name the files with --file, or generate rows with --rows", pattern);
	for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
		rc = add_default_file(invocation, files, found.gl_pathv[i]);
	globfree(&found);
	if (rc == 0 && files->n == 0) {
		pl_fail("no file in %s writes to a table of this configuration; name the files with --file, "
		        "or generate rows with --rows",
		        pattern);
		rc = -1;
	}
	return rc;
}

static int find_files(struct pl_invocation *invocation, struct seed_files *files)
{
	const char *name;
	int rc = 0;
	for (int i = 0; rc == 0 && (name = pl_invocation_nth(invocation, "file", i)); i++)
		rc = add_file(invocation, files, name);
	for (int i = 0; rc == 0 && i < invocation->nargs; i++)
		rc = add_file(invocation, files, invocation->args[i]);
	return rc == 0 && files->n == 0 ? add_default_files(invocation, files) : rc;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

// The statements of a file are one transaction, so a file that fails changes nothing.
static void load_file(struct pl_region_session *region_session, const struct seed_file *file,
                      const struct pl_resource *resource, struct pl_table *table)
{
	struct pl_error err = { 0 };
	int64_t before = count_rows(region_session, resource);
	if (!region_session->up)
		return;
	if (pl_session_do(region_session->session, file->text.data, &err)) {
		pl_error_prefix(&err, "%s", file->name);
		pl_region_sessions_lost(region_session, &err);
		return;
	}
	int64_t after = count_rows(region_session, resource);
	if (region_session->up)
		add_row(table, region_session, resource, base_name(file->name), before, after);
}

// In the same transaction, even if the file begins one.
static void put_locks_first(const struct pl_invocation *invocation, struct pl_buf *text)
{
	struct pl_buf locked = { 0 };
	pl_guard_lock_all(&locked, invocation->config);
	if (locked.len == 0)
		return;
	pl_buf_printf(&locked, ";\n%s", text->data);
	pl_buf_fini(text);
	*text = locked;
}

static int seed_files(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                      const struct pl_resource *resource, struct pl_table *table)
{
	struct seed_files files = { 0 };
	int rc = find_files(invocation, &files) ? PL_EXIT_USAGE : 0;
	if (rc == 0)
		pl_region_sessions_open(invocation, sessions, 0);
	for (int f = 0; rc == 0 && f < files.n; f++)
		put_locks_first(invocation, &files.each[f].text);
	for (int i = 0; rc == 0 && i < sessions->n; i++) {
		for (int f = 0; f < files.n; f++)
			load_file(&sessions->each[i], &files.each[f], resource, table);
		note_violations(invocation, &sessions->each[i]);
		analyze(&sessions->each[i], resource);
	}
	for (int f = 0; f < files.n; f++)
		pl_buf_fini(&files.each[f].text);
	free(files.each);
	return rc;
}

// ---- generated rows

struct making {
	struct pl_region_session *region_session;
	const struct pl_resource *resource;
	struct pl_seed_rows *rows;
	int64_t total;
	int32_t *there; // number of rows that each chunk already has
	int64_t nchunks;
	struct pl_progress progress;
	struct pl_buf lines, sql, locks;
};

static int64_t chunk_size(const struct making *making, int64_t chunk)
{
	int64_t left = making->total - chunk * CHUNK;
	return left < CHUNK ? left : CHUNK;
}

// Counts existing rows by chunk. The rows themselves are the only state, so a run that
// was stopped continues from what it committed.
static int64_t look(struct making *making)
{
	char total[24];
	const char *params[] = { total };
	int64_t sum = 0;
	snprintf(total, sizeof(total), "%" PRId64, making->total);
	pl_buf_reset(&making->sql);
	pl_buf_printf(&making->sql, "SELECT (id - 1) / %d, count(*) FROM ", CHUNK);
	pl_seed_rows_add_identifier(&making->sql, making->resource->table);
	pl_buf_adds(&making->sql, " WHERE id BETWEEN 1 AND $1 GROUP BY 1");
	PGresult *result = pl_region_sessions_query(making->region_session, making->sql.data, 1, params);
	for (int i = 0; result && i < PQntuples(result); i++) {
		int64_t chunk = pl_cell_int(result, i, 0, -1), count = pl_cell_int(result, i, 1, 0);
		if (chunk >= 0 && chunk < making->nchunks) {
			making->there[chunk] = (int32_t)count;
			sum += count;
		}
	}
	PQclear(result);
	return sum;
}

// Rows go through a temporary table, so that existing ones can be skipped.
static void make_room(struct making *making)
{
	pl_buf_reset(&making->sql);
	pl_buf_printf(&making->sql, "CREATE TEMP TABLE plist_seed ON COMMIT DELETE ROWS AS SELECT %s FROM ",
	              pl_seed_rows_columns(making->rows));
	pl_seed_rows_add_identifier(&making->sql, making->resource->table);
	pl_buf_adds(&making->sql, " WITH NO DATA");
	do_or_lose(making->region_session, making->sql.data);
}

static int copy_lines(struct making *making, struct pl_error *err)
{
	struct pl_session *session = making->region_session->session;
	PGresult *result = pl_session_exec(session, "COPY plist_seed FROM STDIN", 0, NULL, err);
	if (!result)
		return err->code;
	PQclear(result);
	int rc = pl_session_copy_put(session, making->lines.data, making->lines.len, err);
	return rc ? rc : pl_session_copy_end(session, NULL, err);
}

static void put_chunk(struct making *making, int64_t chunk)
{
	struct pl_error err = { 0 };
	struct pl_session *session = making->region_session->session;
	const char *names = pl_seed_rows_columns(making->rows);
	int64_t first = chunk * CHUNK + 1, n = chunk_size(making, chunk);
	pl_buf_reset(&making->lines);
	for (int64_t id = first; id < first + n; id++)
		pl_seed_rows_add(making->rows, id, &making->lines);
	pl_buf_reset(&making->sql);
	pl_buf_adds(&making->sql, "INSERT INTO ");
	pl_seed_rows_add_identifier(&making->sql, making->resource->table);
	pl_buf_printf(&making->sql, " (%s) SELECT %s FROM plist_seed ON CONFLICT (id) DO NOTHING", names,
	              names);
	if (pl_session_do(session, "BEGIN", &err) || copy_lines(making, &err) ||
	    (making->locks.len && pl_session_do(session, making->locks.data, &err)) ||
	    pl_session_do(session, making->sql.data, &err) || pl_session_do(session, "COMMIT", &err)) {
		pl_error_prefix(&err, "rows %" PRId64 " to %" PRId64, first, first + n - 1);
		pl_region_sessions_lost(making->region_session, &err);
	}
}

static void make_rows(struct making *making, struct pl_table *table, const char *source)
{
	making->nchunks = (making->total + CHUNK - 1) / CHUNK;
	making->there = pl_calloc((size_t)making->nchunks, sizeof(*making->there));
	int64_t already = look(making), done = already;
	make_room(making);
	if (making->region_session->up) {
		pl_progress_begin(&making->progress, making->region_session->region->name, making->total,
		                  already);
		for (int64_t chunk = 0; chunk < making->nchunks && making->region_session->up; chunk++) {
			int64_t size = chunk_size(making, chunk);
			if (making->there[chunk] >= size)
				continue;
			put_chunk(making, chunk);
			if (making->region_session->up)
				pl_progress_set(&making->progress, done += size - making->there[chunk]);
		}
		pl_progress_end(&making->progress);
	}
	analyze(making->region_session, making->resource);
	int64_t after = count_rows(making->region_session, making->resource);
	if (making->region_session->up)
		add_row(table, making->region_session, making->resource, source, after - (done - already),
		        after);
	free(making->there);
	pl_buf_fini(&making->lines);
	pl_buf_fini(&making->sql);
}

// A checksum of all rows seeded in a region, independent of their order; NULL if the
// query failed.
static char *digest(struct pl_invocation *invocation, struct pl_region_session *region_session,
                    const struct pl_resource *resource, const struct pl_seed_rows *rows, int64_t total)
{
	struct pl_buf sql = { 0 };
	pl_buf_printf(
		&sql,
		"SELECT count(*) || '/' || coalesce(sum(hashtextextended(ROW(%s)::text, 0)::numeric), 0) "
		"FROM ",
		pl_seed_rows_columns(rows));
	pl_seed_rows_add_identifier(&sql, resource->table);
	pl_buf_printf(&sql, " WHERE id BETWEEN 1 AND %" PRId64, total);
	PGresult *result = pl_region_sessions_query(region_session, sql.data, 0, NULL);
	char *text = result ? pl_arena_strdup(invocation->arena, PQgetvalue(result, 0, 0)) : NULL;
	PQclear(result);
	pl_buf_fini(&sql);
	return text;
}

// Whether the regions hold the same rows. This is what the command promises, so it is
// checked.
static int compare(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                   const struct pl_resource *resource, const struct pl_seed_rows *rows, int64_t total)
{
	const char *first = NULL, *first_name = NULL;
	int answer = PL_EXIT_YES, compared = 0;
	for (int i = 0; i < sessions->n; i++) {
		struct pl_region_session *region_session = &sessions->each[i];
		char *text =
			region_session->up ? digest(invocation, region_session, resource, rows, total) : NULL;
		if (!text)
			continue;
		compared++;
		if (first && strcmp(first, text) != 0) {
			pl_fail("%s and %s differ in the rows 1 to %" PRId64
			        "; if they are being written, compare again when replication has caught up",
			        first_name, region_session->region->name, total);
			answer = PL_EXIT_NO;
		}
		if (!first) {
			first = text;
			first_name = region_session->region->name;
		}
	}
	char count[PL_COUNT_MAX];
	if (answer == PL_EXIT_YES && compared > 1)
		pl_say("rows 1 to %s are identical in %d regions", pl_format_count(total, count), compared);
	return answer;
}

// Ids that plist assigns must be above the seeded ones.
static int check_id_ranges(const struct pl_config *config, int64_t total)
{
	for (int i = 0; i < config->nregions; i++)
		if (config->regions[i].id_base < total) {
			pl_fail("--rows: region %s assigns ids above %" PRId64
			        " (id_base), so no more rows than that can be seeded",
			        config->regions[i].name, config->regions[i].id_base);
			return PL_EXIT_USAGE;
		}
	return 0;
}

static int seed_rows(struct pl_invocation *invocation, struct pl_region_sessions *sessions,
                     const struct pl_resource *resource, struct pl_table *table)
{
	struct pl_error err = { 0 };
	int64_t total = pl_invocation_number(invocation, "rows", 0);
	if (total > ROWS_MAX) {
		pl_fail("--rows: the maximum is %d", ROWS_MAX);
		return PL_EXIT_USAGE;
	}
	if (invocation->nargs > 0 || pl_invocation_has(invocation, "file")) {
		pl_fail("seed: --rows generates rows and cannot be combined with files");
		return PL_EXIT_USAGE;
	}
	int rc = total == 0 ? 0 : check_id_ranges(invocation->config, total);
	struct pl_seed_rows *rows = rc ? NULL : pl_seed_rows_new(invocation->config, resource, &err);
	if (!rc && !rows) {
		pl_fail("%s", err.text);
		rc = PL_EXIT_USAGE;
	}
	if (rc)
		return rc;
	pl_region_sessions_open(invocation, sessions, 0);
	for (int i = 0; i < sessions->n; i++) {
		struct making making = { .region_session = &sessions->each[i],
			                 .resource = resource,
			                 .rows = rows,
			                 .total = total };
		pl_guard_lock_all(&making.locks, invocation->config);
		if (making.region_session->up)
			make_rows(&making, table, "made up");
		note_violations(invocation, making.region_session);
		pl_buf_fini(&making.locks);
	}
	rc = compare(invocation, sessions, resource, rows, total);
	pl_seed_rows_free(&rows);
	return rc;
}

// ---- the command

static const struct pl_resource *resource_of(struct pl_invocation *invocation)
{
	const char *name = pl_invocation_text(invocation, "resource", NULL), *names[64] = { NULL };
	for (int i = 0; i < invocation->config->nresources && i < 63; i++)
		names[i] = invocation->config->resources[i].name;
	if (!name && invocation->config->nresources == 0)
		pl_fail("the configuration has no resources");
	if (!name)
		return invocation->config->nresources ? &invocation->config->resources[0] : NULL;
	const struct pl_resource *resource = pl_config_resource(invocation->config, name);
	const char *near = resource ? NULL : pl_nearest(name, names);
	if (!resource)
		pl_fail("--resource: there is no resource '%s'%s%s", name, near ? "; did you mean " : "",
		        near ? near : "");
	return resource;
}

static int seed(struct pl_invocation *invocation)
{
	struct pl_region_sessions sessions = { 0 };
	int rc = pl_invocation_regions(invocation);
	const struct pl_resource *resource = rc ? NULL : resource_of(invocation);
	if (!resource)
		return PL_EXIT_USAGE;
	struct pl_table *table = pl_table_new("seeded", columns);
	rc = (pl_invocation_has(invocation, "rows") ? seed_rows : seed_files)(invocation, &sessions, resource,
	                                                                      table);
	if (rc != PL_EXIT_USAGE) {
		pl_table_print(invocation, table, NULL);
		rc = pl_region_sessions_exit(&sessions, rc);
	}
	pl_region_sessions_close(&sessions);
	pl_table_free(&table);
	return rc;
}

static const struct pl_option seed_options[] = {
	{ "file", 'f', PL_OPTION_FILE, "FILE", "SQL file to run; may be repeated", .many = true },
	{ "rows", 'n', PL_OPTION_COUNT, "N", "generate rows 1 to N", .min = 1 },
	{ "resource", 0, PL_OPTION_RESOURCE, "NAME",
	  "resource to generate rows for (default: the first of the configuration)" },
	{ NULL },
};

const struct pl_command pl_cmd_seed = {
	.noun = "seed",
	.arguments = "[FILE …]",
	.max_args = -1,
	.summary = "load the same initial rows into every region",
	.help = "Loads the same initial rows into every region, without Kafka.\n\nWithout --rows, it runs "
		"the named SQL files, or seeds/*_seed.sql next to the Lua root, in every region, each file "
		"in one "
		"transaction.\n\nWith --rows, it generates rows from the fields of the resource: their "
		"types, bounds "
		"and whether they may be null. A row depends only on its id, so all regions get identical "
		"rows. "
		"Blocks of 500 ids are assigned to the regions in turn. To continue after an interruption, "
		"run the "
		"same command again. Existing rows are not changed. At the end, the regions are compared; "
		"the exit "
		"status is 1 if they differ.",
	.options = seed_options,
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = seed,
};
