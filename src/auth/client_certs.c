// See client_certs.h.
//
// GnuTLS reads the certificate. Its signature has been checked by the side that took it
// from the client. The dates are checked again, since a TLS session may outlive the
// certificate that began it.
#include "auth/client_certs.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

#define PEM_MAX  8192
#define NAME_MAX 256

// ---- rules

static const char *copy(struct pl_arena *arena, const char *text)
{
	return text ? pl_arena_strdup(arena, text) : NULL;
}

void pl_client_certs_take(struct pl_arena *arena, const struct pl_config *config,
                          struct pl_client_certs *certs_r)
{
	int n = config->auth.nclient_certs;

	certs_r->n = n;
	certs_r->rules = pl_arena_array(arena, (size_t)n + 1, sizeof(certs_r->rules[0]));
	for (int i = 0; i < n; i++) {
		const struct pl_client_cert_rule *from = &config->auth.client_certs[i];
		struct pl_client_cert_rule *to = &certs_r->rules[i];
		*to = (struct pl_client_cert_rule){ .subject = copy(arena, from->subject),
			                            .san = copy(arena, from->san),
			                            .principal = copy(arena, from->principal),
			                            .nroles = from->nroles };
		to->roles = pl_arena_array(arena, (size_t)from->nroles + 1, sizeof(to->roles[0]));
		for (int j = 0; j < from->nroles; j++)
			to->roles[j] = copy(arena, from->roles[j]);
	}
}

// ---- names

static const struct name_kind {
	const char *prefix;
	gnutls_x509_subject_alt_name_t type;
	char joint;       // separates the parts of a name; a * matches one part
	bool ignore_case; // and use the name's lower-case form
} kinds[] = {
	{ "DNS:", GNUTLS_SAN_DNSNAME, '.', true },
	{ "URI:", GNUTLS_SAN_URI, '/', false },
	{ "email:", GNUTLS_SAN_RFC822NAME, '@', false },
};

static const struct name_kind *kind_of(const char *san)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(san, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return &kinds[i];
	return NULL;
}

static bool equal(const struct name_kind *kind, const char *a, const char *b, size_t len)
{
	return kind->ignore_case ? strncasecmp(a, b, len) == 0 : strncmp(a, b, len) == 0;
}

static bool matches(const struct name_kind *kind, const char *form, const char *name)
{
	const char *star = strchr(form, '*');
	size_t len = strlen(name);

	if (!star)
		return strlen(form) == len && equal(kind, form, name, len);
	size_t before = (size_t)(star - form), after = strlen(star + 1);
	if (len <= before + after || !equal(kind, form, name, before) ||
	    !equal(kind, star + 1, name + len - after, after))
		return false;
	return memchr(name + before, kind->joint, len - before - after) == NULL;
}

static char *lower(struct pl_arena *arena, const char *name)
{
	char *text = pl_arena_strdup(arena, name);

	for (char *p = text; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	return text;
}

// Finds the alternative name that matches the rule. Returns the number of names that
// match: with several, the certificate does not say who its holder is.
static int find_name(struct pl_arena *arena, gnutls_x509_crt_t crt, const char *san, const char **name_r)
{
	const struct name_kind *kind = kind_of(san);
	int n = 0, type;

	for (unsigned i = 0; kind; i++) {
		char name[NAME_MAX];
		size_t len = sizeof(name);
		type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &len, NULL);
		if (type == GNUTLS_E_SHORT_MEMORY_BUFFER)
			continue;
		if (type < 0)
			break;
		if (type != (int)kind->type || len >= sizeof(name) || memchr(name, '\0', len))
			continue;
		name[len] = '\0';
		if (kind->ignore_case && strchr(name, '*')) // for many hosts: it names none of them
			continue;
		if (!matches(kind, san + strlen(kind->prefix), name))
			continue;
		const char *found = kind->ignore_case ? lower(arena, name) : pl_arena_strdup(arena, name);
		n += n == 0 || strcmp(found, *name_r) != 0;
		*name_r = found;
	}
	return n;
}

static const char *subject_of(struct pl_arena *arena, gnutls_x509_crt_t crt)
{
	gnutls_datum_t text = { 0 };

	if (gnutls_x509_crt_get_dn3(crt, &text, 0) != 0)
		return "";
	const char *subject = memchr(text.data, '\0', text.size)
	                              ? ""
	                              : pl_arena_strndup(arena, (const char *)text.data, text.size);
	gnutls_free(text.data);
	return subject;
}

