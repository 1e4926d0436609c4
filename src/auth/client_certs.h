// Client certificates as credentials: who holds a certificate that NGINX or the daemon
// itself has verified.
//
// Threads: any; no state.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "auth/roles.h"
#include "config/config.h"

// What a proxy sends instead of a certificate that is too large to pass on.
#define PL_CLIENT_CERTS_TOO_LARGE "too-large"

struct pl_client_certs { // auth.client_certificates
	int n;
	struct pl_client_cert_rule *rules;
};

struct pl_client_certs_result {
	int64_t now_us; // set by the caller: pl_now_us
	struct pl_identity identity;
	int64_t until_us; // when the certificate expires
	const char *why;  // for the log only: why the certificate is refused
};

// Copies the rules of the configuration.
void pl_client_certs_take(struct pl_arena *arena, const struct pl_config *config,
                          struct pl_client_certs *certs_r);

// Check a certificate as the peer has shown it (DER), or as NGINX passes it on: PEM in
// which most characters are written as %XX.
int pl_client_certs_check(const struct pl_client_certs *certs, struct pl_arena *arena, const void *der,
                          size_t len, struct pl_client_certs_result *result_r);
int pl_client_certs_check_escaped(const struct pl_client_certs *certs, struct pl_arena *arena,
                                  const char *text, struct pl_client_certs_result *result_r);
// Both return 0 and the identity, whose strings are in `arena`, or PL_EINVAL and why.
