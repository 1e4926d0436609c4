// Credentials: what clients are checked against, according to one configuration.
//
// They are read once per load of the configuration, so a reload takes effect completely
// or not at all.
// Threads: any may read; the reference count is atomic.
#pragma once

#include "auth/key_source.h"
#include "auth/keyring.h"
#include "auth/known.h"
#include "auth/roles.h"
#include "base/network.h"
#include "config/config.h"

struct pl_credentials;

struct pl_credentials_shown { // a certificate in DER form
	const void *data;
	size_t len;
};

// Reads the files that the configuration names. Returns one reference, or NULL after
// adding what is wrong to `diagnostics`.
struct pl_credentials *pl_credentials_load(const struct pl_config *config,
                                           struct pl_diagnostics *diagnostics);
struct pl_credentials *pl_credentials_ref(struct pl_credentials *credentials);
void pl_credentials_unref(struct pl_credentials **credentials_p);

// After a reload: takes over the keys that `before` has fetched, if both use the same
// source. Must be called before `credentials` are shared.
void pl_credentials_continue(struct pl_credentials *credentials, const struct pl_credentials *before);
// The source from which the keys of tokens are fetched, or NULL.
struct pl_key_source *pl_credentials_key_source(const struct pl_credentials *credentials);

// Identifies the client by the bearer token of its request: an API key or a JSON Web
// Token. Returns 0 and the identity, whose strings live as long as both `credentials`
// and `arena`; or PL_EINVAL and, for the log only, a reason that contains no part of
// the token; or PL_EUNAVAIL if the keys of tokens have not been fetched yet. `known`
// (or NULL) is what the connection has proved with its last token, which is not checked
// again.
int pl_credentials_check(struct pl_credentials *credentials, struct pl_known *known, struct pl_arena *arena,
                         const char *token, struct pl_identity *identity_r, const char **why_r);

// Identify the client by the certificate that a proxy passes on (escaped), or that the
// peer has shown (DER). Results as above.
int pl_credentials_check_escaped(struct pl_credentials *credentials, struct pl_arena *arena, const char *text,
                                 struct pl_identity *identity_r, const char **why_r);
int pl_credentials_check_shown(struct pl_credentials *credentials, struct pl_arena *arena,
                               const struct pl_credentials_shown *shown, struct pl_identity *identity_r,
                               const char **why_r);

// Whether a peer is one of http.trusted_proxies. `address` NULL: the peer uses a UNIX
// socket.
bool pl_credentials_trusts(const struct pl_credentials *credentials, const struct pl_address *address);