// ---- the check

static int refuse(struct pl_client_certs_result *result_r, const char *why)
{
	result_r->why = why;
	return PL_EINVAL;
}

static int use_rule(const struct pl_client_cert_rule *rule, const char *name,
                    struct pl_client_certs_result *result_r)
{
	const char *principal = rule->principal ? rule->principal : name;

	if (!pl_roles_valid_principal(principal))
		return refuse(result_r,
		              "the name in its certificate cannot be a principal, which has at most "
		              "64 visible ASCII characters and is not " PL_PRINCIPALS_OF_PLIST);
	result_r->identity =
		(struct pl_identity){ .principal = principal, .roles = { rule->nroles, rule->roles } };
	return 0;
}

static int find_rule(const struct pl_client_certs *certs, struct pl_arena *arena, gnutls_x509_crt_t crt,
                     struct pl_client_certs_result *result_r)
{
	const char *subject = subject_of(arena, crt);

	for (int i = 0; i < certs->n; i++) {
		const struct pl_client_cert_rule *rule = &certs->rules[i];
		const char *name = NULL;
		if (rule->subject && strcmp(rule->subject, subject) == 0)
			return use_rule(rule, NULL, result_r);
		int n = rule->san ? find_name(arena, crt, rule->san, &name) : 0;
		if (n > 1 && !rule->principal)
			return refuse(result_r,
			              pl_arena_printf(arena,
			                              "its certificate has several names that match %s",
			                              rule->san));
		if (n > 0)
			return use_rule(rule, name, result_r);
	}
	return refuse(result_r, pl_arena_printf(arena,
	                                        "no entry of auth.client_certificates matches its "
	                                        "certificate, whose subject is \"%.200s\"",
	                                        subject));
}

static int check(const struct pl_client_certs *certs, struct pl_arena *arena, const gnutls_datum_t *shown,
                 gnutls_x509_crt_fmt_t format, struct pl_client_certs_result *result_r)
{
	gnutls_x509_crt_t crt;
	int rc;

	if (gnutls_x509_crt_init(&crt) != 0)
		return refuse(result_r, "there is no memory for its certificate");
	if (gnutls_x509_crt_import(crt, shown, format) != 0) {
		gnutls_x509_crt_deinit(crt);
		return refuse(result_r, "its certificate cannot be read");
	}
	result_r->until_us = (int64_t)gnutls_x509_crt_get_expiration_time(crt) * 1000000;
	if (result_r->now_us >= result_r->until_us)
		rc = refuse(result_r, "its certificate has expired");
	else if (result_r->now_us < (int64_t)gnutls_x509_crt_get_activation_time(crt) * 1000000)
		rc = refuse(result_r, "its certificate is not valid yet");
	else
		rc = find_rule(certs, arena, crt, result_r);
	gnutls_x509_crt_deinit(crt);
	return rc;
}

int pl_client_certs_check(const struct pl_client_certs *certs, struct pl_arena *arena, const void *der,
                          size_t len, struct pl_client_certs_result *result_r)
{
	const gnutls_datum_t shown = { (unsigned char *)(uintptr_t)der, (unsigned)len };

	return check(certs, arena, &shown, GNUTLS_X509_FMT_DER, result_r);
}

static int value_of(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	                              : -1;
}

// Returns the length, or -1.
static int unescape(const char *text, char pem[PEM_MAX])
{
	int len = 0;

	for (; *text; text++) {
		if (len == PEM_MAX - 1)
			return -1;
		if (*text == '%') {
			int high = value_of(text[1]), low = high < 0 ? -1 : value_of(text[2]);
			if (low < 0)
				return -1;
			pem[len++] = (char)(high << 4 | low);
			text += 2;
		} else
			pem[len++] = *text;
	}
	pem[len] = '\0';
	return len;
}

int pl_client_certs_check_escaped(const struct pl_client_certs *certs, struct pl_arena *arena,
                                  const char *text, struct pl_client_certs_result *result_r)
{
	char pem[PEM_MAX];

	if (strcmp(text, PL_CLIENT_CERTS_TOO_LARGE) == 0)
		return refuse(result_r, "its certificate is larger than NGINX passes on");
	int len = unescape(text, pem);
	if (len < 0)
		return refuse(result_r, "its certificate cannot be read");
	const gnutls_datum_t shown = { (unsigned char *)pem, (unsigned)len };
	return check(certs, arena, &shown, GNUTLS_X509_FMT_PEM, result_r);
}
