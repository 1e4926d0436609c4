// Sets of keys: which are refused and which keys are passed over; and signatures in
// other forms than the one of the standard.
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/jwks.h"
#include "base/buf.h"

#define ZEROS   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // 32 bytes
#define ED      "\"kty\":\"OKP\",\"crv\":\"Ed25519\""
#define ED_X    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"" // of RFC 8037
#define EC      "\"kty\":\"EC\",\"crv\":\"P-256\""
#define EC_X    "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU" // of RFC 7517
#define EC_Y    "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define TEXT    "header.payload"
#define NUMBERS 32 // bytes of each number of a signature

static struct pl_arena *arena;

static int setup(void **state)
{
	arena = pl_arena_new(0);
	return 0;
}

static int teardown(void **state)
{
	pl_arena_free(&arena);
	return 0;
}

static const char *encoded(const void *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *bytes = data;
	struct pl_buf out = { 0 };
	uint32_t bits = 0;
	int nbits = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | bytes[i];
		for (nbits += 8; nbits >= 6; nbits -= 6)
			pl_buf_addc(&out, digits[bits >> (nbits - 6) & 63]);
	}
	if (nbits > 0)
		pl_buf_addc(&out, digits[bits << (6 - nbits) & 63]);
	const char *text = pl_arena_strdup(arena, out.data);
	pl_buf_fini(&out);
	return text;
}

// Returns the number of keys that are used, or -1 if the set is refused.
static int keys_of(const char *text, int *passed_over_r)
{
	struct pl_error err;
	struct pl_jwks set;
	int rc = pl_jwks_parse(arena, text, strlen(text), &set, &err), n = set.n;

	*passed_over_r = set.passed_over;
	pl_jwks_fini(&set);
	return rc == 0 ? n : -1;
}

static void refuse(const char *text)
{
	int passed_over;

	if (keys_of(text, &passed_over) != -1)
		fail_msg("accepted: %.300s", text);
}

// ---- sets

static void sets_that_would_be_dangerous_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"keys\":{}}",
		"{\"keys\":[]}",
		"{\"keys\":[1]}",
		"{\"keys\":[{" ED "," ED_X "}]}]",
		"{\"keys\":[{" ED "," ED_X "," ED_X "}]}",
		"{\"keys\":[],\"keys\":[{" ED "," ED_X "}]}",
		"{\"keys\":[{" ED "," ED_X ",\"kid\":\"a\"},{" EC ",\"x\":\"" EC_X "\",\"y\":\"" EC_Y
		"\",\"kid\":\"a\"}]}",
		"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
		"{\"keys\":[{" ED "," ED_X "},{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
		"{\"keys\":[{" ED "," ED_X ",\"k\":\"AAAA\"}]}",
		"{\"keys\":[{" ED ",\"x\":\"AAAA\"}]}",
		"{\"keys\":[{" ED ",\"x\":7}]}",
		"{\"keys\":[{" ED "}]}",
		"{\"keys\":[{" ED ",\"d\":\"AAAA\"," ED_X "}]}",
		"{\"keys\":[{" ED ",\"kid\":7," ED_X "}]}",
		"{\"keys\":[{" ED ",\"kid\":null," ED_X "}]}",
		"{\"keys\":[{" EC ",\"x\":\"" ZEROS "\",\"y\":\"" ZEROS "\"}]}",
		"{\"keys\":[{" EC ",\"x\":\"" EC_Y "\",\"y\":\"" EC_X "\"}]}",
		"{\"keys\":[{" EC ",\"x\":\"" EC_X "AA\",\"y\":\"" EC_Y "\"}]}",
		"{\"keys\":[{" EC ",\"x\":\"" EC_X "=\",\"y\":\"" EC_Y "\"}]}",
		"{\"keys\":[{" EC ",\"x\":\"" EC_X "\"}]}",
		"{\"keys\":[{" EC ",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"d\":\"" EC_X "\"}]}",
		"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\"}]}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i]);
}

static const char *rsa_set(size_t len, uint8_t first, uint8_t last, const char *exponent)
{
	uint8_t *modulus = pl_arena_alloc(arena, len);

	memset(modulus, 0xa5, len);
	modulus[0] = first;
	modulus[len - 1] = last;
	return pl_arena_printf(arena, "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}]}",
	                       encoded(modulus, len), exponent);
}

static void rsa_keys_that_prove_nothing_are_refused(void **state)
{
	int passed_over;

	assert_int_equal(keys_of(rsa_set(256, 0xa5, 0xa5, "AQAB"), &passed_over), 1);
	assert_int_equal(keys_of(rsa_set(1024, 0xa5, 0xa5, "Aw"), &passed_over), 1);
	refuse(rsa_set(255, 0xa5, 0xa5, "AQAB"));
	refuse(rsa_set(128, 0xa5, 0xa5, "AQAB"));
	refuse(rsa_set(257, 0, 0xa5, "AQAB"));
	refuse(rsa_set(1025, 0xa5, 0xa5, "AQAB"));
	refuse(rsa_set(256, 0xa5, 0xa4, "AQAB"));
	refuse(rsa_set(256, 0xa5, 0xa5, "AQ"));           // 1
	refuse(rsa_set(256, 0xa5, 0xa5, "AAAB"));         // 1, with zeros in front of it
	refuse(rsa_set(256, 0xa5, 0xa5, "Ag"));           // 2
	refuse(rsa_set(256, 0xa5, 0xa5, "AA"));           // 0
	refuse(rsa_set(256, 0xa5, 0xa5, ""));             // none
	refuse(rsa_set(256, 0xa5, 0xa5, "AQAAAAAAAAAB")); // 9 bytes
}

