// plist-admin seed: the same first rows in every region, from files or made up.
//
// Writes to the databases only: nothing is put in the outbox, since every region is given the same bytes.
// Invariant: whatever was interrupted, the same command goes on where it was stopped, and rows that are there stay as they are.
#include "admin/commands.h"

#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/file.h"
#include "admin/reach.h"
#include "admin/seed_rows.h"
#include "admin/table.h"
#include "admin/talk.h"
#include "admin/parse.h"
#include "base/buf.h"

#define CHUNK 10000                  // rows of one transaction
#define ROWS_MAX 1000000000
#define FILE_MAX ((size_t)256 << 20) // bytes of a seed file

enum { REGION, RESOURCE, SOURCE, ADDED, ROWS };

static const struct pl_column columns[] = {
	[REGION] = { "region", PL_CELL_TEXT },
	[RESOURCE] = { "resource", PL_CELL_TEXT },
	[SOURCE] = { "source", PL_CELL_TEXT },
	[ADDED] = { "added", PL_CELL_NUMBER },
	[ROWS] = { "rows", PL_CELL_NUMBER },
	{ NULL },
};

static void add_row(struct pl_table *table, const struct pl_reach *reach, const struct pl_resource *resource, const char *source,
                    int64_t before, int64_t after)
{
	pl_table_row(table);
	pl_table_text(table, REGION, reach->region->name);
	pl_table_text(table, RESOURCE, resource->name);
	pl_table_text(table, SOURCE, source);
	pl_table_number(table, ADDED, after - before);
	pl_table_number(table, ROWS, after);
}

// One number from the database; -1 when it could not be asked.
static int64_t ask_number(struct pl_reach *reach, const char *sql, int nparams, const char *const *params)
{
	PGresult *result = pl_reach_query(reach, sql, nparams, params);
	int64_t number = result && PQntuples(result) == 1 ? pl_cell_int(result, 0, 0, 0) : -1;
	PQclear(result);
	return number;
}

static int64_t count_rows(struct pl_reach *reach, const struct pl_resource *resource)
{
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "SELECT count(*) FROM ");
	pl_buf_add_identifier(&sql, resource->table);
	int64_t count = ask_number(reach, sql.data, 0, NULL);
	pl_buf_fini(&sql);
	return count;
}

static void do_or_lose(struct pl_reach *reach, const char *sql)
{
	struct pl_error err = { 0 };
	if (reach->up && pl_session_do(reach->session, sql, &err))
		pl_reach_lost(reach, &err);
}

static void analyze(struct pl_reach *reach, const struct pl_resource *resource)
{
	struct pl_buf sql = { 0 };
	pl_buf_adds(&sql, "ANALYZE ");
	pl_buf_add_identifier(&sql, resource->table);
	do_or_lose(reach, sql.data);
	pl_buf_fini(&sql);
}

// ---- from files

struct seed_file { const char *name; struct pl_buf text; };

struct seed_files { int n; struct seed_file *each; };

static int add_file(struct pl_call *call, struct seed_files *files, const char *name)
{
	files->each = pl_realloc(files->each, (size_t)(files->n + 1) * sizeof *files->each);
	files->each[files->n] = (struct seed_file){ pl_arena_strdup(call->arena, name), { 0 } };
	struct pl_error err;
	int rc = pl_file_read(name, FILE_MAX, &files->each[files->n++].text, &err);
	if (rc)
		pl_fail("%s", err.text);
	return rc;
}

static int add_default_files(struct pl_call *call, struct seed_files *files)
{
	glob_t found = { 0 };
	char *pattern = pl_arena_printf(call->arena, "%s/*_seed.sql", pl_call_seeds(call));
	int rc = glob(pattern, 0, NULL, &found) ? -1 : 0;
	if (rc)
		pl_fail("there is no %s; name the files with --file", pattern);
	for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
		rc = add_file(call, files, found.gl_pathv[i]);
	globfree(&found);
	return rc;
}

