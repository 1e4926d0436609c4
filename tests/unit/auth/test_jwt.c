// Tokens: which are accepted, and the many that are not. Each bad token is a good one
// with exactly one fault.
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/jwt.h"
#include "base/buf.h"

#define NOW_S            1800000000
#define US               INT64_C(1000000)
#define PAYLOAD          "\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":\"anna\",\"exp\":1800000100"
#define HEADER(alg, kid) "{\"alg\":\"" alg "\",\"kid\":\"" kid "\"}"

#define ZEROS            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // 32 bytes

enum { R, E, D, OTHER_R, OTHER_E, KEYS };

static EVP_PKEY *keys[KEYS];
static struct pl_arena *arena;
static struct pl_jwks jwks;
static const char *roles_claim[] = { "roles" };
static struct pl_jwt_rules rules = { .issuer = "https://issuer",
	                             .audience = "plist",
	                             .leeway_us = 30 * US,
	                             .principal_claim = "sub",
	                             .nroles_claim = 1,
	                             .roles_claim = roles_claim };

static void encode(struct pl_buf *out, const void *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *bytes = data;
	uint32_t bits = 0;
	int nbits = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | bytes[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			pl_buf_addc(out, digits[bits >> (nbits - 6) & 63]);
	}
	if (nbits > 0)
		pl_buf_addc(out, digits[bits << (6 - nbits) & 63]);
}

static void add_number(struct pl_buf *out, const char *name, EVP_PKEY *key, const char *param)
{
	uint8_t bytes[1024];
	BIGNUM *number = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, param, &number), 1);
	int len = strcmp(name, "x") == 0 || strcmp(name, "y") == 0 ? BN_bn2binpad(number, bytes, 32)
	                                                           : BN_bn2bin(number, bytes);
	pl_buf_printf(out, ",\"%s\":\"", name);
	encode(out, bytes, (size_t)len);
	pl_buf_addc(out, '"');
	BN_free(number);
}

// The set that the issuer publishes: one key of each type, and one for encryption.
static void print_jwks(struct pl_buf *out)
{
	uint8_t raw[32];
	size_t len = sizeof(raw);

	pl_buf_adds(out, "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\",\"use\":\"sig\",\"alg\":\"RS256\"");
	add_number(out, "n", keys[R], OSSL_PKEY_PARAM_RSA_N);
	add_number(out, "e", keys[R], OSSL_PKEY_PARAM_RSA_E);
	pl_buf_adds(out, "},{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\"");
	add_number(out, "x", keys[E], OSSL_PKEY_PARAM_EC_PUB_X);
	add_number(out, "y", keys[E], OSSL_PKEY_PARAM_EC_PUB_Y);
	assert_int_equal(EVP_PKEY_get_raw_public_key(keys[D], raw, &len), 1);
	pl_buf_adds(out, "},{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"d\",\"x\":\"");
	encode(out, raw, len);
	pl_buf_adds(out, "\"},{\"kty\":\"RSA\",\"kid\":\"x\",\"use\":\"enc\",\"n\":\"AQ\",\"e\":\"AQAB\"}]}");
}

static int setup(void **state)
{
	struct pl_buf text = { 0 };
	struct pl_error err;

	arena = pl_arena_new(0);
	keys[R] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	keys[OTHER_R] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	keys[E] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	keys[OTHER_E] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	keys[D] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	print_jwks(&text);
	int rc = pl_jwks_parse(arena, text.data, text.len, &jwks, &err);
	if (rc != 0)
		print_message("# %s\n", err.text);
	pl_buf_fini(&text);
	return rc;
}

static int teardown(void **state)
{
	pl_jwks_fini(&jwks);
	for (int i = 0; i < KEYS; i++)
		EVP_PKEY_free(keys[i]);
	pl_arena_free(&arena);
	return 0;
}

// DER → the two numbers side by side.
static size_t plain_ecdsa(uint8_t *signature, size_t len)
{
	const uint8_t *at = signature;
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);

	assert_non_null(pair);
	BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32);
	ECDSA_SIG_free(pair);
	return 64;
}

