// Certificates of the configuration: see certificate.h.
//
// tls/server and tls/client use them; the metrics and plist-admin status show when they
// expire.
// Threads: any.
#include "tls/certificate.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"

#define FILE_MAX ((size_t)1 << 20) // Debian's file of all authorities is 220 KiB long

void pl_certificate_subject(gnutls_x509_crt_t crt, char *text, size_t size)
{
	size_t len = size;
	if (gnutls_x509_crt_get_dn(crt, text, &len) != 0)
		snprintf(text, size, "a certificate without a name");
}

static void take(struct pl_certificate *certificate, gnutls_x509_crt_t crt)
{
	int64_t expires_us = (int64_t)gnutls_x509_crt_get_expiration_time(crt) * 1000000;
	if (certificate->expires_us != 0 && expires_us >= certificate->expires_us)
		return;
	certificate->expires_us = expires_us;
	certificate->starts_us = (int64_t)gnutls_x509_crt_get_activation_time(crt) * 1000000;
	pl_certificate_subject(crt, certificate->subject, sizeof(certificate->subject));
}

int pl_certificate_read(const char *file, struct pl_certificate *certificate_r, struct pl_error *err)
{
	struct pl_buf text = { 0 };
	gnutls_x509_crt_t *list;
	unsigned n = 0;
	int code = pl_file_read(file, FILE_MAX, &text, err);
	if (code != 0)
		return pl_error_prefix(err, "%s", file);
	gnutls_datum_t datum = { (unsigned char *)text.data, (unsigned)text.len };
	int failed = gnutls_x509_crt_list_import2(&list, &n, &datum, GNUTLS_X509_FMT_PEM, 0);
	pl_buf_fini(&text);
	if (failed < 0)
		return pl_error_set(err, PL_EINVAL, "%s: is not a file of certificates in PEM form: %s", file,
		                    gnutls_strerror(failed));
	certificate_r->expires_us = 0;
	for (unsigned i = 0; i < n; i++) {
		take(certificate_r, list[i]);
		gnutls_x509_crt_deinit(list[i]);
	}
	gnutls_free(list);
	return 0;
}

int pl_certificate_is_current(const struct pl_certificate *certificate, struct pl_error *err)
{
	int64_t now_us = pl_now_us();
	char time[PL_TIME_TEXT_MAX];
	if (now_us >= certificate->expires_us)
		return pl_error_set(err, PL_EINVAL, "%s: the certificate of %s expired at %s",
		                    certificate->file, certificate->subject,
		                    pl_clock_format_time(certificate->expires_us, time));
	if (now_us < certificate->starts_us)
		return pl_error_set(err, PL_EINVAL, "%s: the certificate of %s is not valid before %s",
		                    certificate->file, certificate->subject,
		                    pl_clock_format_time(certificate->starts_us, time));
	return 0;
}

int pl_certificate_read_key(const char *file, struct pl_buf *text, struct pl_error *err)
{
	int code = pl_file_read_private(file, FILE_MAX, text, err);
	return code == 0 ? 0 : pl_error_prefix(err, "%s", file);
}

// ---- the list

struct list {
	struct pl_arena *arena;
	struct pl_certificate *each;
	int n;
};

static void add(struct list *list, const char *use, const char *file)
{
	struct pl_error err;
	if (file == NULL || *file == '\0' || list->n == PL_CERTIFICATES_MAX)
		return;
	struct pl_certificate *certificate = &list->each[list->n++];
	*certificate = (struct pl_certificate){ .use = use, .file = pl_arena_strdup(list->arena, file) };
	int code = pl_certificate_read(file, certificate, &err);
	if (code != 0)
		snprintf(certificate->why, sizeof(certificate->why), "%s", err.text);
	certificate->broken = code == PL_EINVAL;
}

static void add_database(struct list *list, const struct pl_region *region)
{
	static const char *const keywords[] = { "sslrootcert", "sslcert" };
	PQconninfoOption *options = region->database ? PQconninfoParse(region->database, NULL) : NULL;
	for (PQconninfoOption *o = options; o && o->keyword; o++)
		for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
			if (strcmp(o->keyword, keywords[i]) == 0 && o->val && o->val[0] == '/')
				add(list,
				    pl_arena_printf(list->arena, "regions.%s.database %s", region->name,
				                    o->keyword),
				    o->val);
	PQconninfoFree(options);
}

static void add_region(struct list *list, const struct pl_region *region)
{
	const char *label = pl_arena_printf(list->arena, "regions.%s", region->name);
	add(list, pl_arena_printf(list->arena, "%s.tls.certificate", label), region->tls.certificate);
	add(list, pl_arena_printf(list->arena, "%s.tls.client_ca", label), region->tls.client_ca);
	add(list, pl_arena_printf(list->arena, "%s.tls.direct_ca", label), region->tls.direct_ca);
	add_database(list, region);
}

static void add_kafka(struct list *list, const struct pl_config *config)
{
	for (int i = 0; i < config->kafka.npairs; i++) {
		const char *key = config->kafka.pairs[i].key, *file = config->kafka.pairs[i].value;
		if ((strcmp(key, "ssl.ca.location") == 0 || strcmp(key, "ssl.certificate.location") == 0) &&
		    file[0] == '/')
			add(list, pl_arena_printf(list->arena, "kafka.properties.%s", key), file);
	}
}

int pl_certificate_list(const struct pl_config *config, const struct pl_region *region,
                        struct pl_arena *arena, struct pl_certificate *list_r)
{
	struct list list = { .arena = arena, .each = list_r };
	for (int i = 0; i < config->nregions; i++)
		if (region == NULL || strcmp(region->name, config->regions[i].name) == 0)
			add_region(&list, &config->regions[i]);
	add_kafka(&list, config);
	add(&list, "auth.jwt.jwks_ca", config->auth.jwt.jwks_ca);
	if (region == NULL) {
		add(&list, "nginx.tls.certificate", config->nginx.tls.certificate);
		add(&list, "nginx.tls.client_ca", config->nginx.tls.client_ca);
		add(&list, "nginx.upstream_tls.certificate", config->nginx.upstream_tls.certificate);
		add(&list, "nginx.upstream_tls.ca", config->nginx.upstream_tls.ca);
	}
	return list.n;
}
