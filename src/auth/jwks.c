// See jwks.h.
//
// libcrypto makes the keys and verifies the signatures; this file reads the JSON around
// them. Of Debian 12's libraries for tokens, cjose and libjwt 1.10 know no EdDSA, and
// libjwt knows no key sets; rhonabwy has both, but brings GnuTLS, curl and jansson, and
// its package's changelog does not mention a fix for CVE-2024-25714.
// Threads: any; a set is constant once it is parsed.
#include "auth/jwks.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define EXPONENT_MAX 8 // bytes
#define EC_BYTES     32

static const struct pl_json_limits limits = { 256 * 1024, 8, 4096 };

static const char *algorithm_name(enum pl_jwks_algorithm algorithm)
{
	static const char *const names[] = { "RS256", "ES256", "EdDSA" };

	return names[algorithm];
}

// ---- base64url

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int pl_jwks_decode(const char *text, size_t len, uint8_t *bytes, size_t max)
{
	uint32_t bits = 0;
	int nbits = 0;
	size_t n = 0;

	if (len % 4 == 1 || len / 4 * 3 + len % 4 > max + 1)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int value = value_of(text[i]);
		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		nbits += 6;
		if (nbits < 8)
			continue;
		nbits -= 8;
		if (n == max)
			return -1;
		bytes[n++] = (uint8_t)(bits >> nbits);
		bits &= (1u << nbits) - 1;
	}
	return bits == 0 ? (int)n : -1;
}

// Decodes a member. Returns the number of bytes; -1 if it is missing or not valid.
static int bytes_of(const cJSON *jwk, const char *name, uint8_t *bytes, size_t max)
{
	const char *text = pl_json_string(jwk, name);

	return text ? pl_jwks_decode(text, strlen(text), bytes, max) : -1;
}

// ---- making keys

static EVP_PKEY *key_of_params(const char *type, OSSL_PARAM_BLD *build)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY *key = NULL;

	if (context && params && EVP_PKEY_fromdata_init(context) == 1 &&
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(context);
	return key;
}