static void add_signature(struct pl_buf *out, int key, const char *digest)
{
	uint8_t signature[1024];
	size_t len = sizeof(signature);
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	assert_int_equal(
		EVP_DigestSignInit_ex(context, NULL, key == D ? NULL : digest, NULL, NULL, keys[key], NULL),
		1);
	assert_int_equal(EVP_DigestSign(context, signature, &len, (uint8_t *)out->data, out->len), 1);
	EVP_MD_CTX_free(context);
	if (key == E || key == OTHER_E)
		len = plain_ecdsa(signature, len);
	pl_buf_addc(out, '.');
	encode(out, signature, len);
}

// Returns a token, signed by a key, in the arena.
static const char *token(const char *header, const char *payload, int key)
{
	struct pl_buf out = { 0 };

	encode(&out, header, strlen(header));
	pl_buf_addc(&out, '.');
	encode(&out, payload, strlen(payload));
	add_signature(&out, key, "SHA256");
	const char *text = pl_arena_strdup(arena, out.data);
	pl_buf_fini(&out);
	return text;
}

static int check(const char *text, struct pl_jwt_result *result)
{
	*result = (struct pl_jwt_result){ .now_us = NOW_S * US };
	return pl_jwt_check(&jwks, &rules, arena, text, result);
}

static void refuse(const char *name, const char *text)
{
	struct pl_jwt_result result;

	if (check(text, &result) == 0)
		fail_msg("accepted: %s", name);
	assert_non_null(result.why);
}

static void each_algorithm_is_accepted_with_its_own_key(void **state)
{
	static const char *const headers[] = { HEADER("RS256", "r"), HEADER("ES256", "e"),
		                               HEADER("EdDSA", "d") };
	struct pl_jwt_result result;

	for (int i = 0; i < 3; i++) {
		const char *text = token(
			headers[i], "{" PAYLOAD ",\"roles\":[\"editor\",\"Not A Role\",\"auditor\"]}", i);
		if (check(text, &result) != 0)
			fail_msg("%s: %s", headers[i], result.why);
		assert_string_equal(result.identity.principal, "anna");
		assert_int_equal(result.identity.roles.n, 2);
		assert_string_equal(result.identity.roles.names[1], "auditor");
		assert_int_equal(result.until_us, (NOW_S + 130) * US);
	}
	assert_int_equal(jwks.passed_over, 1);
}

static void neighbours_of_the_bad_tokens_are_accepted(void **state)
{
	static const char *const payloads[] = {
		"{" PAYLOAD "}",
		"{" PAYLOAD ",\"nbf\":1800000030,\"iat\":1800000030}",
		"{" PAYLOAD ",\"nbf\":1799999999.75}",
		"{" PAYLOAD ",\"roles\":\"editor auditor\"}",
		"{" PAYLOAD ",\"roles\":[]}",
		"{\"iss\":\"https://issuer\",\"aud\":[\"other\",\"plist\"],\"sub\":\"anna\","
		"\"exp\":1799999971}",
	};
	struct pl_jwt_result result;

	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
		if (check(token(HEADER("ES256", "e"), payloads[i], E), &result) != 0)
			fail_msg("%s: %s", payloads[i], result.why);
	assert_int_equal(check(token("{\"alg\":\"EdDSA\",\"typ\":\"at+JWT\"}", "{" PAYLOAD "}", D), &result),
	                 0);
	assert_int_equal(
		check(token("{\"alg\":\"ES256\",\"kid\":\"e\",\"jku\":\"http://evil\"}", "{" PAYLOAD "}", E),
	              &result),
		0);
}

static void roles_may_be_nested_deeper(void **state)
{
	static const char *way[] = { "realm_access", "roles" };
	struct pl_jwt_result result;

	rules.roles_claim = way;
	rules.nroles_claim = 2;
	int rc = check(
		token(HEADER("ES256", "e"), "{" PAYLOAD ",\"realm_access\":{\"roles\":[\"editor\"]}}", E),
		&result);
	int n = result.identity.roles.n;
	int none =
		check(token(HEADER("ES256", "e"), "{" PAYLOAD ",\"realm_access\":[\"editor\"]}", E), &result);
	rules.roles_claim = roles_claim;
	rules.nroles_claim = 1;
	assert_int_equal(rc, 0);
	assert_int_equal(n, 1);
	assert_int_equal(none, 0);
	assert_int_equal(result.identity.roles.n, 0);
}

