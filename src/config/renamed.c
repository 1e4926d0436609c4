// The renamed keys, old and new; "*" matches any name that an operator chooses.
//
// Used by config/load_walk for unknown keys. Threads: constant data.
#include "config/renamed.h"

#include <stdbool.h>
#include <string.h>

static const struct {
	const char *old, *leaf;
} renamed[] = {
	// clang-format off
	{ "nginx.beside", "local_regions" },
	{ "kafka.pace", "linger" },
	{ "http.queue", "max_queued" },
	{ "database.writers", "write_connections" },
	{ "database.readers", "read_connections_per_worker" },
	{ "regions.*.control", "control_socket" },
	{ "regions.*.socket", "unix_socket" },
	{ "resources.*.shadow", "shadow_policy" },
	// clang-format on
};

// Whether `path` is `pattern`, in which a "*" stands for one part between dots.
static bool matches(const char *pattern, const char *path)
{
	for (; *pattern; pattern++) {
		if (*pattern == '*')
			path += strcspn(path, ".");
		else if (*pattern != *path++)
			return false;
	}
	return *path == '\0';
}

const char *pl_renamed_key(const char *path)
{
	for (size_t i = 0; i < sizeof(renamed) / sizeof(renamed[0]); i++)
		if (matches(renamed[i].old, path))
			return renamed[i].leaf;
	return NULL;
}
