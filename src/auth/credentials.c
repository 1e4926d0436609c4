// See credentials.h.
#include "auth/credentials.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/client_certs.h"
#include "auth/jwt.h"
#include "auth/token_cache.h"
#include "base/clock.h"
#include "base/file.h"

#define UNIX_PROXY "unix"
#define JWKS_MAX   ((size_t)256 * 1024)

struct pl_credentials {
	_Atomic int refs;
	uint64_t number; // different for each load
	struct pl_arena *arena;
	struct pl_keyring keys;
	struct pl_jwt_rules rules;
	struct pl_jwks jwks;
	struct pl_key_source *source;    // NULL: the keys are in `jwks`
	struct pl_token_cache *verified; // NULL: tokens are not accepted
	struct pl_client_certs certs;
	struct pl_token_cache *known_certs; // NULL: certificates are not accepted as credentials
	bool trusts_unix;
	int nproxies;
	struct pl_network *proxies;
};

// config/load_check_security.c has checked the texts.
static void take_proxies(struct pl_credentials *credentials, const struct pl_config *config)
{
	credentials->proxies = pl_arena_array(credentials->arena, (size_t)config->http.ntrusted_proxies + 1,
	                                      sizeof(credentials->proxies[0]));
	for (int i = 0; i < config->http.ntrusted_proxies; i++) {
		const char *text = config->http.trusted_proxies[i];
		if (strcmp(text, UNIX_PROXY) == 0)
			credentials->trusts_unix = true;
		else if (pl_network_parse(text, &credentials->proxies[credentials->nproxies]) == 0)
			credentials->nproxies++;
	}
}

// Whether any user of the machine can reach the file, by the modes of the directories
// above it. A directory that does not exist keeps everybody out.
static bool is_open_to_all(const char *path)
{
	char *copy = pl_strdup(path);
	struct stat st = { 0 };
	bool open = true;

	for (char *slash = strrchr(copy, '/'); open && slash && slash != copy; slash = strrchr(copy, '/')) {
		*slash = '\0';
		open = stat(copy, &st) == 0 && (st.st_mode & S_IXOTH) != 0;
	}
	free(copy);
	return open;
}

// The socket is for NGINX. Anyone else who reaches it can pose as any client.
static void check_sockets(const struct pl_credentials *credentials, const struct pl_config *config,
                          struct pl_diagnostics *diagnostics)
{
	for (int i = 0; credentials->trusts_unix && i < config->nregions; i++)
		if (config->regions[i].unix_socket && is_open_to_all(config->regions[i].unix_socket))
			pl_diagnostics_add(diagnostics, true, config->file, 0, 0,
			                   "http.trusted_proxies: lists unix, but every user of this machine "
			                   "can reach %s, and so speak for any client; let only NGINX's "
			                   "group enter its directory (chmod 750)",
			                   config->regions[i].unix_socket);
}

static bool load_api_keys(struct pl_credentials *credentials, const struct pl_config *config,
                          struct pl_diagnostics *diagnostics)
{
	struct pl_error err;

	if (!config->auth.api_keys ||
	    pl_keyring_read(credentials->arena, config->auth.api_keys, &credentials->keys, &err) == 0)
		return true;
	pl_diagnostics_add(diagnostics, false, config->file, 0, 0, "auth.api_keys: %s%s", err.text,
	                   err.code == PL_ENOTFOUND ? "; plist-admin keys add creates it" : "");
	return false;
}

// Copies the rules, since the configuration may be freed before the credentials.
static void take_rules(struct pl_credentials *credentials, const struct pl_config *config)
{
	struct pl_arena *arena = credentials->arena;
	const char **claim =
		pl_arena_array(arena, (size_t)config->auth.jwt.nroles_claim + 1, sizeof(claim[0]));

	for (int i = 0; i < config->auth.jwt.nroles_claim; i++)
		claim[i] = pl_arena_strdup(arena, config->auth.jwt.roles_claim[i]);
	credentials->rules = (struct pl_jwt_rules){
		.issuer = pl_arena_strdup(arena, config->auth.jwt.issuer),
		.audience = pl_arena_strdup(arena, config->auth.jwt.audience),
		.leeway_us = config->auth.jwt.leeway_us,
		.principal_claim = pl_arena_strdup(arena, config->auth.jwt.principal_claim),
		.nroles_claim = config->auth.jwt.nroles_claim,
		.roles_claim = claim,
	};
	credentials->verified = pl_token_cache_new();
}

