// TLS of the daemon: see server.h.
//
// A client is verified when its last handshake message arrives, whether the session is
// new or resumed, so that a certificate that has expired in the meantime is refused as
// well. The client gets an alert, and the operator a log line. No HTTP is read before
// that. Tickets let NGINX resume its sessions, since it opens one connection per write.
// Their key belongs to the credentials: a reload ends all tickets. So does the end of the
// daemon's own certificate, which NGINX verifies in a complete handshake only.
//
// Connections outlive certificates and configurations. So the chain that a peer has shown
// is verified again with the authorities now in force when the next request comes, after
// a reload and after one of its certificates has expired.
// Invariant: the credentials that a session began with live until it ends.
// Threads: see server.h.
#include "tls/server.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <netdb.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "tls/certificate.h"

// TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only. In TLS 1.2, a
// client could still ask for signatures of SHA-1, which "-SHA1" does not mean.
#define PRIORITIES                                                                                \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:" \
	"+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-SHA1:"                                     \
	"-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

// What a client may show; GnuTLS verifies no longer chains. It collects a message of the
// handshake whatever its length, which is up to 16 MiB, and its own limit counts only
// those that are complete. So all bytes are counted, until the client is verified.
#define CHAIN_MAX     16
#define HANDSHAKE_MAX ((size_t)64 << 10)

#define TICKET_S      3600 // how long a session may be resumed

struct pl_tls_server {
	atomic_int refs;
	uint64_t number;                 // different for each load
	int64_t expires_us;              // the first certificate of our own chain
	char *client_ca, *direct_ca;     // the files; direct_ca may be NULL
	gnutls_x509_trust_list_t direct; // the authorities of direct_ca; NULL: no client connects directly
	struct pl_buf certificate, key;
	gnutls_certificate_credentials_t credentials;
	gnutls_datum_t ticket_key;
	bool misnamed;
};

static atomic_uint_fast64_t refused;

uint64_t pl_tls_server_refused(void)
{
	return atomic_load(&refused);
}

const char *pl_tls_server_certificate(const struct pl_tls_server *server)
{
	return server->certificate.data;
}

const char *pl_tls_server_key(const struct pl_tls_server *server)
{
	return server->key.data;
}

const char *pl_tls_server_priorities(void)
{
	return PRIORITIES;
}

// ---- loading

