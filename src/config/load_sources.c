// Reads every Lua file under the Lua root together with the YAML, so that a
// configuration is one consistent state of all its files.
//
// Between config/load and script/vm, which compiles the texts and never opens a file.
// Names that begin with a dot are skipped: version control, and the directories of
// mounted volumes whose visible files are links. A link is followed if its target is
// under the root. Sizes and the number of files are limited.
// Threads: any.
#include "config/config_private.h"
#include "config/load_private.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sha256.h"

#define SOURCES_MAX 1000
#define DEPTH_MAX   8
#define FILE_MAX    ((size_t)256 * 1024)
#define ALL_MAX     ((size_t)8 * 1024 * 1024)

struct folder_scan {
	struct pl_load *load;
	const char *root;
	size_t bytes;
	int room;
};

static bool is_lua(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".lua") == 0;
}

// Whether `file` is under the root after all links are resolved.
static bool stays_inside(const struct folder_scan *scan, const char *file)
{
	char real[PATH_MAX];
	size_t len = strlen(scan->root);

	return realpath(file, real) != NULL && strncmp(real, scan->root, len) == 0 && real[len] == '/';
}

static void file_fault(struct folder_scan *scan, const char *file, const char *why)
{
	pl_diagnostics_add(scan->load->diagnostics, false, file, 1, 1, "%s", why);
}

static struct pl_script_source *next_source(struct folder_scan *scan)
{
	struct pl_config *config = scan->load->config;

	if (config->nsources == scan->room) {
		scan->room = scan->room == 0 ? 32 : scan->room * 2;
		config->sources = pl_realloc(config->sources, sizeof(*config->sources) * (size_t)scan->room);
	}
	memset(&config->sources[config->nsources], 0, sizeof(config->sources[0]));
	return &config->sources[config->nsources++];
}

static void take_text(struct pl_script_source *source, const char *text, size_t len)
{
	uint8_t digest[PL_SHA256_SIZE];

	source->text = text;
	source->len = len;
	pl_sha256(text, len, digest);
	pl_sha256_hex(digest, source->sha256);
}

static void add_source(struct folder_scan *scan, const char *path, const char *file)
{
	struct pl_config *config = scan->load->config;
	struct pl_error err;
	size_t len;

	if (config->nsources == SOURCES_MAX || scan->bytes > ALL_MAX)
		return; // reported once at the end
	char *text = pl_load_read(scan->load->arena, file, FILE_MAX, &len, &err);
	if (text == NULL) {
		file_fault(scan, file, err.text);
		return;
	}
	scan->bytes += len;
	struct pl_script_source *source = next_source(scan);
	source->path = path;
	source->file = file;
	take_text(source, text, len);
}

static void scan_directory(struct folder_scan *scan, const char *directory, const char *prefix, int depth);

static void scan_entry(struct folder_scan *scan, const char *directory, const char *prefix, const char *name,
                       int depth)
{
	struct pl_arena *arena = scan->load->arena;
	const char *file = pl_arena_printf(arena, "%s/%s", directory, name);
	struct stat st, target;

	if (lstat(file, &st) < 0 || stat(file, &target) < 0) {
		if (is_lua(name))
			file_fault(scan, file, strerror(errno));
		return;
	}
	if (S_ISLNK(st.st_mode) && (is_lua(name) || S_ISDIR(target.st_mode)) && !stays_inside(scan, file)) {
		file_fault(scan, file, "is a symbolic link to a place outside the Lua root");
		return;
	}
	if (S_ISDIR(target.st_mode)) {
		if (depth == DEPTH_MAX)
			file_fault(scan, file, "directories are nested too deeply");
		else
			scan_directory(scan, file, pl_arena_printf(arena, "%s%s/", prefix, name), depth + 1);
	} else if (is_lua(name)) {
		if (S_ISREG(target.st_mode))
			add_source(scan, pl_arena_printf(arena, "%s%s", prefix, name), file);
		else
			file_fault(scan, file, "is not a regular file");
	}
}

static void scan_directory(struct folder_scan *scan, const char *directory, const char *prefix, int depth)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	if (dir == NULL) {
		file_fault(scan, directory, strerror(errno));
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			scan_entry(scan, directory, prefix, entry->d_name, depth);
	closedir(dir);
}

// ---- built-in policies

static const struct {
	const char *path, *text;
} shipped[] = {
#include "src/config/shipped_lua.inc"
};

static bool has(const struct pl_config *config, const char *path)
{
	for (int i = 0; i < config->nsources; i++)
		if (strcmp(config->sources[i].path, path) == 0)
			return true;
	return false;
}

// Adds a built-in policy unless the Lua root has a file of that name.
static void add_shipped(struct folder_scan *scan)
{
	struct pl_config *config = scan->load->config;

	for (size_t i = 0; i < sizeof(shipped) / sizeof(shipped[0]); i++)
		if (!has(config, shipped[i].path)) {
			struct pl_script_source *source = next_source(scan);

			source->path = shipped[i].path;
			source->file = pl_arena_printf(scan->load->arena, PL_LUADIR "/%s", shipped[i].path);
			source->shipped = true;
			take_text(source, shipped[i].text, strlen(shipped[i].text));
		}
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct pl_script_source *)a)->path, ((const struct pl_script_source *)b)->path);
}

void pl_load_sources(struct pl_load *load)
{
	struct pl_config *config = load->config;
	struct folder_scan scan = { .load = load, .root = config->lua_root };
	struct stat st;

	if (stat(config->lua_root, &st) < 0 || !S_ISDIR(st.st_mode)) {
		pl_load_fault(load, pl_yaml_member(load->root, "lua"), "path",
		              "lua.path: there is no directory %s", config->lua_root);
		config->lua_root = NULL; // reported once instead of for each missing file
		return;
	}
	scan_directory(&scan, config->lua_root, "", 0);
	if (config->nsources == SOURCES_MAX || scan.bytes > ALL_MAX)
		pl_load_fault(load, pl_yaml_member(load->root, "lua"), "path",
		              "lua.path: more than %d Lua files or %zu bytes of them under %s",
		              SOURCES_MAX - 1, ALL_MAX, config->lua_root);
	add_shipped(&scan);
	struct pl_script_source *read = config->sources;
	if (read != NULL) {
		size_t size = sizeof(*read) * (size_t)config->nsources;
		config->sources = pl_arena_alloc(load->arena, size);
		memcpy(config->sources, read, size);
		qsort(config->sources, (size_t)config->nsources, sizeof(*read), by_path);
		free(read);
	}
}