struct bad {
	const char *name, *header, *payload;
	int key;
};

static void wrong_claims_are_refused(void **state)
{
#define ES             HEADER("ES256", "e")
#define REST           "\"aud\":\"plist\",\"sub\":\"anna\""
#define CLAIMS_BUT_AUD "\"iss\":\"https://issuer\",\"exp\":1800000100,\"sub\":\"anna\""
#define CLAIMS_BUT_SUB "\"iss\":\"https://issuer\",\"exp\":1800000100,\"aud\":\"plist\""
	static const struct bad bad[] = {
		{ "no exp", ES, "{\"iss\":\"https://issuer\"," REST "}", E },
		{ "expired", ES, "{\"iss\":\"https://issuer\",\"exp\":1799999970," REST "}", E },
		{ "expired long ago", ES, "{\"iss\":\"https://issuer\",\"exp\":1," REST "}", E },
		{ "exp negative", ES, "{\"iss\":\"https://issuer\",\"exp\":-1," REST "}", E },
		{ "exp a string", ES, "{\"iss\":\"https://issuer\",\"exp\":\"1800000100\"," REST "}", E },
		{ "exp null", ES, "{\"iss\":\"https://issuer\",\"exp\":null," REST "}", E },
		{ "exp true", ES, "{\"iss\":\"https://issuer\",\"exp\":true," REST "}", E },
		{ "exp a list", ES, "{\"iss\":\"https://issuer\",\"exp\":[1800000100]," REST "}", E },
		{ "exp with exponent", ES, "{\"iss\":\"https://issuer\",\"exp\":1.8e9," REST "}", E },
		{ "exp huge", ES, "{\"iss\":\"https://issuer\",\"exp\":99999999999999999999," REST "}", E },
		{ "exp infinite", ES, "{\"iss\":\"https://issuer\",\"exp\":1e999," REST "}", E },
		{ "exp after the year 9999", ES, "{\"iss\":\"https://issuer\",\"exp\":253402300800," REST "}",
		  E },
		{ "exp twice", ES, "{" PAYLOAD ",\"exp\":1}", E },
		{ "not yet valid", ES, "{" PAYLOAD ",\"nbf\":1800000031}", E },
		{ "nbf a string", ES, "{" PAYLOAD ",\"nbf\":\"1\"}", E },
		{ "nbf null", ES, "{" PAYLOAD ",\"nbf\":null}", E },
		{ "issued in the future", ES, "{" PAYLOAD ",\"iat\":1800000031}", E },
		{ "iat an object", ES, "{" PAYLOAD ",\"iat\":{}}", E },
		{ "no issuer", ES, "{\"exp\":1800000100," REST "}", E },
		{ "another issuer", ES, "{\"iss\":\"https://issuer.evil\",\"exp\":1800000100," REST "}", E },
		{ "issuer in capitals", ES, "{\"iss\":\"HTTPS://ISSUER\",\"exp\":1800000100," REST "}", E },
		{ "issuer with a slash", ES, "{\"iss\":\"https://issuer/\",\"exp\":1800000100," REST "}", E },
		{ "issuer a list", ES, "{\"iss\":[\"https://issuer\"],\"exp\":1800000100," REST "}", E },
		{ "issuer twice", ES, "{" PAYLOAD ",\"iss\":\"https://issuer\"}", E },
		{ "no audience", ES, "{\"iss\":\"https://issuer\",\"sub\":\"anna\",\"exp\":1800000100}", E },
		{ "another audience", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plists\",\"sub\":\"anna\",\"exp\":1800000100}", E },
		{ "audience empty", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":[],\"sub\":\"anna\",\"exp\":1800000100}", E },
		{ "audience an object", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":{\"plist\":1},\"sub\":\"anna\",\"exp\":1800000100}",
		  E },
		{ "audience with a number", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":[\"plist\",1],\"sub\":\"anna\",\"exp\":1800000100}",
		  E },
		{ "audience nested", ES, "{" CLAIMS_BUT_AUD ",\"aud\":[[\"plist\"]]}", E },
		{ "audience null", ES, "{" CLAIMS_BUT_AUD ",\"aud\":null}", E },
		{ "audience of others", ES, "{" CLAIMS_BUT_AUD ",\"aud\":[\"other\",\"plists\",\"\"]}", E },
		{ "audience in capitals", ES, "{" CLAIMS_BUT_AUD ",\"aud\":\"PLIST\"}", E },
		{ "audience with a space", ES, "{" CLAIMS_BUT_AUD ",\"aud\":\"plist \"}", E },
		{ "audience a list in a string", ES, "{" CLAIMS_BUT_AUD ",\"aud\":\"other plist\"}", E },
		{ "audience with a NUL", ES, "{" CLAIMS_BUT_AUD ",\"aud\":\"plist\\u0000\"}", E },
		{ "no subject", ES, "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"exp\":1800000100}", E },
		{ "subject empty", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":\"\",\"exp\":1800000100}", E },
		{ "subject a number", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":7,\"exp\":1800000100}", E },
		{ "subject with a space", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":\"a b\",\"exp\":1800000100}", E },
		{ "subject with a line feed", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":\"a\\nb\",\"exp\":1800000100}", E },
		{ "subject with a NUL", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":\"anna\\u0000\",\"exp\":1800000100}",
		  E },
		{ "subject too long", ES,
		  "{\"iss\":\"https://issuer\",\"aud\":\"plist\",\"sub\":\"" ZEROS ZEROS "\","
		  "\"exp\":1800000100}",
		  E },
		{ "subject twice", ES, "{" PAYLOAD ",\"sub\":\"ben\"}", E },
		{ "subject twice, once escaped", ES, "{" PAYLOAD ",\"s\\u0075b\":\"ben\"}", E },
		{ "subject null", ES, "{" CLAIMS_BUT_SUB ",\"sub\":null}", E },
		{ "subject true", ES, "{" CLAIMS_BUT_SUB ",\"sub\":true}", E },
		{ "subject a list", ES, "{" CLAIMS_BUT_SUB ",\"sub\":[\"anna\"]}", E },
		{ "subject an object", ES, "{" CLAIMS_BUT_SUB ",\"sub\":{\"anna\":1}}", E },
		{ "subject in another case", ES, "{" CLAIMS_BUT_SUB ",\"Sub\":\"anna\"}", E },
		{ "subject that begins with a NUL", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"\\u0000anna\"}", E },
		{ "subject not ASCII", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"ann\\u00e4\"}", E },
		{ "subject with a lone surrogate", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"anna\\ud800\"}", E },
		{ "subject with DEL", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"anna\\u007f\"}", E },
		{ "subject of the tool", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"plist-admin\"}", E },
		{ "subject of plist's own writes", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"plist:violation\"}",
		  E },
		{ "subject like plist's own", ES, "{" CLAIMS_BUT_SUB ",\"sub\":\"Plist:x\"}", E },
		{ "a name twice in an object inside", ES, "{" PAYLOAD ",\"a\":{\"b\":1,\"b\":1}}", E },
		{ "a name twice in an object in a list", ES, "{" PAYLOAD ",\"a\":[[{\"b\":1,\"b\":1}]]}", E },
		{ "roles a number", ES, "{" PAYLOAD ",\"roles\":1}", E },
		{ "roles an object", ES, "{" PAYLOAD ",\"roles\":{\"editor\":true}}", E },
		{ "roles nested", ES, "{" PAYLOAD ",\"roles\":[[\"editor\"]]}", E },
		{ "roles null", ES, "{" PAYLOAD ",\"roles\":null}", E },
		{ "one role not a string", ES, "{" PAYLOAD ",\"roles\":[\"editor\",true]}", E },
		{ "payload empty", ES, "{}", E },
		{ "payload with a byte-order mark", ES, "\xef\xbb\xbf{" PAYLOAD "}", E },
		{ "payload a list", ES,
		  "["
		  "1"
		  "]",
		  E },
		{ "payload a string", ES, "\"anna\"", E },
		{ "payload not JSON", ES, "{" PAYLOAD, E },
		{ "payload followed by more text", ES, "{" PAYLOAD "}{}", E },
		{ "payload nested too deeply", ES, "{" PAYLOAD ",\"a\":[[[[[[[[[[[[]]]]]]]]]]]]}", E },
		{ "payload not UTF-8", ES, "{" PAYLOAD ",\"a\":\"\xff\"}", E },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i].name, token(bad[i].header, bad[i].payload, bad[i].key));
}