static int load_pair(struct pl_tls_server *server, const struct pl_region_tls *files, struct pl_error *err)
{
	struct pl_certificate certificate = { .file = files->certificate };
	int code = pl_certificate_read(files->certificate, &certificate, err);
	if (code == 0)
		code = pl_file_read(files->certificate, (size_t)1 << 20, &server->certificate, err);
	if (code != 0)
		return pl_error_prefix(err, "certificate");
	code = pl_certificate_read_key(files->key, &server->key, err);
	if (code != 0)
		return pl_error_prefix(err, "key");
	struct pl_error late;
	if (pl_certificate_is_current(&certificate, &late) != 0)
		pl_warning("tls: %s", late.text);
	gnutls_datum_t crt = { (unsigned char *)server->certificate.data, (unsigned)server->certificate.len };
	gnutls_datum_t key = { (unsigned char *)server->key.data, (unsigned)server->key.len };
	server->expires_us = certificate.expires_us;
	int failed =
		gnutls_certificate_set_x509_key_mem(server->credentials, &crt, &key, GNUTLS_X509_FMT_PEM);
	if (failed == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return pl_error_set(err, PL_EINVAL, "key: %s: is not the key of the certificate %s",
		                    files->key, files->certificate);
	if (failed < 0)
		return pl_error_set(err, PL_EINVAL, "key: %s: %s", files->key, gnutls_strerror(failed));
	return 0;
}

static int load_client_ca(struct pl_tls_server *server, const char *file, struct pl_error *err)
{
	struct pl_certificate certificate = { .file = file };
	int code = pl_certificate_read(file, &certificate, err);
	if (code != 0)
		return pl_error_prefix(err, "client_ca");
	struct pl_error late;
	if (pl_certificate_is_current(&certificate, &late) != 0)
		pl_warning("tls: client_ca: %s", late.text);
	int n = gnutls_certificate_set_x509_trust_file(server->credentials, file, GNUTLS_X509_FMT_PEM);
	return n > 0 ? 0
	             : pl_error_set(err, PL_EINVAL, "client_ca: %s: has no certificate of an authority",
	                            file);
}

// ---- clients without NGINX

#define AUTHORITIES_MAX 16

struct authorities {
	gnutls_x509_crt_t each[AUTHORITIES_MAX];
	unsigned n;
};

static int load_authorities(const char *file, struct authorities *list_r, struct pl_error *err)
{
	struct pl_buf text = { 0 };
	int code = pl_file_read(file, (size_t)1 << 20, &text, err);
	if (code != 0)
		return pl_error_prefix(err, "%s", file);
	gnutls_datum_t datum = { (unsigned char *)text.data, (unsigned)text.len };
	list_r->n = AUTHORITIES_MAX;
	int failed = gnutls_x509_crt_list_import(list_r->each, &list_r->n, &datum, GNUTLS_X509_FMT_PEM,
	                                         GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
	pl_buf_fini(&text);
	if (failed >= 0)
		return 0;
	list_r->n = 0;
	return pl_error_set(err, PL_EINVAL, "%s: is not a file of at most %d certificates in PEM form: %s",
	                    file, AUTHORITIES_MAX, gnutls_strerror(failed));
}

static void free_authorities(struct authorities *list)
{
	for (unsigned i = 0; i < list->n; i++)
		gnutls_x509_crt_deinit(list->each[i]);
	list->n = 0;
}

// Whether an authority of one list would be accepted where those of the other list are.
static bool vouch_for(const struct authorities *list, const struct authorities *other)
{
	unsigned flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS;
	bool found = false;
	gnutls_x509_trust_list_t trusted;

	if (gnutls_x509_trust_list_init(&trusted, 0) < 0)
		return true;
	gnutls_x509_trust_list_add_cas(trusted, list->each, (int)list->n, 0);
	for (unsigned i = 0; i < other->n && !found; i++) {
		gnutls_x509_crt_t crt = other->each[i];
		unsigned status = 0;
		found = gnutls_x509_trust_list_verify_crt2(trusted, &crt, 1, NULL, 0, flags, &status, NULL) <
		                0 ||
		        status == 0;
	}
	gnutls_x509_trust_list_deinit(trusted, 0);
	return found;
}

// A client's certificate must not pass for NGINX's, nor the other way round.
static int check_apart(const struct pl_region_tls *files, const struct authorities *direct,
                       struct pl_error *err)
{
	struct authorities proxies = { .n = 0 };
	int code = load_authorities(files->client_ca, &proxies, err);
	if (code == 0 && (vouch_for(&proxies, direct) || vouch_for(direct, &proxies)))
		code = pl_error_set(
			err, PL_EINVAL,
			"%s: has the authority of client_ca, or one of them has signed the other, "
			"so a client could pass for NGINX; use an authority that signs only the "
			"certificates of clients",
			files->direct_ca);
	free_authorities(&proxies);
	return code;
}

static int load_direct_ca(struct pl_tls_server *server, const struct pl_region_tls *files,
                          struct pl_error *err)
{
	struct authorities direct = { .n = 0 };
	if (files->direct_ca == NULL)
		return 0;
	int code = load_authorities(files->direct_ca, &direct, err);
	if (code == 0)
		code = check_apart(files, &direct, err);
	if (code == 0 &&
	    (gnutls_x509_trust_list_init(&server->direct, 0) < 0 ||
	     gnutls_x509_trust_list_add_cas(server->direct, direct.each, (int)direct.n, 0) != (int)direct.n))
		code = pl_error_set(err, PL_EINVAL, "%s: cannot be used", files->direct_ca);
	else if (code == 0)
		direct.n = 0; // they belong to the trust list now
	if (code == 0 && gnutls_certificate_set_x509_trust_file(server->credentials, files->direct_ca,
	                                                        GNUTLS_X509_FMT_PEM) <= 0)
		code = pl_error_set(err, PL_EINVAL, "%s: has no certificate of an authority",
		                    files->direct_ca);
	free_authorities(&direct);
	return code == 0 ? 0 : pl_error_prefix(err, "direct_ca");
}

// Warns if NGINX would refuse the certificate: here, the message is easier to find.
static void check_name(struct pl_tls_server *server, const struct pl_region *region, const char *name)
{
	gnutls_datum_t datum = { (unsigned char *)server->certificate.data,
		                 (unsigned)server->certificate.len };
	gnutls_x509_crt_t crt;
	if (gnutls_x509_crt_init(&crt) != 0)
		return;
	server->misnamed = gnutls_x509_crt_import(crt, &datum, GNUTLS_X509_FMT_PEM) == 0 &&
	                   !gnutls_x509_crt_check_hostname(crt, name);
	if (server->misnamed)
		pl_warning(
			"tls: %s: is not a certificate for the name %s (nginx.upstream_tls.name), so NGINX "
			"will refuse it; make one with subjectAltName=DNS:%s",
			region->tls.certificate, name, name);
	gnutls_x509_crt_deinit(crt);
}

struct pl_tls_server *pl_tls_server_new(const struct pl_region *region, const char *name,
                                        struct pl_error *err)
{
	static atomic_uint_fast64_t last;
	struct pl_tls_server *server = pl_calloc(1, sizeof(*server));
	atomic_init(&server->refs, 1);
	server->number = atomic_fetch_add(&last, 1) + 1;
	server->client_ca = pl_strdup(region->tls.client_ca);
	server->direct_ca = region->tls.direct_ca ? pl_strdup(region->tls.direct_ca) : NULL;
	gnutls_certificate_allocate_credentials(&server->credentials);
	int code = load_pair(server, &region->tls, err);
	if (code == 0)
		code = load_client_ca(server, region->tls.client_ca, err);
	if (code == 0)
		code = load_direct_ca(server, &region->tls, err);
	if (code == 0 && gnutls_session_ticket_key_generate(&server->ticket_key) < 0)
		code = pl_error_set(err, PL_EINTERNAL, "no random numbers for the key of tickets");
	if (code != 0) {
		pl_error_prefix(err, "regions.%s.tls", region->name);
		err->code = PL_EINVAL; // even if a file is missing: the configuration is wrong
		pl_tls_server_unref(&server);
		return NULL;
	}
	check_name(server, region, name);
	return server;
}

bool pl_tls_server_misnamed(const struct pl_tls_server *server)
{
	return server->misnamed;
}

struct pl_tls_server *pl_tls_server_ref(struct pl_tls_server *server)
{
	if (server)
		atomic_fetch_add(&server->refs, 1);
	return server;
}

void pl_tls_server_unref(struct pl_tls_server **server_p)
{
	struct pl_tls_server *server = *server_p;
	*server_p = NULL;
	if (!server || atomic_fetch_sub(&server->refs, 1) > 1)
		return;
	gnutls_certificate_free_credentials(server->credentials);
	if (server->key.data)
		explicit_bzero(server->key.data, server->key.len);
	pl_buf_fini(&server->key);
	pl_buf_fini(&server->certificate);
	gnutls_memset(server->ticket_key.data, 0, server->ticket_key.size);
	gnutls_free(server->ticket_key.data);
	if (server->direct)
		gnutls_x509_trust_list_deinit(server->direct, 1);
	free(server->client_ca);
	free(server->direct_ca);
	free(server);
}

// ---- verifying clients

static void name_of_peer(int fd, char *text, socklen_t size)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	if (getpeername(fd, (struct sockaddr *)&address, &len) != 0 || address.ss_family == AF_UNIX ||
	    getnameinfo((struct sockaddr *)&address, len, text, size, NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(text, size, "the UNIX socket");
}

static void subject_of(gnutls_session_t session, char *text, size_t size)
{
	unsigned n = 0;
	const gnutls_datum_t *peers = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t crt;
	text[0] = '\0';
	if (!peers || n == 0 || gnutls_x509_crt_init(&crt) != 0)
		return;
	if (gnutls_x509_crt_import(crt, &peers[0], GNUTLS_X509_FMT_DER) == 0)
		pl_certificate_subject(crt, text, size);
	gnutls_x509_crt_deinit(crt);
}

static void log_refusal(const struct pl_tls_peer *peer, const char *what, const char *why)
{
	static struct pl_log_burst burst;
	char address[64], subject[256];
	atomic_fetch_add(&refused, 1);
	if (!pl_log_burst_ok(&burst))
		return;
	name_of_peer(peer->fd, address, sizeof(address));
	subject_of(peer->session, subject, sizeof(subject));
	pl_warning("tls: %s a connection from %s: %s%s%s%s", what, address, why, subject[0] ? " (" : "",
	           subject, subject[0] ? ")" : "");
}

static int refuse(const struct pl_tls_peer *peer, gnutls_alert_description_t alert, const char *why)
{
	gnutls_alert_send(peer->session, GNUTLS_AL_FATAL, alert);
	log_refusal(peer, "refused", why);
	return GNUTLS_E_CERTIFICATE_ERROR;
}

// What is wrong with a certificate, and the alert that says so.
static gnutls_alert_description_t explain(const struct pl_tls_server *server, unsigned status,
                                          char why_r[PL_ERROR_TEXT_MAX])
{
	const char *why = NULL;
	gnutls_alert_description_t alert = GNUTLS_A_BAD_CERTIFICATE;
	if (status & GNUTLS_CERT_EXPIRED) {
		alert = GNUTLS_A_CERTIFICATE_EXPIRED;
		why = "its certificate has expired";
	} else if (status & GNUTLS_CERT_NOT_ACTIVATED)
		why = "its certificate is not valid yet";
	else if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
		why = "its certificate is not one for clients (extendedKeyUsage)";
	else
		alert = GNUTLS_A_UNKNOWN_CA;
	if (why)
		snprintf(why_r, PL_ERROR_TEXT_MAX, "%s", why);
	else
		snprintf(why_r, PL_ERROR_TEXT_MAX,
		         "its certificate is not signed by the authority in %.200s (client_ca)%s%.200s%s",
		         server->client_ca, server->direct_ca ? " or " : "",
		         server->direct_ca ? server->direct_ca : "", server->direct_ca ? " (direct_ca)" : "");
	return alert;
}

// The certificates that a peer has shown, up to the first that cannot be read.
struct chain {
	gnutls_x509_crt_t each[CHAIN_MAX];
	unsigned n;
};

static void read_chain(gnutls_session_t session, struct chain *chain_r)
{
	unsigned n = 0;
	const gnutls_datum_t *shown = gnutls_certificate_get_peers(session, &n);

	chain_r->n = 0;
	while (shown && chain_r->n < n && chain_r->n < CHAIN_MAX) {
		gnutls_x509_crt_t *crt = &chain_r->each[chain_r->n];
		if (gnutls_x509_crt_init(crt) != 0)
			return;
		if (gnutls_x509_crt_import(*crt, &shown[chain_r->n], GNUTLS_X509_FMT_DER) != 0) {
			gnutls_x509_crt_deinit(*crt);
			return;
		}
		chain_r->n++;
	}
}

static void free_chain(struct chain *chain)
{
	for (unsigned i = 0; i < chain->n; i++)
		gnutls_x509_crt_deinit(chain->each[i]);
	chain->n = 0;
}

// Whether a verified certificate was issued by direct_ca.
static bool is_direct(const struct pl_tls_server *server, struct chain *chain)
{
	unsigned status = 0;

	// In case of doubt, the peer is not part of the deployment.
	return server->direct && (chain->n == 0 ||
	                          gnutls_x509_trust_list_verify_crt2(server->direct, chain->each, chain->n,
	                                                             NULL, 0, 0, &status, NULL) < 0 ||
	                          status == 0);
}

static gnutls_x509_trust_list_t authorities_of(const struct pl_tls_server *server)
{
	gnutls_x509_trust_list_t list = NULL;

	gnutls_certificate_get_trust_list(server->credentials, &list);
	return list;
}

// A certificate is valid until its last second is over.
static void sooner(int64_t *at_us, gnutls_x509_crt_t crt, int64_t now_us)
{
	int64_t expires_us = ((int64_t)gnutls_x509_crt_get_expiration_time(crt) + 1) * 1000000;

	if (expires_us > now_us && expires_us < *at_us)
		*at_us = expires_us;
}

// When one of the certificates expires, or the authority of one. What has expired already
// was not needed.
static int64_t end_of(const struct pl_tls_server *server, const struct chain *chain, int64_t now_us)
{
	gnutls_x509_crt_t issuer;
	int64_t at_us = INT64_MAX;

	for (unsigned i = 0; i < chain->n; i++) {
		sooner(&at_us, chain->each[i], now_us);
		if (gnutls_x509_trust_list_get_issuer(authorities_of(server), chain->each[i], &issuer, 0) ==
		    0)
			sooner(&at_us, issuer, now_us);
	}
	return at_us;
}

static void accept_chain(struct pl_tls_peer *peer, const struct pl_tls_server *server, struct chain *chain,
                         int64_t now_us)
{
	peer->direct = is_direct(server, chain);
	peer->accepted_by = server->number;
	peer->look_again_us = end_of(server, chain, now_us);
	peer->verified = true;
}

bool pl_tls_server_accepts(const struct pl_tls_server *server, struct pl_tls_peer *peer, int64_t now_us)
{
	gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID, (void *)GNUTLS_KP_TLS_WWW_CLIENT, 0 };
	char why[PL_ERROR_TEXT_MAX] = "its certificate cannot be read";
	struct chain chain;
	unsigned status = 0;
	bool accepted = false;

	if (peer->accepted_by == server->number && now_us < peer->look_again_us)
		return true;
	read_chain(peer->session, &chain);
	int failed = gnutls_x509_trust_list_verify_crt2(authorities_of(server), chain.each, chain.n, &purpose,
	                                                1, 0, &status, NULL);
	if (chain.n > 0 && failed >= 0 && status == 0) {
		accept_chain(peer, server, &chain, now_us);
		accepted = true;
	} else {
		if (chain.n > 0 && failed >= 0)
			explain(server, status, why);
		log_refusal(peer, "ends", why);
		peer->accepted_by = 0;
	}
	free_chain(&chain);
	return accepted;
}

const gnutls_datum_t *pl_tls_server_client(const struct pl_tls_peer *peer)
{
	unsigned n = 0;
	return peer->direct ? gnutls_certificate_get_peers(peer->session, &n) : NULL;
}

// Called before the client's "finished" is processed.
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                       const gnutls_datum_t *message)
{
	struct pl_tls_peer *peer = gnutls_db_get_ptr(session);
	gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID, (void *)GNUTLS_KP_TLS_WWW_CLIENT, 0 };
	char why[PL_ERROR_TEXT_MAX];
	struct chain chain;
	unsigned n = 0, status = 0;
	if (!incoming)
		return 0;
	if (!gnutls_certificate_get_peers(session, &n) || n == 0)
		return refuse(peer,
		              gnutls_protocol_get_version(session) >= GNUTLS_TLS1_3
		                      ? GNUTLS_A_CERTIFICATE_REQUIRED
		                      : GNUTLS_A_HANDSHAKE_FAILURE,
		              "it showed no certificate, which regions.<name>.tls.client_ca requires");
	if (n > CHAIN_MAX)
		return refuse(peer, GNUTLS_A_BAD_CERTIFICATE, "its chain has more than 16 certificates");
	int failed = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
	if (failed < 0)
		return refuse(peer, GNUTLS_A_BAD_CERTIFICATE, gnutls_strerror(failed));
	if (status)
		return refuse(peer, explain(peer->server, status, why), why);
	read_chain(session, &chain);
	accept_chain(peer, peer->server, &chain, pl_now_us());
	free_chain(&chain);
	return 0;
}

