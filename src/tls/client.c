// TLS of plist-admin: see client.h.
//
// Used by admin/daemon. Threads: any.
#include "tls/client.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "tls/certificate.h"
#include "tls/server.h"

struct tls_client {
	int fd;
	int64_t deadline_us;
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
};

static int load(struct tls_client *client, const struct pl_upstream_tls *files, struct pl_error *err)
{
	struct pl_buf text = { 0 };
	int code = pl_certificate_read_key(files->key, &text, err);
	if (text.data)
		explicit_bzero(text.data, text.len);
	pl_buf_fini(&text);
	if (code != 0)
		return pl_error_prefix(err, "nginx.upstream_tls.key");
	int failed = gnutls_certificate_set_x509_key_file(client->credentials, files->certificate, files->key,
	                                                  GNUTLS_X509_FMT_PEM);
	if (failed < 0)
		return pl_error_set(err, PL_EINVAL, "%s and %s (nginx.upstream_tls): %s", files->certificate,
		                    files->key, gnutls_strerror(failed));
	int n = gnutls_certificate_set_x509_trust_file(client->credentials, files->ca, GNUTLS_X509_FMT_PEM);
	return n > 0 ? 0
	             : pl_error_set(err, PL_EINVAL, "%s (nginx.upstream_tls.ca): %s", files->ca,
	                            n < 0 ? gnutls_strerror(n) : "has no certificate");
}

// Waits until the session can read or write. Returns 0, or PL_ETIMEOUT.
static int await(const struct tls_client *client, struct pl_error *err)
{
	int64_t left_us = client->deadline_us - pl_mono_us();
	short events = gnutls_record_get_direction(client->session) ? POLLOUT : POLLIN;
	struct pollfd p = { client->fd, events, 0 };
	if (left_us <= 0 || poll(&p, 1, (int)(left_us / 1000) + 1) == 0)
		return pl_error_set(err, PL_ETIMEOUT, "no answer in time");
	return 0;
}

// Describes what went wrong: who refused whom, and why.
static int broken(const struct tls_client *client, int failed, struct pl_error *err)
{
	unsigned status = gnutls_session_get_verify_cert_status(client->session);
	if (failed == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR && status) {
		gnutls_datum_t text = { 0 };
		gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
		pl_error_set(err, PL_EUNAVAIL, "TLS: the daemon's certificate is refused: %s",
		             text.data ? (const char *)text.data : "it cannot be verified");
		gnutls_free(text.data);
		return err->code;
	}
	if (failed == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return pl_error_set(err, PL_EUNAVAIL,
		                    "TLS: the daemon refuses the certificate of nginx.upstream_tls: %s",
		                    gnutls_alert_get_name(gnutls_alert_get(client->session)));
	return pl_error_set(err, PL_EUNAVAIL, "TLS: %s", gnutls_strerror(failed));
}

static int handshake(struct tls_client *client, struct pl_error *err)
{
	for (;;) {
		int failed = gnutls_handshake(client->session);
		if (failed == GNUTLS_E_SUCCESS)
			return 0;
		if (gnutls_error_is_fatal(failed))
			return broken(client, failed, err);
		int code = await(client, err);
		if (code != 0)
			return code;
	}
}

static int send_all(struct tls_client *client, const struct pl_buf *request, struct pl_error *err)
{
	for (size_t sent = 0; sent < request->len;) {
		ssize_t n = gnutls_record_send(client->session, request->data + sent, request->len - sent);
		if (n >= 0)
			sent += (size_t)n;
		else if (gnutls_error_is_fatal((int)n))
			return broken(client, (int)n, err);
		else {
			int code = await(client, err);
			if (code != 0)
				return code;
		}
	}
	return 0;
}

static int receive_all(struct tls_client *client, struct pl_buf *answer, size_t max, struct pl_error *err)
{
	for (;;) {
		if (answer->len > max)
			return pl_error_set(err, PL_EINVAL, "the answer is too long");
		pl_buf_reserve(answer, 16384);
		ssize_t n = gnutls_record_recv(client->session, answer->data + answer->len, 16384);
		if (n == 0 || n == GNUTLS_E_PREMATURE_TERMINATION) // its length shows whether it is complete
			return 0;
		if (n > 0) {
			answer->len += (size_t)n;
			answer->data[answer->len] = '\0';
		} else if (gnutls_error_is_fatal((int)n))
			return broken(client, (int)n, err);
		else {
			int code = await(client, err);
			if (code != 0)
				return code;
		}
	}
}

int pl_tls_client_exchange(const struct pl_tls_connection *connection, const struct pl_buf *request,
                           struct pl_buf *answer, size_t max, struct pl_error *err)
{
	const struct pl_upstream_tls *files = connection->files;
	struct tls_client client = { .fd = connection->fd, .deadline_us = connection->deadline_us };
	gnutls_certificate_allocate_credentials(&client.credentials);
	gnutls_init(&client.session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	int code = load(&client, files, err);
	if (code == 0) {
		gnutls_priority_set_direct(client.session, pl_tls_server_priorities(), NULL);
		gnutls_credentials_set(client.session, GNUTLS_CRD_CERTIFICATE, client.credentials);
		gnutls_server_name_set(client.session, GNUTLS_NAME_DNS, files->name, strlen(files->name));
		gnutls_session_set_verify_cert(client.session, files->name, 0);
		gnutls_transport_set_int(client.session, client.fd);
		code = handshake(&client, err);
	}
	if (code == 0)
		code = send_all(&client, request, err);
	if (code == 0)
		code = receive_all(&client, answer, max, err);
	gnutls_deinit(client.session);
	gnutls_certificate_free_credentials(client.credentials);
	return code;
}