static void wrong_headers_and_confused_keys_are_refused(void **state)
{
#define GOOD "{" PAYLOAD "}"
	static const struct bad bad[] = {
		{ "alg none", "{\"alg\":\"none\",\"kid\":\"e\"}", GOOD, E },
		{ "alg None", "{\"alg\":\"None\",\"kid\":\"e\"}", GOOD, E },
		{ "alg missing", "{\"kid\":\"e\"}", GOOD, E },
		{ "alg null", "{\"alg\":null,\"kid\":\"e\"}", GOOD, E },
		{ "alg a list", "{\"alg\":[\"ES256\"],\"kid\":\"e\"}", GOOD, E },
		{ "alg in lower case", "{\"alg\":\"es256\",\"kid\":\"e\"}", GOOD, E },
		{ "alg twice", "{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"e\"}", GOOD, E },
		{ "alg HS256", HEADER("HS256", "e"), GOOD, E },
		{ "alg RS256 with an EC key", HEADER("RS256", "e"), GOOD, E },
		{ "alg ES256 with an RSA key", HEADER("ES256", "r"), GOOD, R },
		{ "alg PS256", HEADER("PS256", "r"), GOOD, R },
		{ "alg RS512", HEADER("RS512", "r"), GOOD, R },
		{ "alg ES384", HEADER("ES384", "e"), GOOD, E },
		{ "alg ES256K", HEADER("ES256K", "e"), GOOD, E },
		{ "alg Ed25519 with an EC key", HEADER("EdDSA", "e"), GOOD, E },
		{ "kid unknown", HEADER("ES256", "z"), GOOD, E },
		{ "kid of the encryption key", HEADER("RS256", "x"), GOOD, R },
		{ "kid of another key", HEADER("ES256", "d"), GOOD, E },
		{ "kid a number", "{\"alg\":\"ES256\",\"kid\":1}", GOOD, E },
		{ "kid empty", HEADER("ES256", ""), GOOD, E },
		{ "kid a path", HEADER("ES256", "../../dev/null"), GOOD, E },
		{ "kid null", "{\"alg\":\"ES256\",\"kid\":null}", GOOD, E },
		{ "kid a list", "{\"alg\":\"ES256\",\"kid\":[\"e\"]}", GOOD, E },
		{ "kid in capitals", HEADER("ES256", "E"), GOOD, E },
		{ "kid with a NUL", "{\"alg\":\"ES256\",\"kid\":\"e\\u0000\"}", GOOD, E },
		{ "kid a query", HEADER("ES256", "e' OR '1'='1"), GOOD, E },
		{ "kid twice", "{\"alg\":\"ES256\",\"kid\":\"z\",\"kid\":\"e\"}", GOOD, E },
		{ "another RSA key", HEADER("RS256", "r"), GOOD, OTHER_R },
		{ "another EC key", HEADER("ES256", "e"), GOOD, OTHER_E },
		{ "another EC key, in the header", "{\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\"}}", GOOD,
		  OTHER_E },
		{ "another EC key, at an address",
		  "{\"alg\":\"ES256\",\"kid\":\"z\",\"jku\":\"http://127.0.0.1/keys\"}", GOOD, OTHER_E },
		{ "another EC key, in a certificate",
		  "{\"alg\":\"ES256\",\"kid\":\"z\",\"x5c\":[\"AAAA\"],\"x5u\":\"http://127.0.0.1/crt\"}",
		  GOOD, OTHER_E },
		{ "crit empty", "{\"alg\":\"ES256\",\"kid\":\"e\",\"crit\":[]}", GOOD, E },
		{ "crit null", "{\"alg\":\"ES256\",\"kid\":\"e\",\"crit\":null}", GOOD, E },
		{ "b64 true", "{\"alg\":\"ES256\",\"kid\":\"e\",\"b64\":true,\"crit\":[\"b64\"]}", GOOD, E },
		{ "alg empty", HEADER("", "e"), GOOD, E },
		{ "alg with a space", HEADER("ES256 ", "e"), GOOD, E },
		{ "alg with a NUL", "{\"alg\":\"ES256\\u0000\",\"kid\":\"e\"}", GOOD, E },
		{ "alg twice, once escaped", "{\"\\u0061lg\":\"none\",\"alg\":\"ES256\",\"kid\":\"e\"}", GOOD,
		  E },
		{ "a name twice in an object inside",
		  "{\"alg\":\"ES256\",\"kid\":\"e\",\"a\":{\"b\":1,\"b\":1}}", GOOD, E },
		{ "crit", "{\"alg\":\"ES256\",\"kid\":\"e\",\"crit\":[\"exp\"]}", GOOD, E },
		{ "b64", "{\"alg\":\"ES256\",\"kid\":\"e\",\"b64\":false}", GOOD, E },
		{ "nested", "{\"alg\":\"ES256\",\"kid\":\"e\",\"cty\":\"JWT\"}", GOOD, E },
		{ "compressed", "{\"alg\":\"ES256\",\"kid\":\"e\",\"zip\":\"DEF\"}", GOOD, E },
		{ "encrypted", "{\"alg\":\"ES256\",\"kid\":\"e\",\"enc\":\"A128GCM\"}", GOOD, E },
		{ "typ another", "{\"alg\":\"ES256\",\"kid\":\"e\",\"typ\":\"dpop+jwt\"}", GOOD, E },
		{ "typ null", "{\"alg\":\"ES256\",\"kid\":\"e\",\"typ\":null}", GOOD, E },
		{ "typ a number", "{\"alg\":\"ES256\",\"kid\":\"e\",\"typ\":1}", GOOD, E },
		{ "header empty", "{}", GOOD, E },
		{ "header a list", "[]", GOOD, E },
		{ "header not JSON", "{\"alg\":\"ES256\"", GOOD, E },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i].name, token(bad[i].header, bad[i].payload, bad[i].key));
}