// ---- receiving

static void note_flood(const struct pl_tls_peer *peer)
{
	static struct pl_log_burst burst;
	char address[64];
	atomic_fetch_add(&refused, 1);
	if (!pl_log_burst_ok(&burst))
		return;
	name_of_peer(peer->fd, address, sizeof(address));
	pl_warning("tls: refused a connection from %s: it sent %zu KiB before it was verified", address,
	           HANDSHAKE_MAX >> 10);
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *data, size_t size)
{
	struct pl_tls_peer *peer = ptr;
	if (peer->received >= HANDSHAKE_MAX && !peer->verified) {
		note_flood(peer);
		errno = ECONNABORTED;
		return -1;
	}
	ssize_t n = recv(peer->fd, data, size, 0);
	if (n > 0 && !peer->verified)
		peer->received += (size_t)n;
	return n;
}

// GnuTLS asks for it if a function other than its own receives.
static int pull_timeout(gnutls_transport_ptr_t ptr, unsigned ms)
{
	const struct pl_tls_peer *peer = ptr;
	struct pollfd p = { .fd = peer->fd, .events = POLLIN };
	return poll(&p, 1, ms == GNUTLS_INDEFINITE_TIMEOUT ? -1 : (int)ms);
}

// A session that is resumed shows no certificate of ours, so it must not outlive it.
static void allow_tickets(const struct pl_tls_server *server, gnutls_session_t session)
{
	if (server->expires_us - pl_now_us() <= TICKET_S * INT64_C(1000000))
		return;
	gnutls_db_set_cache_expiration(session, TICKET_S);
	gnutls_session_ticket_enable_server(session, &server->ticket_key);
}

void pl_tls_server_begin(struct pl_tls_peer *peer, gnutls_session_t session)
{
	struct pl_tls_server *server = peer->server;
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, server->credentials);
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
	allow_tickets(server, session);
	gnutls_transport_set_ptr2(session, peer, (gnutls_transport_ptr_t)(intptr_t)peer->fd);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_transport_set_pull_timeout_function(session, pull_timeout);
	peer->session = session;
	gnutls_db_set_ptr(session, peer);
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_PRE, on_finished);
}