static bool load_jwks(struct pl_credentials *credentials, const struct pl_config *config,
                      struct pl_diagnostics *diagnostics)
{
	const char *file = config->auth.jwt.keys;
	struct pl_buf text = { 0 };
	struct pl_error err;

	if (!config->auth.has_jwt)
		return true;
	take_rules(credentials, config);
	if (!file) {
		credentials->source = pl_key_source_new(config);
		return true;
	}
	int rc = pl_file_read(file, JWKS_MAX, &text, &err);
	if (rc == 0)
		rc = pl_jwks_parse(credentials->arena, text.data, text.len, &credentials->jwks, &err);
	pl_buf_fini(&text);
	if (rc != 0)
		pl_diagnostics_add(diagnostics, false, config->file, 0, 0, "auth.jwt.keys: %s: %s", file,
		                   err.text);
	else if (credentials->jwks.passed_over > 0)
		pl_diagnostics_add(
			diagnostics, true, config->file, 0, 0,
			"auth.jwt.keys: %s: %d keys are not used, since they are not for RS256, ES256 "
			"or EdDSA signatures",
			file, credentials->jwks.passed_over);
	return rc == 0;
}

static uint64_t next_number(void)
{
	static _Atomic uint64_t last;

	return atomic_fetch_add(&last, 1) + 1;
}

struct pl_credentials *pl_credentials_load(const struct pl_config *config, struct pl_diagnostics *diagnostics)
{
	struct pl_credentials *credentials = pl_calloc(1, sizeof(*credentials));

	credentials->refs = 1;
	credentials->number = next_number();
	credentials->arena = pl_arena_new(0);
	take_proxies(credentials, config);
	check_sockets(credentials, config, diagnostics);
	pl_client_certs_take(credentials->arena, config, &credentials->certs);
	if (credentials->certs.n > 0)
		credentials->known_certs = pl_token_cache_new();
	bool keys = load_api_keys(credentials, config, diagnostics);
	if (!load_jwks(credentials, config, diagnostics) || !keys)
		pl_credentials_unref(&credentials);
	return credentials;
}

struct pl_credentials *pl_credentials_ref(struct pl_credentials *credentials)
{
	if (credentials)
		atomic_fetch_add(&credentials->refs, 1);
	return credentials;
}

void pl_credentials_unref(struct pl_credentials **credentials_p)
{
	struct pl_credentials *credentials = *credentials_p;

	*credentials_p = NULL;
	if (!credentials || atomic_fetch_sub(&credentials->refs, 1) > 1)
		return;
	pl_jwks_fini(&credentials->jwks);
	pl_key_source_unref(&credentials->source);
	pl_token_cache_free(&credentials->verified);
	pl_token_cache_free(&credentials->known_certs);
	pl_arena_free(&credentials->arena);
	free(credentials);
}

// `number`: of the key set. It is part of the cache's key, so a token verified with
// another set must be verified again.
static int check_with(struct pl_credentials *credentials, const struct pl_jwks *jwks, uint64_t number,
                      struct pl_arena *arena, const char *token, struct pl_jwt_result *result_r)
{
	uint8_t sha256[PL_SHA256_SIZE];

	pl_sha256(token, strlen(token), sha256);
	for (size_t i = 0; i < sizeof(number); i++)
		sha256[PL_SHA256_SIZE - 1 - i] ^= (uint8_t)(number >> 8 * i);
	result_r->until_us = result_r->now_us;
	if (pl_token_cache_find(credentials->verified, sha256, &result_r->until_us, arena,
	                        &result_r->identity))
		return 0;
	int rc = pl_jwt_check(jwks, &credentials->rules, arena, token, result_r);
	if (rc == 0)
		pl_token_cache_add(credentials->verified, sha256, result_r->until_us, &result_r->identity);
	return rc;
}

// `proof`: its until_us is the present time; on return, describes the proof, if there
// is one.
static int check_jwt(struct pl_credentials *credentials, struct pl_known_proof *proof, struct pl_arena *arena,
                     const char *token, struct pl_identity *identity_r, const char **why_r)
{
	struct pl_jwt_result result = { .now_us = proof->until_us };
	const struct pl_key_set *set = credentials->source ? pl_key_source_take(credentials->source) : NULL;
	int rc;

	if (credentials->source && !set) {
		*why_r = "the keys that verify tokens have not been fetched yet";
		return PL_EUNAVAIL;
	}
	proof->keys = set ? set->number : 0;
	rc = check_with(credentials, set ? &set->jwks : &credentials->jwks, proof->keys, arena, token,
	                &result);
	if (rc != 0 && set && result.unknown_key)
		pl_key_source_miss(credentials->source);
	pl_key_source_give(&set);
	*identity_r = result.identity;
	*why_r = result.why;
	proof->until_us = result.until_us;
	return rc;
}