static EVP_PKEY *rsa_key(const cJSON *jwk)
{
	uint8_t n[RSA_BITS_MAX / 8], e[EXPONENT_MAX];
	int n_len = bytes_of(jwk, "n", n, sizeof(n)), e_len = bytes_of(jwk, "e", e, sizeof(e));

	// Leading zeros are not allowed, so an exponent of 1, which would make each text
	// its own signature, has one byte.
	if (n_len < RSA_BITS_MIN / 8 || e_len < 1 || n[0] == 0 || (n[n_len - 1] & 1) == 0 || e[0] == 0 ||
	    (e[e_len - 1] & 1) == 0 || (e_len == 1 && e[0] == 1))
		return NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *modulus = BN_bin2bn(n, n_len, NULL), *exponent = BN_bin2bn(e, e_len, NULL);
	EVP_PKEY *key = NULL;
	if (build && modulus && exponent && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
		key = key_of_params("RSA", build);
	BN_free(modulus);
	BN_free(exponent);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static bool is_on_curve(EVP_PKEY *key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool good = context && EVP_PKEY_public_check(context) == 1;

	EVP_PKEY_CTX_free(context);
	return good;
}

static EVP_PKEY *ec_key(const cJSON *jwk)
{
	static char group[] = "prime256v1";
	uint8_t point[1 + 2 * EC_BYTES] = { 4 };
	EVP_PKEY *key = NULL;

	if (bytes_of(jwk, "x", point + 1, EC_BYTES) != EC_BYTES ||
	    bytes_of(jwk, "y", point + 1 + EC_BYTES, EC_BYTES) != EC_BYTES)
		return NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	if (build &&
	    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, strlen(group)) &&
	    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
		key = key_of_params("EC", build);
	OSSL_PARAM_BLD_free(build);
	if (key && !is_on_curve(key)) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	return key;
}

// The points of small order, in each form that a verifier decodes, without the sign of x.
// A signature that anybody can make is valid for such a key, whatever the text, and
// libcrypto does not refuse them.
static const uint8_t small_order[][EC_BYTES] = {
	{ 0 },
	{ 1 },
	{ 0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
	  0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05 },
	{ 0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
	  0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a },
	{ 0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
	{ 0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
	{ 0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
};

static bool has_small_order(const uint8_t x[EC_BYTES])
{
	uint8_t y[EC_BYTES];

	memcpy(y, x, sizeof(y));
	y[EC_BYTES - 1] &= 0x7f;
	for (size_t i = 0; i < sizeof(small_order) / sizeof(small_order[0]); i++)
		if (memcmp(y, small_order[i], sizeof(y)) == 0)
			return true;
	return false;
}

static EVP_PKEY *ed25519_key(const cJSON *jwk)
{
	uint8_t x[EC_BYTES];

	if (bytes_of(jwk, "x", x, sizeof(x)) != EC_BYTES || has_small_order(x))
		return NULL;
	return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
}

// ---- the set

static const struct key_kind {
	const char *type, *curve;
	enum pl_jwks_algorithm algorithm;
	EVP_PKEY *(*make)(const cJSON *jwk);
} kinds[] = {
	{ "RSA", NULL, PL_JWKS_RS256, rsa_key },
	{ "EC", "P-256", PL_JWKS_ES256, ec_key },
	{ "OKP", "Ed25519", PL_JWKS_EDDSA, ed25519_key },
};

static bool same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

// Whether the issuer says that the key is for something else than verifying.
static bool is_for_others(const cJSON *jwk)
{
	const cJSON *use = pl_json_get(jwk, "use"), *operations = pl_json_get(jwk, "key_ops"), *one;
	bool verifies = !operations;

	cJSON_ArrayForEach (one, operations)
		verifies |= cJSON_IsArray(operations) && same(cJSON_GetStringValue(one), "verify");
	return !verifies || (use && !same(pl_json_string(jwk, "use"), "sig"));
}

// The kind of a key; NULL if it is not one for verifying signatures.
static const struct key_kind *kind_of(const cJSON *jwk)
{
	const char *alg = pl_json_string(jwk, "alg");

	if (is_for_others(jwk))
		return NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct key_kind *kind = &kinds[i];
		if (same(pl_json_string(jwk, "kty"), kind->type) &&
		    (!kind->curve || same(pl_json_string(jwk, "crv"), kind->curve)))
			return pl_json_get(jwk, "alg") && !same(alg, algorithm_name(kind->algorithm)) ? NULL
			                                                                              : kind;
	}
	return NULL;
}

// Why a set with this key must not be used at all, or NULL.
static const char *danger_of(const cJSON *jwk)
{
	if (!cJSON_IsObject(jwk))
		return "a key must be an object";
	if (same(pl_json_string(jwk, "kty"), "oct") || pl_json_get(jwk, "k"))
		return "it is a symmetric key, which could sign tokens as well";
	if (pl_json_get(jwk, "d"))
		return "it is a private key; give the public one";
	if (pl_json_get(jwk, "kid") && !pl_json_string(jwk, "kid"))
		return "kid must be a string";
	return NULL;
}

static int add(struct pl_arena *arena, struct pl_jwks *jwks, const cJSON *jwk, int i, struct pl_error *err)
{
	const char *danger = danger_of(jwk), *id = pl_json_string(jwk, "kid");

	if (danger)
		return pl_error_set(err, PL_EINVAL, "keys[%d]: %s", i, danger);
	const struct key_kind *kind = kind_of(jwk);
	if (!kind) {
		jwks->passed_over++;
		return 0;
	}
	if (jwks->n == PL_JWKS_KEYS_MAX)
		return pl_error_set(err, PL_EINVAL, "has more than %d keys", PL_JWKS_KEYS_MAX);
	for (int j = 0; id && j < jwks->n; j++)
		if (same(jwks->keys[j].id, id))
			return pl_error_set(err, PL_EINVAL, "keys[%d]: another key has the same kid", i);
	EVP_PKEY *key = kind->make(jwk);
	if (!key)
		return pl_error_set(err, PL_EINVAL, "keys[%d]: is not a valid %s key%s", i, kind->type,
		                    kind->algorithm == PL_JWKS_RS256 ? " of 2048 to 8192 bits" : "");
	jwks->keys[jwks->n++] = (struct pl_jwks_key){ .id = id ? pl_arena_strdup(arena, id) : NULL,
		                                      .algorithm = kind->algorithm,
		                                      .key = key };
	return 0;
}

int pl_jwks_parse(struct pl_arena *arena, const char *text, size_t len, struct pl_jwks *jwks_r,
                  struct pl_error *err)
{
	*jwks_r = (struct pl_jwks){ 0 };
	cJSON *set = pl_json_parse(text, len, &limits, err);
	const cJSON *keys = cJSON_IsObject(set) ? pl_json_get(set, "keys") : NULL, *jwk;
	int rc = set ? 0 : PL_EINVAL, i = 0;

	if (set && !cJSON_IsArray(keys))
		rc = pl_error_set(err, PL_EINVAL, "must be an object with the list \"keys\"");
	cJSON_ArrayForEach (jwk, keys)
		if (rc == 0)
			rc = add(arena, jwks_r, jwk, i++, err);
	cJSON_Delete(set);
	if (rc == 0 && jwks_r->n == 0)
		rc = pl_error_set(err, PL_EINVAL,
		                  "has no key for RS256 (RSA), ES256 (EC, P-256) or EdDSA (OKP, Ed25519)");
	return rc;
}

void pl_jwks_fini(struct pl_jwks *jwks)
{
	for (int i = 0; i < jwks->n; i++)
		EVP_PKEY_free(jwks->keys[i].key);
	jwks->n = 0;
}

const struct pl_jwks_key *pl_jwks_find(const struct pl_jwks *jwks, const char *id, const char *algorithm)
{
	const struct pl_jwks_key *found = NULL;

	for (int i = 0; i < jwks->n; i++) {
		const struct pl_jwks_key *key = &jwks->keys[i];
		if (!same(algorithm, algorithm_name(key->algorithm)) || (id && !same(key->id, id)))
			continue;
		if (found)
			return NULL; // ambiguous without an id
		found = key;
	}
	return found;
}

// ---- signatures

// libcrypto expects the two numbers of an ECDSA signature in DER; a token has them one
// after the other. Returns the length, or -1.
static int der_of(const uint8_t *signature, size_t len, uint8_t *der, size_t max)
{
	ECDSA_SIG *pair = len == 2 * EC_BYTES ? ECDSA_SIG_new() : NULL;
	int der_len = -1;

	if (!pair)
		return -1;
	BIGNUM *r = BN_bin2bn(signature, EC_BYTES, NULL),
	       *s = BN_bin2bn(signature + EC_BYTES, EC_BYTES, NULL);
	if (r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
		uint8_t *end = der;
		if (i2d_ECDSA_SIG(pair, NULL) <= (int)max)
			der_len = i2d_ECDSA_SIG(pair, &end);
	} else {
		BN_free(r);
		BN_free(s);
	}
	ECDSA_SIG_free(pair);
	return der_len;
}

bool pl_jwks_verify(const struct pl_jwks_key *key, const void *text, size_t len, const uint8_t *signature,
                    size_t signature_len)
{
	const char *digest = key->algorithm == PL_JWKS_EDDSA ? NULL : "SHA256";
	uint8_t der[2 * EC_BYTES + 16];

	if (key->algorithm == PL_JWKS_ES256) {
		int der_len = der_of(signature, signature_len, der, sizeof(der));
		if (der_len < 0)
			return false;
		signature = der;
		signature_len = (size_t)der_len;
	}
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = context &&
	            EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key->key, NULL) == 1 &&
	            EVP_DigestVerify(context, signature, signature_len, text, len) == 1;
	EVP_MD_CTX_free(context);
	return good;
}
