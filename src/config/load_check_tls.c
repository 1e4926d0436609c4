// Checks of what the configuration says about TLS: which keys need which others.
//
// The files are read by those who use them (tls/), since most are on one machine only.
// Threads: any.
#include "config/load_private.h"

#include <stdlib.h>
#include <string.h>

#include "config/dsn.h"

static const char *or_none(const char *text)
{
	return text != NULL ? text : "";
}

// One of several keys that are of use only together.
struct part {
	const char *key, *value;
};

static bool any_given(const struct part *parts, int n)
{
	for (int i = 0; i < n; i++)
		if (parts[i].value != NULL)
			return true;
	return false;
}

// Reports the first part that is missing, if `needed` or any part is there.
static void check_whole(struct pl_load *load, const struct pl_yaml_node *node, const char *label,
                        const struct part *parts, int n, bool needed)
{
	if (!needed && !any_given(parts, n))
		return;
	for (int i = 0; i < n; i++)
		if (parts[i].value == NULL) {
			pl_load_fault(load, node, NULL, "%s.%s: is missing; set it to the path of a file",
			              label, parts[i].key);
			return;
		}
}

// Returns whether the region has TLS.
static bool check_region(struct pl_load *load, const struct pl_region *region)
{
	const struct pl_yaml_node *node = pl_yaml_member(pl_load_named(load, "regions", region->name), "tls");
	const char *label = pl_arena_printf(load->arena, "regions.%s.tls", region->name);
	const struct part parts[] = { { "certificate", region->tls.certificate },
		                      { "key", region->tls.key },
		                      { "client_ca", region->tls.client_ca } };

	check_whole(load, node, label, parts, 3, region->tls.direct_ca != NULL);
	return any_given(parts, 3);
}

static void check_upstream(struct pl_load *load, const struct pl_yaml_node *nginx, bool needed)
{
	const struct pl_upstream_tls *upstream = &load->config->nginx.upstream_tls;
	const struct pl_yaml_node *node = pl_yaml_member(nginx, "upstream_tls");
	const struct part parts[] = { { "certificate", upstream->certificate },
		                      { "key", upstream->key },
		                      { "ca", upstream->ca } };

	bool given = any_given(parts, 3);

	if (needed && !given)
		pl_load_fault(load, nginx != NULL ? nginx : load->root, NULL,
		              "nginx.upstream_tls: is missing, but the regions have tls; set its "
		              "certificate, key and ca, with which NGINX connects to the daemons");
	else if (!needed && given)
		pl_load_fault(load, node, NULL,
		              "nginx.upstream_tls: has no effect, since no region has tls; set "
		              "regions.<name>.tls");
	else
		check_whole(load, node, "nginx.upstream_tls", parts, 3, false);
}

// NGINX sends a request to any region, and does so over TLS or not.
static void check_regions(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	const struct pl_yaml_node *nginx = pl_yaml_member(load->root, "nginx");
	const struct pl_region *with = NULL, *without = NULL;

	for (int i = 0; i < config->nregions; i++) {
		if (check_region(load, &config->regions[i]))
			with = with != NULL ? with : &config->regions[i];
		else
			without = without != NULL ? without : &config->regions[i];
	}
	if (with != NULL && without != NULL)
		pl_load_fault(load, pl_load_named(load, "regions", without->name), NULL,
		              "regions.%s.tls: is missing, but region %s has it; NGINX reaches all daemons "
		              "with TLS or all without",
		              without->name, with->name);
	check_upstream(load, nginx, with != NULL);
}

static const char *port_of(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon != NULL ? colon + 1 : address;
}

static void check_clients(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	const struct pl_yaml_node *node = pl_yaml_member(pl_yaml_member(load->root, "nginx"), "tls");
	const struct part parts[] = { { "certificate", config->nginx.tls.certificate },
		                      { "key", config->nginx.tls.key } };
	const char *redirect = config->nginx.tls.redirect;

	check_whole(load, node, "nginx.tls", parts, 2,
	            config->nginx.tls.client_ca != NULL || config->nginx.tls.hsts_us > 0 || redirect != NULL);
	if (redirect == NULL)
		return;
	if (atol(port_of(redirect)) < 1 || atol(port_of(redirect)) > 65535)
		pl_load_fault(load, node, "redirect",
		              "nginx.tls.redirect: must end in a port from 1 to 65535, not \"%.60s\"",
		              redirect);
	if (strcmp(port_of(redirect), port_of(or_none(config->nginx.listen))) == 0)
		pl_load_fault(load, node, "redirect",
		              "nginx.tls.redirect: is the port on which NGINX serves HTTPS (nginx.listen)");
}

static void check_databases(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	char host[256];

	for (int i = 0; i < config->nregions && !config->database.insecure; i++) {
		const struct pl_region *region = &config->regions[i];
		const struct pl_yaml_node *node = pl_load_named(load, "regions", region->name);
		const char *key =
			pl_yaml_member(node, "database_file") != NULL ? "database_file" : "database";
		if (region->database != NULL && pl_dsn_is_unverified(region->database, host, sizeof(host)))
			pl_load_fault(load, node, key,
			              "regions.%s.%s: the connection to %.200s would not be verified; add "
			              "sslmode=verify-full and sslrootcert=FILE, or set database.insecure: "
			              "true if its network is trusted",
			              region->name, key, host);
	}
}

void pl_load_check_tls(struct pl_load *load)
{
	check_databases(load);
	check_regions(load);
	check_clients(load);
}