// For such a key, R = S·B is a signature of every text.
static void ed25519_keys_of_small_order_are_refused(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};

	for (size_t i = 0; i < 2 * sizeof(points) / sizeof(points[0]); i++) {
		BIGNUM *number = NULL;
		uint8_t x[NUMBERS];
		assert_int_not_equal(BN_hex2bn(&number, points[i / 2]), 0);
		assert_int_equal(BN_bn2binpad(number, x, sizeof(x)), sizeof(x));
		BN_free(number);
		x[NUMBERS - 1] |= i % 2 ? 0x80 : 0; // the sign of x
		refuse(pl_arena_printf(arena, "{\"keys\":[{" ED ",\"x\":\"%s\"}]}", encoded(x, sizeof(x))));
	}
}

static void keys_for_something_else_are_passed_over(void **state)
{
	static const char *const others[] = {
		"\"use\":\"enc\"",
		"\"use\":7",
		"\"alg\":\"RS256\"",
		"\"alg\":7",
		"\"key_ops\":[\"encrypt\"]",
		"\"key_ops\":[]",
		"\"key_ops\":\"verify\"",
		"\"key_ops\":{\"a\":\"verify\"}",
		"\"key_ops\":[[\"verify\"]]",
	};
	static const char *const ours[] = {
		"\"use\":\"sig\",\"alg\":\"EdDSA\"",
		"\"key_ops\":[\"verify\"]",
		"\"key_ops\":[1,\"sign\",\"verify\"]",
		"\"x5c\":[\"AAAA\"],\"x5u\":\"http://evil\"",
	};
	int passed_over;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		const char *text = pl_arena_printf(arena,
		                                   "{\"keys\":[{" ED "," ED_X ",%s},{" EC ",\"x\":\"" EC_X
		                                   "\",\"y\":\"" EC_Y "\"}]}",
		                                   others[i]);
		if (keys_of(text, &passed_over) != 1 || passed_over != 1)
			fail_msg("used, or refused: %s", others[i]);
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (keys_of(pl_arena_printf(arena, "{\"keys\":[{" ED "," ED_X ",%s}]}", ours[i]),
		            &passed_over) != 1)
			fail_msg("not used: %s", ours[i]);
}

static const char *set_of(int n, const char *key)
{
	struct pl_buf out = { 0 };

	pl_buf_adds(&out, "{\"keys\":[");
	for (int i = 0; i < n; i++)
		pl_buf_printf(&out, "%s{%s,\"kid\":\"%d\"}", i ? "," : "", key, i);
	pl_buf_adds(&out, "]}");
	const char *text = pl_arena_strdup(arena, out.data);
	pl_buf_fini(&out);
	return text;
}

static void a_set_with_too_many_keys_is_refused(void **state)
{
	int passed_over;

	assert_int_equal(keys_of(set_of(PL_JWKS_KEYS_MAX, ED "," ED_X), &passed_over), PL_JWKS_KEYS_MAX);
	refuse(set_of(PL_JWKS_KEYS_MAX + 1, ED "," ED_X));
	refuse(set_of(10000, ED "," ED_X));
	refuse(set_of(10000, "\"kty\":\"a\""));
}

// ---- signatures

static bool verifies(const struct pl_jwks_key *key, const uint8_t *signature, size_t len)
{
	return pl_jwks_verify(key, TEXT, strlen(TEXT), signature, len);
}

static size_t sign(const struct pl_jwks_key *key, const char *digest, int padding, uint8_t signature[512])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *how = NULL;
	size_t len = 512;

	assert_int_equal(EVP_DigestSignInit_ex(context, &how, digest, NULL, NULL, key->key, NULL), 1);
	if (padding)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(how, padding), 1);
	assert_int_equal(EVP_DigestSign(context, signature, &len, (const uint8_t *)TEXT, strlen(TEXT)), 1);
	EVP_MD_CTX_free(context);
	return len;
}

