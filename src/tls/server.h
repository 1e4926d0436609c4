// The daemon's TLS with NGINX: its certificate, and who may connect.
//
// There are two kinds of peers. Those with a certificate from client_ca are parts of
// the deployment, NGINX and plist-admin: their certificate says nothing about a client.
// Those with a certificate from direct_ca are clients themselves.
//
// libmicrohttpd handles the TLS records. It knows only one certificate per daemon and
// does not verify clients, so each new session gets its credentials and its
// verification from here.
// Threads: a pl_tls_server is immutable and reference-counted; any thread may use it.
#pragma once

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

struct pl_tls_server;

// Reads the files of regions.<name>.tls. `name` is what NGINX expects in the certificate.
// PL_EINVAL or PL_ENOTFOUND with a sentence that names the key and the file.
struct pl_tls_server *pl_tls_server_new(const struct pl_region *region, const char *name,
                                        struct pl_error *err);
struct pl_tls_server *pl_tls_server_ref(struct pl_tls_server *server);
void pl_tls_server_unref(struct pl_tls_server **server_p); // also of NULL

// What libmicrohttpd needs before it listens: PEM texts and a priority string.
const char *pl_tls_server_certificate(const struct pl_tls_server *server);
const char *pl_tls_server_key(const struct pl_tls_server *server);
const char *pl_tls_server_priorities(void);

// What a session knows about its connection. Must live as long as the session.
struct pl_tls_peer {
	struct pl_tls_server *server; // counted
	int fd;
	gnutls_session_t session;
	bool verified;   // its certificate is accepted
	size_t received; // bytes, before that
	// Once it is verified:
	bool direct;           // the certificate says that the peer is a client
	uint64_t accepted_by;  // the number of the pl_tls_server that has accepted it last
	int64_t look_again_us; // pl_now_us: when the first of its certificates expires
};

// Prepares a new session before its handshake.
void pl_tls_server_begin(struct pl_tls_peer *peer, gnutls_session_t session);

// Whether the peer would be accepted now, by `server`: a reload may have taken its
// authority away, and certificates expire. Each request asks, since a connection may last
// for days; usually two comparisons are the answer. If not, the log says why, and
// the connection must not be used again.
bool pl_tls_server_accepts(const struct pl_tls_server *server, struct pl_tls_peer *peer, int64_t now_us);

// The certificate, in DER form, of a peer that is itself a client; valid as long as the
// session. NULL: the peer is part of the deployment.
const gnutls_datum_t *pl_tls_server_client(const struct pl_tls_peer *peer);

// Whether NGINX will refuse this daemon, since its certificate has another name.
bool pl_tls_server_misnamed(const struct pl_tls_server *server);

// How many connections this process has refused because of their certificate.
uint64_t pl_tls_server_refused(void);