// The public key as the secret of an HMAC, which deceives a verifier that takes the
// algorithm from the token.
static void a_token_signed_with_the_public_key_is_refused(void **state)
{
	static const char *const algorithms[] = { "HS256", "RS256" };
	uint8_t *der = NULL, mac[64];
	unsigned mac_len = sizeof(mac);
	int len = i2d_PUBKEY(keys[R], &der);

	for (int i = 0; i < 2; i++) {
		struct pl_buf out = { 0 };
		const char *header = pl_arena_printf(arena, "{\"alg\":\"%s\",\"kid\":\"r\"}", algorithms[i]);
		encode(&out, header, strlen(header));
		pl_buf_addc(&out, '.');
		encode(&out, GOOD, strlen(GOOD));
		HMAC(EVP_sha256(), der, len, (uint8_t *)out.data, out.len, mac, &mac_len);
		pl_buf_addc(&out, '.');
		encode(&out, mac, mac_len);
		refuse(algorithms[i], out.data);
		pl_buf_fini(&out);
	}
	OPENSSL_free(der);
}

static void text_without_the_form_of_a_token_is_refused(void **state)
{
	const char *good = token(ES, GOOD, E), *dot = strrchr(good, '.');
	char *huge = calloc(1, 20000);
	struct {
		const char *name;
		const char *text;
	} bad[] = {
		{ "empty", "" },
		{ "dots", ".." },
		{ "no signature", pl_arena_printf(arena, "%.*s.", (int)(dot - good), good) },
		{ "two parts", pl_arena_printf(arena, "%.*s", (int)(dot - good), good) },
		{ "four parts", pl_arena_printf(arena, "%s.x", good) },
		{ "five parts", pl_arena_printf(arena, "%s.x.y", good) },
		{ "a trailing dot", pl_arena_printf(arena, "%s.", good) },
		{ "a leading space", pl_arena_printf(arena, " %s", good) },
		{ "padding", pl_arena_printf(arena, "%s==", good) },
		{ "a space inside", pl_arena_printf(arena, "%.20s %s", good, good + 20) },
		{ "a line feed", pl_arena_printf(arena, "%s\n", good) },
		{ "signature cut", pl_arena_printf(arena, "%.*s", (int)strlen(good) - 4, good) },
		{ "signature longer", pl_arena_printf(arena, "%sAAAA", good) },
		{ "signature of zeros",
		  pl_arena_printf(arena, "%.*s." ZEROS ZEROS, (int)(dot - good), good) },
		{ "signature of another token",
		  pl_arena_printf(arena, "%.*s%s", (int)(dot - good), good,
		                  strrchr(token(ES, "{" PAYLOAD ",\"a\":1}", E), '.')) },
		{ "huge", huge },
	};

	memset(huge, 'A', 19999);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i].name, bad[i].text);
	free(huge);
}

