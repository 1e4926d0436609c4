// What a connection has proved counts for the same token only, and only while the
// credentials that the token was checked with are in force.
#include "auth/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/keyring_file.h"
#include "base/clock.h"

static const struct pl_known_proof proof = { 7, 3, 1000 }, now = { 7, 3, 999 };
static struct pl_arena *arena;
static struct pl_known known;

static int setup(void **state)
{
	const char *names[] = { "editor", "auditor" };
	struct pl_identity identity = { "anna", { 2, names } };

	arena = pl_arena_new(0);
	pl_known_keep(&known, &proof, "token", &identity);
	return 0;
}

static int teardown(void **state)
{
	pl_known_forget(&known);
	pl_arena_free(&arena);
	return 0;
}

static bool finds(struct pl_known_proof at, const char *token)
{
	struct pl_identity identity = { 0 };

	return pl_known_find(&known, &at, token, arena, &identity);
}

static void the_same_token_proves_the_same_identity_which_is_copied(void **state)
{
	struct pl_identity identity = { 0 };

	assert_true(pl_known_find(&known, &now, "token", arena, &identity));
	pl_known_forget(&known);
	assert_string_equal(identity.principal, "anna");
	assert_int_equal(identity.roles.n, 2);
	assert_string_equal(identity.roles.names[0], "editor");
	assert_string_equal(identity.roles.names[1], "auditor");
	assert_false(finds(now, "token"));
}

static void another_token_proves_nothing(void **state)
{
	assert_false(finds(now, "tokem"));
	assert_false(finds(now, "toke"));
	assert_false(finds(now, "token2"));
	assert_false(finds(now, ""));
	assert_true(finds(now, "token"));
}

static void a_proof_ends_with_its_credentials_and_when_it_expires(void **state)
{
	assert_false(finds((struct pl_known_proof){ 8, 3, 999 }, "token")); // a reload
	assert_false(finds((struct pl_known_proof){ 7, 4, 999 }, "token")); // other keys were fetched
	assert_false(finds((struct pl_known_proof){ 7, 3, 1000 }, "token"));
	assert_true(finds(now, "token"));
}

static void only_the_last_token_is_kept_and_a_long_one_not_at_all(void **state)
{
	struct pl_identity ben = { "ben", { 0 } }, identity = { 0 };
	char text[4096];

	pl_known_keep(&known, &proof, "other", &ben);
	assert_false(finds(now, "token"));
	assert_true(pl_known_find(&known, &now, "other", arena, &identity));
	assert_string_equal(identity.principal, "ben");
	assert_int_equal(identity.roles.n, 0);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	pl_known_keep(&known, &proof, text, &ben);
	assert_false(finds(now, text));
	assert_false(finds(now, "other"));
}

// ---- with the credentials of a configuration

static char folder[64], path[128], key[PL_KEYRING_KEY_LEN + 1];

static struct pl_credentials *load(void)
{
	struct pl_config config = { .auth = { .api_keys = path } };
	struct pl_diagnostics diagnostics = { 0 };
	struct pl_credentials *credentials = pl_credentials_load(&config, &diagnostics);

	assert_non_null(credentials);
	pl_diagnostics_fini(&diagnostics);
	return credentials;
}

static void write_key(bool revoked)
{
	FILE *file = fopen(path, "w");
	struct pl_api_key made;
	char hex[PL_SHA256_HEX];

	fprintf(file, "# the keys\n"); // a file without any is never empty
	if (!revoked)
		pl_keyring_make(key, &made);
	if (!revoked)
		fprintf(file, "%s %s anna editor 2026-01-02T03:04:05Z -\n", made.id,
		        pl_sha256_hex(made.sha256, hex));
	fclose(file);
	assert_int_equal(chmod(path, 0600), 0);
}

static int check(struct pl_credentials *credentials, const char *token)
{
	struct pl_identity identity = { 0 };
	const char *why = NULL;
	int rc = pl_credentials_check(credentials, &known, arena, token, &identity, &why);

	assert_true(rc != 0 || strcmp(identity.principal, "anna") == 0);
	return rc;
}

static void a_revoked_key_ends_with_the_reload_even_on_its_own_connection(void **state)
{
	strcpy(folder, "/tmp/plist-known-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/keys", folder);
	write_key(false);
	struct pl_credentials *before = load();
	assert_int_equal(check(before, key), 0);
	assert_int_equal(check(before, key), 0);
	assert_true(known.arena != NULL);
	write_key(true);
	struct pl_credentials *after = load();
	assert_int_equal(check(after, key), PL_EINVAL);
	assert_int_equal(check(before, key), 0); // a request that began before the reload
	pl_credentials_unref(&before);
	pl_credentials_unref(&after);
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_same_token_proves_the_same_identity_which_is_copied,
		                                setup, teardown),
		cmocka_unit_test_setup_teardown(another_token_proves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_proof_ends_with_its_credentials_and_when_it_expires, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(only_the_last_token_is_kept_and_a_long_one_not_at_all, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_revoked_key_ends_with_the_reload_even_on_its_own_connection,
		                                setup, teardown),
	};
	return cmocka_run_group_tests_name("known", tests, NULL, NULL);
}