void pl_credentials_continue(struct pl_credentials *credentials, const struct pl_credentials *before)
{
	if (!credentials->source || !before->source ||
	    !pl_key_source_same(credentials->source, before->source))
		return;
	pl_key_source_pace(before->source, credentials->source);
	pl_key_source_unref(&credentials->source);
	credentials->source = pl_key_source_ref(before->source);
}

struct pl_key_source *pl_credentials_key_source(const struct pl_credentials *credentials)
{
	return credentials->source;
}

static int check_key(const struct pl_credentials *credentials, struct pl_known_proof *proof,
                     const char *token, struct pl_identity *identity_r, const char **why_r)
{
	const struct pl_api_key *key = pl_keyring_check(&credentials->keys, token, proof->until_us, why_r);

	if (!key)
		return PL_EINVAL;
	*identity_r = key->identity;
	proof->until_us = key->expires_us ? key->expires_us : INT64_MAX;
	return 0;
}

int pl_credentials_check(struct pl_credentials *credentials, struct pl_known *known, struct pl_arena *arena,
                         const char *token, struct pl_identity *identity_r, const char **why_r)
{
	bool is_jwt =
		credentials->verified && strncmp(token, PL_KEYRING_PREFIX, strlen(PL_KEYRING_PREFIX)) != 0;
	struct pl_known_proof proof = { credentials->number, 0, pl_now_us() };
	int rc;

	if (is_jwt && credentials->source)
		proof.keys = pl_key_source_number(credentials->source);
	if (known && pl_known_find(known, &proof, token, arena, identity_r))
		return 0;
	rc = is_jwt ? check_jwt(credentials, &proof, arena, token, identity_r, why_r)
	            : check_key(credentials, &proof, token, identity_r, why_r);
	if (known && rc == 0)
		pl_known_keep(known, &proof, token, identity_r);
	return rc;
}

// Checks `shown`; if it is NULL, `text`.
static int check_cert(struct pl_credentials *credentials, struct pl_arena *arena, const char *text,
                      const struct pl_credentials_shown *shown, struct pl_client_certs_result *result_r)
{
	uint8_t sha256[PL_SHA256_SIZE];

	result_r->now_us = pl_now_us();
	if (!credentials->known_certs) {
		result_r->why = "certificates are not accepted as credentials here";
		return PL_EINVAL;
	}
	pl_sha256(shown ? shown->data : text, shown ? shown->len : strlen(text), sha256);
	result_r->until_us = result_r->now_us;
	if (pl_token_cache_find(credentials->known_certs, sha256, &result_r->until_us, arena,
	                        &result_r->identity))
		return 0;
	int rc = shown ? pl_client_certs_check(&credentials->certs, arena, shown->data, shown->len, result_r)
	               : pl_client_certs_check_escaped(&credentials->certs, arena, text, result_r);
	if (rc == 0)
		pl_token_cache_add(credentials->known_certs, sha256, result_r->until_us, &result_r->identity);
	return rc;
}

int pl_credentials_check_escaped(struct pl_credentials *credentials, struct pl_arena *arena, const char *text,
                                 struct pl_identity *identity_r, const char **why_r)
{
	struct pl_client_certs_result result = { 0 };
	int rc = check_cert(credentials, arena, text, NULL, &result);

	*identity_r = result.identity;
	*why_r = result.why;
	return rc;
}

int pl_credentials_check_shown(struct pl_credentials *credentials, struct pl_arena *arena,
                               const struct pl_credentials_shown *shown, struct pl_identity *identity_r,
                               const char **why_r)
{
	struct pl_client_certs_result result = { 0 };
	int rc = check_cert(credentials, arena, NULL, shown, &result);

	*identity_r = result.identity;
	*why_r = result.why;
	return rc;
}

bool pl_credentials_trusts(const struct pl_credentials *credentials, const struct pl_address *address)
{
	if (!address)
		return credentials->trusts_unix;
	for (int i = 0; i < credentials->nproxies; i++)
		if (pl_network_has(&credentials->proxies[i], address))
			return true;
	return false;
}
