// Errors of loading as diagnostics: the file and line that Lua put before a message.
//
// Threads: any.
#include <stdlib.h>
#include <string.h>

#include "script/load.h"

// The length of the name by which `text`, an error message, begins, if it is `path` as
// Lua shows it: whole, or, when it is long, "..." and its end.
static size_t names(const char *text, const char *path)
{
	size_t len = strlen(path);

	if (len >= LUA_IDSIZE && strncmp(text, "...", 3) == 0) {
		text += 3;
		path += len - (LUA_IDSIZE - 4);
		len = LUA_IDSIZE - 4;
		return strncmp(text, path, len) == 0 && text[len] == ':' ? len + 3 : 0;
	}
	return strncmp(text, path, len) == 0 && text[len] == ':' ? len : 0;
}

// The file that a message's "path:line: " names, with the line; NULL if it names none.
// *rest_r is what follows.
static const struct pl_script_source *place_of(const struct pl_config *config, const char *text, int *line_r,
                                               const char **rest_r)
{
	for (int i = 0; i < config->nsources; i++) {
		const struct pl_script_source *source = &config->sources[i];
		size_t len = names(text, source->path);
		char *end;
		long line;

		if (len == 0)
			continue;
		line = strtol(text + len + 1, &end, 10);
		if (end == text + len + 1) { // a message of our own about the file as a whole
			*line_r = 0;
			*rest_r = text + len + 1 + strspn(text + len + 1, " ");
			return source;
		}
		if (*end != ':')
			continue;
		*line_r = (int)line;
		*rest_r = end + 1 + strspn(end + 1, " ");
		return source;
	}
	return NULL;
}

void pl_load_report(const struct pl_config *config, const struct pl_script_source *source,
                    const struct pl_error *err, struct pl_diagnostics *diagnostics)
{
	const struct pl_script_source *place;
	const char *text = err->text;
	int line = 0;

	// luaL_error puts the place of the caller before a message that has its own: the
	// innermost is the place.
	while ((place = place_of(config, text, &line, &text)))
		source = place;
	pl_diagnostics_add(diagnostics, false, source->file, line, 0, "%s", text);
}
