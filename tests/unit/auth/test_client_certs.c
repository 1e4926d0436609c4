// Client certificates: whose they are, and which are nobody's.
#include "auth/client_certs.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

#define NOW_S INT64_C(1800000000)
#define US    INT64_C(1000000)

static gnutls_x509_privkey_t key;
static struct pl_arena *arena;
static const char *editor[] = { "editor" };
static struct pl_client_cert_rule rules[] = {
	{ .subject = "CN=shop,O=Example", .principal = "the-shop", .nroles = 1, .roles = editor },
	{ .san = "DNS:*.shop.example" },
	{ .san = "URI:spiffe://example/*/api", .principal = "apis" },
	{ .san = "email:*@example.org", .nroles = 1, .roles = editor },
	{ .san = "URI:plist*" },
};
static const struct pl_client_certs certs = { 5, rules };

struct name {
	gnutls_x509_subject_alt_name_t type;
	const char *text;
	size_t len; // 0: of the text
};

static void add_name(gnutls_x509_crt_t crt, const struct name *name)
{
	size_t len = name->len ? name->len : strlen(name->text);
	assert_int_equal(gnutls_x509_crt_set_subject_alt_name(crt, name->type, name->text, (unsigned)len,
	                                                      GNUTLS_FSAN_APPEND),
	                 0);
}

// A certificate with this subject and these names, which is valid for a minute around
// NOW_S. The caller frees it.
static gnutls_datum_t make(const char *subject, const struct name *names, int n, gnutls_x509_crt_fmt_t format)
{
	gnutls_x509_crt_t crt;
	gnutls_datum_t text;
	assert_int_equal(gnutls_x509_crt_init(&crt), 0);
	assert_int_equal(gnutls_x509_crt_set_version(crt, 3), 0);
	assert_int_equal(gnutls_x509_crt_set_serial(crt, "1", 1), 0);
	assert_int_equal(gnutls_x509_crt_set_dn(crt, subject, NULL), 0);
	for (int i = 0; i < n; i++)
		add_name(crt, &names[i]);
	gnutls_x509_crt_set_activation_time(crt, NOW_S - 30);
	gnutls_x509_crt_set_expiration_time(crt, NOW_S + 30);
	assert_int_equal(gnutls_x509_crt_set_key(crt, key), 0);
	assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
	assert_int_equal(gnutls_x509_crt_export2(crt, format, &text), 0);
	gnutls_x509_crt_deinit(crt);
	return text;
}

static int check_at(int64_t now_s, const char *subject, const struct name *names, int n,
                    struct pl_client_certs_result *result)
{
	gnutls_datum_t der = make(subject, names, n, GNUTLS_X509_FMT_DER);
	*result = (struct pl_client_certs_result){ .now_us = now_s * US };
	int rc = pl_client_certs_check(&certs, arena, der.data, der.size, result);
	gnutls_free(der.data);
	return rc;
}

static void is(const char *principal, const char *subject, const struct name *names, int n)
{
	struct pl_client_certs_result result;
	if (check_at(NOW_S, subject, names, n, &result) != 0)
		fail_msg("%s: %s", principal, result.why);
	assert_string_equal(result.identity.principal, principal);
	assert_int_equal(result.until_us, (NOW_S + 30) * US);
}

static void is_nobody(const char *why, const char *subject, const struct name *names, int n)
{
	struct pl_client_certs_result result;
	assert_int_equal(check_at(NOW_S, subject, names, n, &result), PL_EINVAL);
	if (!strstr(result.why, why))
		fail_msg("%s", result.why);
}

#define DNS(text_)   &(struct name){ GNUTLS_SAN_DNSNAME, text_, 0 }, 1
#define URI(text_)   &(struct name){ GNUTLS_SAN_URI, text_, 0 }, 1
#define EMAIL(text_) &(struct name){ GNUTLS_SAN_RFC822NAME, text_, 0 }, 1
#define OTHER        "no entry of auth.client_certificates matches"

