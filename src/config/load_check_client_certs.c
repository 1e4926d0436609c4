// Checks of auth.client_certificates: rules that can be met, and by nobody but the holder
// of the certificate.
//
// A part of the last step of loading: see load_check.c. Behind NGINX, the daemon has only
// NGINX's word for a certificate. So it must know that its peer is NGINX: by the
// certificate of the connection, or because only NGINX may use its UNIX socket.
// Threads: any.
#include "config/load_private.h"

#include <string.h>

#include "config/principals.h"

static bool same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static const struct pl_yaml_node *rule_at(const struct pl_load *load, int i)
{
	const struct pl_yaml_node *list =
		pl_yaml_member(pl_yaml_member(load->root, "auth"), "client_certificates");
	const struct pl_yaml_node *node = list != NULL ? list->first : NULL;

	while (node != NULL && i-- > 0)
		node = node->next;
	return node;
}

// The name of a san, behind "DNS:".
static const char *name_of(const char *san)
{
	return strchr(san, ':') + 1;
}

static void check_names(struct pl_load *load, int i)
{
	const struct pl_client_cert_rule *rule = &load->config->auth.client_certs[i];
	const struct pl_yaml_node *node = rule_at(load, i);
	// Given, even if the value was refused.
	bool subject = pl_yaml_member(node, "subject") != NULL, san = pl_yaml_member(node, "san") != NULL;

	if (subject == san)
		pl_load_fault(load, node, NULL,
		              "auth.client_certificates[%d]: must have either subject or san, to say which "
		              "certificates it is about",
		              i);
	if (rule->san != NULL && strchr(rule->san, '*') != strrchr(rule->san, '*'))
		pl_load_fault(load, node, "san", "auth.client_certificates[%d].san: may have only one *", i);
	if (pl_yaml_member(node, "principal") != NULL || subject == san)
		return;
	if (subject)
		pl_load_fault(load, node, NULL,
		              "auth.client_certificates[%d].principal: is missing; only the name that san "
		              "matches can stand for itself",
		              i);
	else if (rule->san != NULL && strchr(rule->san, '*') == NULL &&
	         strlen(name_of(rule->san)) > PL_PRINCIPAL_MAX)
		pl_load_fault(load, node, NULL,
		              "auth.client_certificates[%d].principal: is missing, and the name is too long "
		              "for one, which may have %d characters",
		              i, PL_PRINCIPAL_MAX);
}

// A rule whose principal is one of plist's own would let nobody in.
static void check_principal(struct pl_load *load, int i)
{
	const struct pl_client_cert_rule *rule = &load->config->auth.client_certs[i];
	bool named = rule->principal == NULL && rule->san != NULL && strchr(rule->san, '*') == NULL;
	const char *principal = named ? name_of(rule->san) : rule->principal;

	if (principal != NULL && pl_principals_has(principal))
		pl_load_fault(load, rule_at(load, i), named ? "san" : "principal",
		              "auth.client_certificates[%d].%s: the principal of a client cannot "
		              "be " PL_PRINCIPALS_OF_PLIST,
		              i, named ? "san" : "principal");
}

static void check_repetition(struct pl_load *load, int i)
{
	const struct pl_client_cert_rule *rules = load->config->auth.client_certs;

	for (int j = 0; j < i; j++)
		if ((rules[i].subject != NULL || rules[i].san != NULL) &&
		    same(rules[i].subject, rules[j].subject) && same(rules[i].san, rules[j].san)) {
			pl_load_fault(
				load, rule_at(load, i), NULL,
				"auth.client_certificates[%d]: is never used, since entry %d is about the "
				"same certificates",
				i, j);
			return;
		}
}

static bool has(const char **list, int n, const char *word)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i], word) == 0)
			return true;
	return false;
}

// Whether NGINX reaches all daemons of the region by their UNIX socket, and is trusted
// there.
static bool is_beside(const struct pl_config *config, const struct pl_region *region)
{
	return region->nupstream == 1 &&
	       has(config->nginx.local_regions, config->nginx.nlocal_regions, region->name) &&
	       has(config->http.trusted_proxies, config->http.ntrusted_proxies, "unix");
}

static void check_way(struct pl_load *load)
{
	const struct pl_config *config = load->config;

	if (config->http.ntrusted_proxies == 0)
		pl_load_fault(load, pl_yaml_member(load->root, "http"), NULL,
		              "http.trusted_proxies: is missing; NGINX passes on the certificates of clients "
		              "(auth.client_certificates), so list the addresses from which it connects");
	for (int i = 0; i < config->nregions; i++) {
		const struct pl_region *region = &config->regions[i];
		if (region->tls.certificate == NULL && !is_beside(config, region))
			pl_load_fault(
				load, pl_load_named(load, "regions", region->name), NULL,
				"regions.%s.tls: is missing; NGINX passes on the certificates of clients "
				"(auth.client_certificates), and without TLS the daemon cannot tell it "
				"from others",
				region->name);
	}
}

void pl_load_check_client_certs(struct pl_load *load)
{
	const struct pl_config *config = load->config;
	bool direct = false;

	if (config->auth.nclient_certs == 0)
		return;
	for (int i = 0; i < config->auth.nclient_certs; i++) {
		check_names(load, i);
		check_principal(load, i);
		check_repetition(load, i);
	}
	for (int i = 0; i < config->nregions; i++)
		direct |= config->regions[i].tls.direct_ca != NULL;
	if (config->nginx.tls.client_ca != NULL)
		check_way(load);
	else if (!direct)
		pl_load_fault(load, pl_yaml_member(load->root, "auth"), "client_certificates",
		              "auth.client_certificates: no client is asked for a certificate; set "
		              "nginx.tls.client_ca, or regions.<name>.tls.direct_ca for clients that connect "
		              "to the daemon itself");
}