// Each claim is a whole second; the clock and the leeway are finer.
static void the_leeway_ends_at_its_last_microsecond(void **state)
{
	static const struct {
		const char *claims;
		int64_t now_us;
		bool good;
	} cases[] = {
		{ "\"exp\":1800000000", (NOW_S + 30) * US - 1, true },
		{ "\"exp\":1800000000", (NOW_S + 30) * US, false },
		{ "\"exp\":1800000000.999999", (NOW_S + 30) * US, false },
		{ "\"exp\":1900000000,\"nbf\":1800000000", (NOW_S - 30) * US - 1, false },
		{ "\"exp\":1900000000,\"nbf\":1800000000", (NOW_S - 30) * US, true },
		{ "\"exp\":1900000000,\"iat\":1800000000", (NOW_S - 30) * US - 1, false },
		{ "\"exp\":1900000000,\"iat\":1800000000", (NOW_S - 30) * US, true },
		{ "\"exp\":253402300799", INT64_C(253402300799) * US, true },
		{ "\"exp\":0", 30 * US - 1, true },
		{ "\"exp\":0", 30 * US, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pl_jwt_result result = { .now_us = cases[i].now_us };
		const char *text = token(
			ES,
			pl_arena_printf(arena, "{\"iss\":\"https://issuer\"," REST ",%s}", cases[i].claims),
			E);
		if ((pl_jwt_check(&jwks, &rules, arena, text, &result) == 0) != cases[i].good)
			fail_msg("%s at %lld", cases[i].claims, (long long)cases[i].now_us);
	}
}

// The longest token that a head of 8 KiB has room for, and longer ones.
static void a_huge_kid_finds_no_key(void **state)
{
	static const int lens[] = { 100, 1000, 5000, 6000, 100000 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		char *kid = calloc(1, (size_t)lens[i] + 1);
		memset(kid, 'e', (size_t)lens[i]);
		refuse("a huge kid",
		       token(pl_arena_printf(arena, "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid), GOOD, E));
		free(kid);
	}
}

static void no_changed_character_goes_unnoticed(void **state)
{
	const char *good = token(HEADER("EdDSA", "d"), GOOD, D);
	char *text = pl_arena_strdup(arena, good);

	for (size_t i = 0; text[i]; i++) {
		char was = text[i];
		text[i] = was == 'A' ? 'B' : 'A';
		refuse("a changed character", text);
		text[i] = was;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_algorithm_is_accepted_with_its_own_key),
		cmocka_unit_test(neighbours_of_the_bad_tokens_are_accepted),
		cmocka_unit_test(roles_may_be_nested_deeper),
		cmocka_unit_test(wrong_claims_are_refused),
		cmocka_unit_test(wrong_headers_and_confused_keys_are_refused),
		cmocka_unit_test(a_token_signed_with_the_public_key_is_refused),
		cmocka_unit_test(text_without_the_form_of_a_token_is_refused),
		cmocka_unit_test(the_leeway_ends_at_its_last_microsecond),
		cmocka_unit_test(a_huge_kid_finds_no_key),
		cmocka_unit_test(no_changed_character_goes_unnoticed),
	};
	return cmocka_run_group_tests_name("jwt", tests, setup, teardown);
}