static void the_whole_subject_counts(void **state)
{
	struct pl_client_certs_result result;
	assert_int_equal(check_at(NOW_S, "O=Example,CN=shop", NULL, 0, &result), PL_EINVAL);
	assert_non_null(strstr(result.why, "whose subject is \"O=Example,CN=shop\""));
	is("the-shop", "CN=shop,O=Example", NULL, 0);
	is_nobody(OTHER, "CN=shop", NULL, 0);
	is_nobody(OTHER, "CN=shop,O=Example,C=DE", NULL, 0);
	is_nobody(OTHER, "CN=Shop,O=Example", NULL, 0);
	// A comma inside a value does not split the value.
	is_nobody(OTHER, "CN=shop\\,O\\=Example", NULL, 0);
}

static void the_roles_are_those_of_the_entry(void **state)
{
	struct pl_client_certs_result result;
	assert_int_equal(check_at(NOW_S, "CN=shop,O=Example", NULL, 0, &result), 0);
	assert_int_equal(result.identity.roles.n, 1);
	assert_string_equal(result.identity.roles.names[0], "editor");
	assert_int_equal(check_at(NOW_S, "CN=x", DNS("a.shop.example"), &result), 0);
	assert_int_equal(result.identity.roles.n, 0);
}

static void a_star_is_one_part_of_a_name(void **state)
{
	is("a.shop.example", "CN=x", DNS("a.shop.example"));
	is("a.shop.example", "CN=x", DNS("A.Shop.Example")); // the same name
	is_nobody(OTHER, "CN=x", DNS(".shop.example"));
	is_nobody(OTHER, "CN=x", DNS("a.b.shop.example"));
	is_nobody(OTHER, "CN=x", DNS("a.shop.example.org"));
	is_nobody(OTHER, "CN=x", URI("a.shop.example"));
	is_nobody(OTHER, "CN=x", DNS("*.shop.example")); // of a certificate for many hosts
	is("apis", "CN=x", URI("spiffe://example/eu/api"));
	is_nobody(OTHER, "CN=x", URI("spiffe://example/eu/west/api"));
	is_nobody(OTHER, "CN=x", URI("spiffe://example//api"));
	is_nobody(OTHER, "CN=x", URI("spiffe://example/api"));
	is("anna@example.org", "CN=x", EMAIL("anna@example.org"));
	is_nobody(OTHER, "CN=x", EMAIL("a@b@example.org"));
	is_nobody(OTHER, "CN=x", EMAIL("anna@example.org.uk"));
}

static void the_common_name_is_not_a_host_name(void **state)
{
	is_nobody(OTHER, "CN=a.shop.example", NULL, 0);
}

static void several_names_identify_nobody_unless_the_entry_says_who(void **state)
{
	const struct name two[] = { { GNUTLS_SAN_DNSNAME, "a.shop.example", 0 },
		                    { GNUTLS_SAN_DNSNAME, "b.shop.example", 0 } };
	const struct name paths[] = { { GNUTLS_SAN_URI, "spiffe://example/a/api", 0 },
		                      { GNUTLS_SAN_URI, "spiffe://example/b/api", 0 } };
	const struct name others[] = { { GNUTLS_SAN_DNSNAME, "other", 0 },
		                       { GNUTLS_SAN_DNSNAME, "b.shop.example", 0 } };
	is_nobody("several names that match DNS:*.shop.example", "CN=x", two, 2);
	is("apis", "CN=x", paths, 2);
	is("b.shop.example", "CN=x", others, 2);
}

static void names_that_cannot_be_principals_are_refused(void **state)
{
	is_nobody("cannot be a principal", "CN=x",
	          DNS("a-name-that-is-much-longer-than-the-sixty-four-characters.shop.example"));
	is_nobody("cannot be a principal", "CN=x", EMAIL("an na@example.org"));
	is_nobody("cannot be a principal", "CN=x", URI("plist:violation"));
	is_nobody("cannot be a principal", "CN=x", URI("plist-admin"));
	is("plist-clients", "CN=x", URI("plist-clients"));
}

