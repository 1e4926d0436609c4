// Who can reach the daemon, and whether those who should be let in can be.
//
// A part of the last step of loading: see load_check.c. Nothing is open to other machines
// just because somebody forgot to say anything.
// Threads: any.
#include "config/load_private.h"

#include <string.h>
#include <strings.h>

#include "base/network.h"

static bool is_loopback(const char *listen)
{
	size_t len = (size_t)(strrchr(listen, ':') - listen);
	struct pl_address address;

	if (len == 9 && memcmp(listen, "localhost", 9) == 0)
		return true;
	return pl_network_parse_address(listen, len, &address) == 0 && pl_network_is_loopback(&address);
}

// Of our own region; of all of them, if the whole file is checked.
static void check_listeners(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	if (config->security.clients != PL_CLIENTS_LOCAL)
		return;
	for (int i = 0; i < config->nregions; i++) {
		const struct pl_region *region = &config->regions[i];
		bool ours = load->region == NULL || strcmp(load->region, region->name) == 0;
		if (!ours || region->listen == NULL || strrchr(region->listen, ':') == NULL ||
		    is_loopback(region->listen))
			continue;
		pl_load_fault(load, pl_load_named(load, "regions", region->name), "listen",
		              "regions.%s.listen: other machines can reach %s, so say who may send requests: "
		              "set security.clients to required, or to open if any client may",
		              region->name, region->listen);
	}
}

// NGINX sends the daemons what it gets. Those that look at the whole file make and use
// its configuration; a daemon does not.
static void check_nginx(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	const char *listen = config->nginx.listen;

	if (load->region != NULL || config->security.clients != PL_CLIENTS_LOCAL || listen == NULL ||
	    (strrchr(listen, ':') != NULL && is_loopback(listen)))
		return;
	pl_load_fault(load, pl_yaml_member(load->root, "nginx"), "listen",
	              "nginx.listen: other machines can reach %s, so say who may send requests: set "
	              "security.clients to required, or to open if any client may; or give it a loopback "
	              "address, such as 127.0.0.1:8080",
	              listen);
}

static void check_proxies(struct pl_load *load)
{
	const struct pl_yaml_node *node = pl_yaml_member(load->root, "http");
	const struct pl_config *config = load->config;
	struct pl_network network;

	for (int i = 0; i < config->http.ntrusted_proxies; i++)
		if (strcmp(config->http.trusted_proxies[i], "unix") != 0 &&
		    pl_network_parse(config->http.trusted_proxies[i], &network) != 0)
			pl_load_fault(load, node, "trusted_proxies",
			              "http.trusted_proxies: \"%.60s\" is not an address or network",
			              config->http.trusted_proxies[i]);
	if (config->http.principal_header != NULL && config->http.ntrusted_proxies == 0)
		pl_load_fault(load, node, "principal_header",
		              "http.principal_header: set http.trusted_proxies to the proxies that set this "
		              "header; from others it does not count");
}

// Rules that no client could meet.
static void check_reachable(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	if (pl_config_authenticates(config))
		return;
	if (config->security.clients == PL_CLIENTS_REQUIRED)
		pl_load_fault(
			load, pl_yaml_member(load->root, "security"), "clients",
			"security.clients: required, but clients have no way to prove who they are: set "
			"auth.api_keys, auth.jwt or auth.client_certificates");
	for (int i = 0; i < config->nroutes; i++)
		if (config->routes[i].nallow > 0)
			pl_load_fault(load, pl_load_route(load, i), "allow",
			              "routes[%d].allow: clients have no way to prove who they are: set "
			              "auth.api_keys, auth.jwt or auth.client_certificates",
			              i);
}

// An address that all clients share would be limited for all of them at once.
static void check_limits(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	bool unix_trusted = false;

	if (config->limits.per_address.rate == 0)
		return;
	for (int i = 0; i < config->http.ntrusted_proxies; i++)
		unix_trusted |= strcmp(config->http.trusted_proxies[i], "unix") == 0;
	if (config->http.ntrusted_proxies == 0)
		pl_load_warn(load, load->root, "limits",
		             "limits.per_address: http.trusted_proxies is not set, so all requests that come "
		             "through NGINX count as from one address");
	else if (config->nginx.nlocal_regions > 0 && !unix_trusted)
		pl_load_warn(load, load->root, "limits",
		             "limits.per_address: http.trusted_proxies does not list unix, so requests that "
		             "NGINX sends over a UNIX socket are not limited by address in the daemon");
}

// Whether the host of a URL is this machine. "127.0.0.1.example" is not.
static bool is_local_url(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	size_t len = *host == '[' ? strcspn(host, "]") : strcspn(host, ":/?#");
	struct pl_address address;

	if (*host == '[' && host[len] == ']')
		len++;
	if (host[len] != '\0' && strchr(":/?#", host[len]) == NULL)
		return false;
	if (len == 9 && strncasecmp(host, "localhost", 9) == 0)
		return true;
	return pl_network_parse_address(host, len, &address) == 0 && pl_network_is_loopback(&address);
}

static void check_keys(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	const struct pl_yaml_node *node = pl_yaml_member(pl_yaml_member(load->root, "auth"), "jwt");
	bool keys = pl_yaml_member(node, "keys") != NULL, url = pl_yaml_member(node, "jwks_url") != NULL;
	const char *text = config->auth.jwt.jwks_url;

	if (!config->auth.has_jwt)
		return;
	if (keys == url)
		pl_load_fault(
			load, node, NULL,
			keys ? "auth.jwt: keys and jwks_url are both given; set one of them"
			     : "auth.jwt.keys: is missing; set it to a file of public keys, or jwks_url to "
			       "where they are fetched");
	if (text == NULL)
		return;
	size_t host = strcspn(strstr(text, "://") + 3, "/?#");
	if (memchr(strstr(text, "://") + 3, '@', host) != NULL)
		pl_load_fault(
			load, node, "jwks_url",
			"auth.jwt.jwks_url: must not contain a user or password, since it is shown in logs");
	else if (strncmp(text, "https:", 6) != 0 && !is_local_url(text))
		pl_load_fault(load, node, "jwks_url",
		              "auth.jwt.jwks_url: must begin with https://, or anyone in between can replace "
		              "the keys; only a loopback address may go without");
}

void pl_load_check_security(struct pl_load *load)
{
	check_listeners(load);
	check_nginx(load);
	check_proxies(load);
	check_reachable(load);
	check_limits(load);
	check_keys(load);
}
