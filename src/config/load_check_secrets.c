// Secrets in the YAML itself, while other users can read that file.
//
// A part of the last step of loading: see load_check.c. Files that only hold a secret are
// refused if others can read them; the YAML is for reading, so it gets a warning.
// Threads: any.
#include "config/load_private.h"

#include <string.h>
#include <sys/stat.h>

#include "config/dsn.h"

#define WHAT_TO_DO                                                                                      \
	"is in this file, which other users can read: run chmod o-rwx on the file, or give a variable " \
	"or a file that holds the secret (%s_file)"

static bool others_can_read(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0 && (st.st_mode & S_IROTH) != 0;
}

// The value of a key as it is written; NULL if it comes from somewhere else.
static const char *written(const struct pl_yaml_node *node)
{
	return node != NULL && node->kind == PL_YAML_SCALAR && strstr(node->text, "${") == NULL ? node->text
	                                                                                        : NULL;
}

static void check_databases(struct pl_load *load)
{
	for (int i = 0; i < load->config->nregions; i++) {
		const char *name = load->config->regions[i].name;
		const struct pl_yaml_node *node = pl_load_named(load, "regions", name);
		const char *dsn = written(pl_yaml_member(node, "database"));
		if (dsn != NULL && pl_dsn_has_password(dsn))
			pl_load_warn(load, node, "database", "regions.%s.database: a password " WHAT_TO_DO,
			             name, "database");
	}
}

static void check_kafka(struct pl_load *load)
{
	const struct pl_yaml_node *node = pl_yaml_member(pl_yaml_member(load->root, "kafka"), "properties");

	for (const struct pl_yaml_node *one = node ? node->first : NULL; one; one = one->next) {
		size_t len = one->key ? strlen(one->key) : 0;
		if (len == 0 || !pl_schema_is_secret_setting(one->key) || written(one) == NULL ||
		    (len > 5 && strcmp(one->key + len - 5, "_file") == 0))
			continue;
		pl_load_warn(load, node, one->key, "kafka.properties.%.64s: a secret " WHAT_TO_DO, one->key,
		             one->key);
	}
}

void pl_load_check_secrets(struct pl_load *load)
{
	if (!others_can_read(load->file))
		return;
	check_databases(load);
	check_kafka(load);
}
