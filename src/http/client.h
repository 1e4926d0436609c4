// The client of a request: where it is, and who it is.
//
// Between http/router and http/request, so that a request that is refused here has not
// been looked at any further.
#pragma once

#include "auth/credentials.h"
#include "auth/limits.h"
#include "http/peer.h"
#include "script/exchange.h"

struct pl_client {
	bool is_local; // over a UNIX socket; then there is no address
	bool is_proxy; // the peer is one of http.trusted_proxies
	bool is_known; // and it cannot be another program: by its certificate or a UNIX socket
	const struct pl_tls_peer *direct; // the peer is a client, by its certificate; or NULL
	struct pl_known *known;           // what the connection has proved; NULL: nothing is kept
	struct pl_address address;        // of the client, as trusted proxies say; else of the peer
};

// Whether the certificate that the peer has shown is accepted by `tls`, which is what the
// daemon uses now (NULL: no TLS). Returns NULL, or the problem to answer before the
// connection is closed: 401 to a client, 503 to NGINX.
const struct pl_problem *pl_client_check_peer(const struct pl_request *request, struct pl_peer *peer,
                                              const struct pl_tls_server *tls);

// Whether the certificate with which NGINX let the client in has expired. NGINX verifies
// it when a connection begins, and has no clock in its configuration. The header can only
// take something away, so it is believed, whoever sends it. Returns NULL, or the problem
// to answer: 403, like NGINX.
const struct pl_problem *pl_client_check_end(const struct pl_request *request, int64_t now_us);

// Finds the address of the client of a request.
void pl_client_locate(struct pl_client *client_r, const struct pl_peer *peer, const struct pl_header *headers,
                      const struct pl_credentials *credentials);
// "192.0.2.1", or "unix". Returns text.
char *pl_client_format(const struct pl_client *client, char text[PL_ADDRESS_TEXT_MAX]);

// Checks the credentials of a request and sets its principal and roles. Headers that
// prove an identity are taken out of request->headers, so that no handler sees them.
// Returns NULL, or the problem to answer: 401, or 400 if a trusted proxy named no valid
// principal.
const struct pl_problem *pl_client_identify(struct pl_request *request, const struct pl_client *client,
                                            struct pl_credentials *credentials);
// Whether the client has sent less than the configuration allows its address, and, once
// it is identified, its principal. Returns NULL, or the problem: 429.
const struct pl_problem *pl_client_limit_address(const struct pl_request *request,
                                                 const struct pl_client *client, struct pl_limits *limits);
const struct pl_problem *pl_client_limit_principal(const struct pl_request *request,
                                                   struct pl_limits *limits);
// Whether the client may send the request, once it is identified. `route` NULL: no route
// matches; a client that must prove who it is, and has not, is not told so. Returns NULL,
// or the problem: 401 or 403.
const struct pl_problem *pl_client_authorize(const struct pl_request *request, const struct pl_route *route);