static void a_name_does_not_end_at_a_nul(void **state)
{
	struct pl_client_certs_result result = { .now_us = NOW_S * US };
	gnutls_datum_t der = make("CN=x", DNS("a.shop.example~.evil.example"), GNUTLS_X509_FMT_DER);
	unsigned char *at = memchr(der.data, '~', der.size);
	assert_non_null(at);
	*at = '\0';
	assert_int_equal(pl_client_certs_check(&certs, arena, der.data, der.size, &result), PL_EINVAL);
	assert_non_null(strstr(result.why, OTHER));
	gnutls_free(der.data);
}

static void the_dates_are_checked_again(void **state)
{
	struct pl_client_certs_result result;
	assert_int_equal(check_at(NOW_S + 30, "CN=shop,O=Example", NULL, 0, &result), PL_EINVAL);
	assert_string_equal(result.why, "its certificate has expired");
	assert_int_equal(check_at(NOW_S - 31, "CN=shop,O=Example", NULL, 0, &result), PL_EINVAL);
	assert_string_equal(result.why, "its certificate is not valid yet");
}

// As $ssl_client_escaped_cert does.
static char *escape(const gnutls_datum_t *pem)
{
	struct pl_buf text = { 0 };
	for (unsigned i = 0; i < pem->size; i++)
		if (strchr("\n +/=", pem->data[i]))
			pl_buf_printf(&text, "%%%02X", pem->data[i]);
		else
			pl_buf_addc(&text, (char)pem->data[i]);
	return text.data;
}

static void only_the_form_that_nginx_passes_on_is_read(void **state)
{
	gnutls_datum_t pem = make("CN=shop,O=Example", NULL, 0, GNUTLS_X509_FMT_PEM);
	char *text = escape(&pem), *long_text = malloc(20000);
	struct pl_client_certs_result result = { .now_us = NOW_S * US };
	assert_int_equal(pl_client_certs_check_escaped(&certs, arena, text, &result), 0);
	assert_string_equal(result.identity.principal, "the-shop");
	memset(long_text, 'a', 19999);
	long_text[19999] = '\0';
	text[strlen(text) / 2] = '\0';
	const char *const bad[] = { text, "", "CN=shop,O=Example", "%", "%4", "%zz", long_text };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(pl_client_certs_check_escaped(&certs, arena, bad[i], &result), PL_EINVAL);
		assert_string_equal(result.why, "its certificate cannot be read");
	}
	assert_int_equal(pl_client_certs_check_escaped(&certs, arena, PL_CLIENT_CERTS_TOO_LARGE, &result),
	                 PL_EINVAL);
	assert_string_equal(result.why, "its certificate is larger than NGINX passes on");
	free(long_text);
	free(text);
	gnutls_free(pem.data);
}

static int setup(void **state)
{
	arena = pl_arena_new(0);
	return gnutls_x509_privkey_init(&key) ||
	       gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
	                                    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
}

static int teardown(void **state)
{
	gnutls_x509_privkey_deinit(key);
	pl_arena_free(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_whole_subject_counts),
		cmocka_unit_test(the_roles_are_those_of_the_entry),
		cmocka_unit_test(a_star_is_one_part_of_a_name),
		cmocka_unit_test(the_common_name_is_not_a_host_name),
		cmocka_unit_test(several_names_identify_nobody_unless_the_entry_says_who),
		cmocka_unit_test(names_that_cannot_be_principals_are_refused),
		cmocka_unit_test(a_name_does_not_end_at_a_nul),
		cmocka_unit_test(the_dates_are_checked_again),
		cmocka_unit_test(only_the_form_that_nginx_passes_on_is_read),
	};
	return cmocka_run_group_tests_name("client_certs", tests, setup, teardown);
}
