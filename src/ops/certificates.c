// The certificates of a daemon: see certificates.h.
//
// Threads: see there; the list in the daemon is protected by its lock.
#include "ops/certificates.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ops/members.h"
#include "ops/ops_private.h"
#include "tls/certificate.h"

#define SOON_US (14 * INT64_C(86400000000))

struct pl_certificates {
	struct pl_arena *arena;
	bool misnamed; // the daemon's own one
	int n;
	struct pl_certificate each[PL_CERTIFICATES_MAX];
};

static void warn(const struct pl_certificate *certificate)
{
	char time[PL_TIME_TEXT_MAX];
	if (certificate->expires_us == 0)
		pl_warning("tls: %s: %s", certificate->use, certificate->why);
	else if (certificate->expires_us < pl_now_us() + SOON_US)
		pl_warning("tls: %s: the certificate of %s in %s %s at %s; replace it and reload",
		           certificate->use, certificate->subject, certificate->file,
		           certificate->expires_us < pl_now_us() ? "expired" : "expires",
		           pl_clock_format_time(certificate->expires_us, time));
}

struct pl_certificates *pl_certificates_load(const struct pl_config *config, const char *name,
                                             struct pl_tls_server **tls_r, struct pl_error *err)
{
	const struct pl_region *region = pl_config_region(config, name, strlen(name));
	*tls_r = NULL;
	if (region->tls.certificate) {
		*tls_r = pl_tls_server_new(region, config->nginx.upstream_tls.name, err);
		if (!*tls_r)
			return NULL;
	}
	struct pl_certificates *certificates = pl_calloc(1, sizeof(*certificates));
	certificates->arena = pl_arena_new(0);
	certificates->misnamed = *tls_r && pl_tls_server_misnamed(*tls_r);
	certificates->n = pl_certificate_list(config, region, certificates->arena, certificates->each);
	for (int i = 0; i < certificates->n; i++)
		warn(&certificates->each[i]);
	return certificates;
}

void pl_certificates_free(struct pl_certificates **certificates_p)
{
	struct pl_certificates *certificates = *certificates_p;
	*certificates_p = NULL;
	if (!certificates)
		return;
	pl_arena_free(&certificates->arena);
	free(certificates);
}

void pl_certificates_replace(struct pl_daemon *daemon, struct pl_certificates *certificates,
                             struct pl_tls_server *tls)
{
	pthread_mutex_lock(&daemon->lock);
	struct pl_certificates *old = daemon->certificates;
	daemon->certificates = certificates;
	pthread_mutex_unlock(&daemon->lock);
	pl_certificates_free(&old);
	pl_tls_server_unref(&daemon->tls);
	daemon->tls = tls;
}

// ---- showing

void pl_certificates_print_metrics(struct pl_buf *buf, struct pl_daemon *daemon)
{
	static const char family[] = "plist_certificate_expiry_timestamp_seconds";
	pthread_mutex_lock(&daemon->lock);
	const struct pl_certificates *certificates = daemon->certificates;
	pl_buf_printf(buf, "# HELP %s When a certificate that the daemon uses expires; 0: unreadable.\n",
	              family);
	pl_buf_printf(buf, "# TYPE %s gauge\n", family);
	for (int i = 0; certificates && i < certificates->n; i++)
		pl_buf_printf(buf, "%s{use=\"%s\"} %" PRId64 "\n", family, certificates->each[i].use,
		              certificates->each[i].expires_us / 1000000);
	pl_buf_printf(buf,
	              "# HELP plist_certificate_misnamed Whether the daemon's certificate does not have the "
	              "name that NGINX expects.\n# TYPE plist_certificate_misnamed gauge\n"
	              "plist_certificate_misnamed %d\n",
	              certificates && certificates->misnamed);
	pthread_mutex_unlock(&daemon->lock);
	pl_buf_adds(buf, "# HELP plist_tls_refused_total Connections refused because of their certificate.\n"
	                 "# TYPE plist_tls_refused_total counter\n");
	pl_buf_printf(buf, "plist_tls_refused_total %" PRIu64 "\n", pl_tls_server_refused());
}

void pl_certificates_print_status(struct pl_buf *members, struct pl_daemon *daemon)
{
	pthread_mutex_lock(&daemon->lock);
	const struct pl_certificates *certificates = daemon->certificates;
	pl_buf_adds(members, ",\"certificates\":[");
	for (int i = 0; certificates && i < certificates->n; i++) {
		const struct pl_certificate *one = &certificates->each[i];
		pl_buf_printf(members, "%s{\"use\":\"%s\"", i ? "," : "", one->use);
		pl_members_add_text(members, "file", one->file);
		if (one->expires_us) {
			pl_members_add_text(members, "subject", one->subject);
			pl_members_add_time(members, "expires_at", one->expires_us);
		} else
			pl_members_add_text(members, "why", one->why);
		pl_buf_addc(members, '}');
	}
	pl_buf_addc(members, ']');
	pthread_mutex_unlock(&daemon->lock);
}
