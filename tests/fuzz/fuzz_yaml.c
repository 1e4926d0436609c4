// Configurations: any file gives either a configuration or a list of problems with
// their positions.
//
// Threads: one.
#define _GNU_SOURCE // memfd_create
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/yaml.h"

static void check_load(const uint8_t *data, size_t size)
{
	char path[64];
	int fd = memfd_create("plist.yaml", MFD_CLOEXEC);
	PROMISE(fd >= 0);
	PROMISE(write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_config *config = pl_config_load(path, "us", &diagnostics);
	PROMISE((config == NULL) == (diagnostics.n > diagnostics.warnings));
	for (int i = 0; i < diagnostics.n; i++)
		PROMISE(strncmp(diagnostics.lines[i].text, path, strlen(path)) == 0);
	pl_config_unref(&config);
	pl_diagnostics_fini(&diagnostics);
	close(fd);
}

static void check_nodes(const struct pl_yaml_node *node, int depth)
{
	int n = 0;
	PROMISE(depth <= PL_YAML_DEPTH_MAX && node->line >= 1 && node->column >= 1);
	PROMISE(node->kind != PL_YAML_SCALAR || node->text != NULL);
	for (const struct pl_yaml_node *child = node->first; child != NULL; child = child->next, n++) {
		PROMISE((child->key != NULL) == (node->kind == PL_YAML_MAP));
		check_nodes(child, depth + 1);
	}
	PROMISE(n == node->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pl_arena *arena = pl_arena_new(0);
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_yaml_node *root =
		pl_yaml_parse(arena, "x", size ? (const char *)data : "", size, &diagnostics);
	if (root != NULL)
		check_nodes(root, 0);
	else
		PROMISE(diagnostics.n > 0);
	pl_diagnostics_fini(&diagnostics);
	pl_arena_free(&arena);
	if (root != NULL && size > 0)
		check_load(data, size);
	return 0;
}