static int find_files(struct pl_call *call, struct seed_files *files)
{
	const char *name;
	int rc = 0;
	for (int i = 0; rc == 0 && (name = pl_call_nth(call, "file", i)); i++)
		rc = add_file(call, files, name);
	for (int i = 0; rc == 0 && i < call->nargs; i++)
		rc = add_file(call, files, call->args[i]);
	return rc == 0 && files->n == 0 ? add_default_files(call, files) : rc;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

// Statements of a file are one transaction, so a file that fails has changed nothing.
static void load_file(struct pl_reach *reach, const struct seed_file *file, const struct pl_resource *resource, struct pl_table *table)
{
	struct pl_error err = { 0 };
	int64_t before = count_rows(reach, resource);
	if (!reach->up)
		return;
	if (pl_session_do(reach->session, file->text.data, &err)) {
		pl_error_prefix(&err, "%s", file->name);
		pl_reach_lost(reach, &err);
		return;
	}
	int64_t after = count_rows(reach, resource);
	if (reach->up)
		add_row(table, reach, resource, base_name(file->name), before, after);
}

static int seed_files(struct pl_call *call, struct pl_reaches *reaches, const struct pl_resource *resource, struct pl_table *table)
{
	struct seed_files files = { 0 };
	int rc = find_files(call, &files) ? PL_EXIT_USAGE : 0;
	if (rc == 0)
		pl_reaches_open(call, reaches, 0);
	for (int i = 0; rc == 0 && i < reaches->n; i++) {
		for (int f = 0; f < files.n; f++)
			load_file(&reaches->each[i], &files.each[f], resource, table);
		analyze(&reaches->each[i], resource);
	}
	for (int f = 0; f < files.n; f++)
		pl_buf_fini(&files.each[f].text);
	free(files.each);
	return rc;
}

// ---- made up

struct making {
	struct pl_reach *reach;
	const struct pl_resource *resource;
	struct pl_seed_rows *rows;
	int64_t total;
	int32_t *there;              // rows that each chunk has already
	int64_t nchunks;
	struct pl_progress progress;
	struct pl_buf lines, sql;
};

static int64_t chunk_size(const struct making *making, int64_t chunk)
{
	int64_t left = making->total - chunk * CHUNK;
	return left < CHUNK ? left : CHUNK;
}

// Counts what is there, by chunk. What a run that was stopped had committed is found here: no state but the rows themselves.
static int64_t look(struct making *making)
{
	char total[24];
	const char *params[] = { total };
	int64_t sum = 0;
	snprintf(total, sizeof total, "%" PRId64, making->total);
	pl_buf_reset(&making->sql);
	pl_buf_printf(&making->sql, "SELECT (id - 1) / %d, count(*) FROM ", CHUNK);
	pl_buf_add_identifier(&making->sql, making->resource->table);
	pl_buf_adds(&making->sql, " WHERE id BETWEEN 1 AND $1 GROUP BY 1");
	PGresult *result = pl_reach_query(making->reach, making->sql.data, 1, params);
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

// Rows go through a table of the session's own, so that those that are there already can be passed over.
static void make_room(struct making *making)
{
	pl_buf_reset(&making->sql);
	pl_buf_printf(&making->sql, "CREATE TEMP TABLE plist_seed ON COMMIT DELETE ROWS AS SELECT %s FROM ", pl_seed_rows_columns(making->rows));
	pl_buf_add_identifier(&making->sql, making->resource->table);
	pl_buf_adds(&making->sql, " WITH NO DATA");
	do_or_lose(making->reach, making->sql.data);
}

static int copy_lines(struct making *making, struct pl_error *err)
{
	struct pl_session *session = making->reach->session;
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
	struct pl_session *session = making->reach->session;
	const char *names = pl_seed_rows_columns(making->rows);
	int64_t first = chunk * CHUNK + 1, n = chunk_size(making, chunk);
	pl_buf_reset(&making->lines);
	for (int64_t id = first; id < first + n; id++)
		pl_seed_rows_add(making->rows, id, &making->lines);
	pl_buf_reset(&making->sql);
	pl_buf_adds(&making->sql, "INSERT INTO ");
	pl_buf_add_identifier(&making->sql, making->resource->table);
	pl_buf_printf(&making->sql, " (%s) SELECT %s FROM plist_seed ON CONFLICT (id) DO NOTHING", names, names);
	if (pl_session_do(session, "BEGIN", &err) || copy_lines(making, &err) || pl_session_do(session, making->sql.data, &err) ||
	    pl_session_do(session, "COMMIT", &err)) {
		pl_error_prefix(&err, "rows %" PRId64 " to %" PRId64, first, first + n - 1);
		pl_reach_lost(making->reach, &err);
	}
}

static void make_rows(struct making *making, struct pl_table *table, const char *source)
{
	making->nchunks = (making->total + CHUNK - 1) / CHUNK;
	making->there = pl_calloc((size_t)making->nchunks, sizeof *making->there);
	int64_t already = look(making), done = already;
	make_room(making);
	if (making->reach->up) {
		pl_progress_begin(&making->progress, making->reach->region->name, making->total, already);
		for (int64_t chunk = 0; chunk < making->nchunks && making->reach->up; chunk++) {
			int64_t size = chunk_size(making, chunk);
			if (making->there[chunk] >= size)
				continue;
			put_chunk(making, chunk);
			if (making->reach->up)
				pl_progress_set(&making->progress, done += size - making->there[chunk]);
		}
		pl_progress_end(&making->progress);
	}
	analyze(making->reach, making->resource);
	int64_t after = count_rows(making->reach, making->resource);
	if (making->reach->up)
		add_row(table, making->reach, making->resource, source, after - (done - already), after);
	free(making->there);
	pl_buf_fini(&making->lines);
	pl_buf_fini(&making->sql);
}

// A number for all the bytes that were seeded in a region, in any order of its rows; NULL when it could not be asked.
static char *digest(struct pl_call *call, struct pl_reach *reach, const struct pl_resource *resource, const struct pl_seed_rows *rows, int64_t total)
{
	struct pl_buf sql = { 0 };
	pl_buf_printf(&sql, "SELECT count(*) || '/' || coalesce(sum(hashtextextended(ROW(%s)::text, 0)::numeric), 0) FROM ", pl_seed_rows_columns(rows));
	pl_buf_add_identifier(&sql, resource->table);
	pl_buf_printf(&sql, " WHERE id BETWEEN 1 AND %" PRId64, total);
	PGresult *result = pl_reach_query(reach, sql.data, 0, NULL);
	char *text = result ? pl_arena_strdup(call->arena, PQgetvalue(result, 0, 0)) : NULL;
	PQclear(result);
	pl_buf_fini(&sql);
	return text;
}

// Whether the regions hold the same rows: the promise of this command, so it is looked at and not assumed.
static int compare(struct pl_call *call, struct pl_reaches *reaches, const struct pl_resource *resource, const struct pl_seed_rows *rows, int64_t total)
{
	const char *first = NULL, *first_name = NULL;
	int answer = PL_EXIT_YES, compared = 0;
	for (int i = 0; i < reaches->n; i++) {
		struct pl_reach *reach = &reaches->each[i];
		char *text = reach->up ? digest(call, reach, resource, rows, total) : NULL;
		if (!text)
			continue;
		compared++;
		if (first && strcmp(first, text) != 0) {
			pl_fail("%s and %s differ in the rows 1 to %" PRId64 "; where they are being written, compare again when nothing is on its way",
			        first_name, reach->region->name, total);
			answer = PL_EXIT_NO;
		}
		if (!first) {
			first = text;
			first_name = reach->region->name;
		}
	}
	char count[PL_COUNT_MAX];
	if (answer == PL_EXIT_YES && compared > 1)
		pl_say("the rows 1 to %s are the same in %d regions", pl_show_count(total, count), compared);
	return answer;
}

// Ids that plist gives out must lie above the seeded ones.
static int check_id_ranges(const struct pl_config *config, int64_t total)
{
	for (int i = 0; i < config->nregions; i++)
		if (config->regions[i].id_base < total) {
			pl_fail("--rows: region %s gives out ids above %" PRId64 " (id_base), so at most that many rows can be seeded",
			        config->regions[i].name, config->regions[i].id_base);
			return PL_EXIT_USAGE;
		}
	return 0;
}

static int seed_rows(struct pl_call *call, struct pl_reaches *reaches, const struct pl_resource *resource, struct pl_table *table)
{
	struct pl_error err = { 0 };
	int64_t total = pl_call_number(call, "rows", 0);
	if (total > ROWS_MAX) {
		pl_fail("--rows: at most %d", ROWS_MAX);
		return PL_EXIT_USAGE;
	}
	if (call->nargs > 0 || pl_call_has(call, "file")) {
		pl_fail("seed: --rows makes rows up; it takes no files");
		return PL_EXIT_USAGE;
	}
	int rc = total == 0 ? 0 : check_id_ranges(call->config, total);
	struct pl_seed_rows *rows = rc ? NULL : pl_seed_rows_new(call->config, resource, &err);
	if (!rc && !rows) {
		pl_fail("%s", err.text);
		rc = PL_EXIT_USAGE;
	}
	if (rc)
		return rc;
	pl_reaches_open(call, reaches, 0);
	for (int i = 0; i < reaches->n; i++) {
		struct making making = { .reach = &reaches->each[i], .resource = resource, .rows = rows, .total = total };
		if (making.reach->up)
			make_rows(&making, table, "made up");
	}
	rc = compare(call, reaches, resource, rows, total);
	pl_seed_rows_free(&rows);
	return rc;
}

// ---- the command

static const struct pl_resource *resource_of(struct pl_call *call)
{
	const char *name = pl_call_text(call, "resource", NULL), *names[64] = { NULL };
	for (int i = 0; i < call->config->nresources && i < 63; i++)
		names[i] = call->config->resources[i].name;
	if (!name && call->config->nresources == 0)
		pl_fail("the configuration has no resources");
	if (!name)
		return call->config->nresources ? &call->config->resources[0] : NULL;
	const struct pl_resource *resource = pl_config_resource(call->config, name);
	const char *near = resource ? NULL : pl_nearest(name, names);
	if (!resource)
		pl_fail("--resource: there is no resource '%s'%s%s", name, near ? "; did you mean " : "", near ? near : "");
	return resource;
}

static int seed(struct pl_call *call)
{
	struct pl_reaches reaches = { 0 };
	int rc = pl_call_regions(call);
	const struct pl_resource *resource = rc ? NULL : resource_of(call);
	if (!resource)
		return PL_EXIT_USAGE;
	struct pl_table *table = pl_table_new("seeded", columns);
	rc = (pl_call_has(call, "rows") ? seed_rows : seed_files)(call, &reaches, resource, table);
	if (rc != PL_EXIT_USAGE) {
		pl_table_print(call, table, NULL);
		rc = pl_reaches_exit(&reaches, rc);
	}
	pl_reaches_close(&reaches);
	pl_table_free(&table);
	return rc;
}

const struct pl_command pl_cmd_seed = {
	.noun = "seed",
	.arguments = "[FILE …]",
	.max_args = -1,
	.summary = "put the same first rows into every region",
	.help = "Puts the same first rows into every region, past Kafka: each is given the same bytes.\n\n"
	        "Without --rows it runs the SQL files that are named, or seeds/*_seed.sql beside the folder of Lua; all of them in every "
	        "region, each file as one transaction.\n\n"
	        "With --rows it makes rows up from the resource's fields: their types, bounds and whether they may be null. A row depends on "
	        "its id alone, so every region holds the same bytes. Blocks of 500 ids belong to the regions in turn. What was stopped goes on "
	        "where it was: run the same command again. Rows that are there stay as they are. At the end the regions are compared; exit 1 "
	        "when they differ.",
	.options = (const struct pl_option[]){
		{ "file", 'f', PL_OPTION_FILE, "FILE", "a file of SQL to run; may be given several times", .many = true },
		{ "rows", 'n', PL_OPTION_COUNT, "N", "make up the rows 1 to N" },
		{ "resource", 0, PL_OPTION_RESOURCE, "NAME", "whose rows are made up, or counted (default: the first of the configuration)" },
		{ NULL },
	},
	.prints_data = true,
	.regions = true,
	.waits = true,
	.run = seed,
};