static void an_ecdsa_signature_has_only_its_two_numbers(void **state)
{
	static const char order[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
	struct pl_jwks_key key = { NULL, PL_JWKS_ES256, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256") };
	uint8_t der[512], good[2 * NUMBERS + 1] = { 0 }, bad[2 * NUMBERS + 1] = { 0 };
	const uint8_t *at = der;
	size_t len = sign(&key, "SHA256", 0, der);
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
	BIGNUM *n = NULL;

	BN_hex2bn(&n, order);
	BN_bn2binpad(ECDSA_SIG_get0_r(pair), good, NUMBERS);
	BN_bn2binpad(ECDSA_SIG_get0_s(pair), good + NUMBERS, NUMBERS);
	assert_true(verifies(&key, good, 2 * NUMBERS));
	assert_false(verifies(&key, der, len));
	assert_false(verifies(&key, good, 2 * NUMBERS - 1));
	assert_false(verifies(&key, good, 2 * NUMBERS + 1));
	assert_false(verifies(&key, good, 0));
	memcpy(bad + 1, good, 2 * NUMBERS);
	assert_false(verifies(&key, bad, 2 * NUMBERS + 1));
	for (int i = 0; i < 2; i++) {
		memcpy(bad, good, 2 * NUMBERS);
		memset(bad + i * NUMBERS, 0, NUMBERS); // r or s zero
		assert_false(verifies(&key, bad, 2 * NUMBERS));
		BN_bn2binpad(n, bad + i * NUMBERS, NUMBERS); // the order, which is as much as zero
		assert_false(verifies(&key, bad, 2 * NUMBERS));
		memset(bad + i * NUMBERS, 0xff, NUMBERS);
		assert_false(verifies(&key, bad, 2 * NUMBERS));
	}
	memcpy(bad, good + NUMBERS, NUMBERS); // exchanged
	memcpy(bad + NUMBERS, good, NUMBERS);
	assert_false(verifies(&key, bad, 2 * NUMBERS));
	memset(bad, 0, sizeof(bad));
	assert_false(verifies(&key, bad, 2 * NUMBERS));
	BN_free(n);
	ECDSA_SIG_free(pair);
	EVP_PKEY_free(key.key);
}

static void an_rsa_signature_has_its_padding_digest_and_length(void **state)
{
	struct pl_jwks_key key = { NULL, PL_JWKS_RS256, EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048) };
	uint8_t good[512], bad[513] = { 0 };
	size_t len = sign(&key, "SHA256", 0, good);

	assert_true(verifies(&key, good, len));
	assert_false(verifies(&key, good, len - 1));
	assert_false(verifies(&key, good, 0));
	memcpy(bad + 1, good, len);
	assert_false(verifies(&key, bad, len + 1));
	memcpy(bad, good, len);
	bad[len] = 0;
	assert_false(verifies(&key, bad, len + 1));
	assert_false(verifies(&key, bad, sign(&key, "SHA256", RSA_PKCS1_PSS_PADDING, bad)));
	assert_false(verifies(&key, bad, sign(&key, "SHA1", 0, bad)));
	assert_false(verifies(&key, bad, sign(&key, "SHA512", 0, bad)));
	memset(bad, 0, sizeof(bad));
	assert_false(verifies(&key, bad, len));
	bad[len - 1] = 1;
	assert_false(verifies(&key, bad, len));
	EVP_PKEY_free(key.key);
}

// The same number modulo the order of the group, so a verifier that does not look at its
// size accepts a second signature of each text.
static void add_order(uint8_t number[NUMBERS])
{
	static const uint8_t order[NUMBERS] = { 0xed,
		                                0xd3,
		                                0xf5,
		                                0x5c,
		                                0x1a,
		                                0x63,
		                                0x12,
		                                0x58,
		                                0xd6,
		                                0x9c,
		                                0xf7,
		                                0xa2,
		                                0xde,
		                                0xf9,
		                                0xde,
		                                0x14,
		                                [NUMBERS - 1] = 0x10 };
	unsigned carry = 0;

	for (int i = 0; i < NUMBERS; i++) {
		carry += number[i] + (unsigned)order[i];
		number[i] = (uint8_t)carry;
		carry >>= 8;
	}
}

static void an_ed25519_signature_has_one_form(void **state)
{
	struct pl_jwks_key key = { NULL, PL_JWKS_EDDSA, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
	uint8_t good[512], bad[2 * NUMBERS + 1] = { 0 };
	size_t len = sign(&key, NULL, 0, good);

	assert_int_equal(len, 2 * NUMBERS);
	assert_true(verifies(&key, good, len));
	assert_false(verifies(&key, good, len - 1));
	assert_false(verifies(&key, good, 0));
	memcpy(bad, good, len);
	assert_false(verifies(&key, bad, len + 1));
	add_order(bad + NUMBERS);
	assert_false(verifies(&key, bad, len));
	memset(bad, 0, sizeof(bad));
	assert_false(verifies(&key, bad, len));
	bad[0] = 1; // the neutral element, which a key of small order accepts
	assert_false(verifies(&key, bad, len));
	EVP_PKEY_free(key.key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_that_would_be_dangerous_are_refused),
		cmocka_unit_test(rsa_keys_that_prove_nothing_are_refused),
		cmocka_unit_test(ed25519_keys_of_small_order_are_refused),
		cmocka_unit_test(keys_for_something_else_are_passed_over),
		cmocka_unit_test(a_set_with_too_many_keys_is_refused),
		cmocka_unit_test(an_ecdsa_signature_has_only_its_two_numbers),
		cmocka_unit_test(an_rsa_signature_has_its_padding_digest_and_length),
		cmocka_unit_test(an_ed25519_signature_has_one_form),
	};
	return cmocka_run_group_tests_name("jwks", tests, setup, teardown);
}
