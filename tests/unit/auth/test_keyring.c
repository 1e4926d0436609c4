// API keys: what proves a client, what does not, and the file that holds the hashes.
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

#define HASH "0000000000000000000000000000000000000000000000000000000000000000"
#define TIME "2026-01-02T03:04:05Z"

static struct pl_arena *arena;
static char folder[64], path[128];

static int setup(void **state)
{
	arena = pl_arena_new(0);
	strcpy(folder, "/tmp/plist-keys-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/keys", folder);
	return 0;
}

static int teardown(void **state)
{
	char fresh[160];

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	unlink(fresh);
	unlink(path);
	rmdir(folder);
	pl_arena_free(&arena);
	return 0;
}

// Adds a key for anna, an editor, to the file; puts its text into `text` and its id
// into `id`.
static void add(char text[PL_KEYRING_KEY_LEN + 1], char id[PL_KEYRING_ID_LEN + 1], int64_t expires_us)
{
	static const char *editor[] = { "editor" };
	struct pl_keyring_file file;
	struct pl_api_key key;
	struct pl_error err;

	assert_int_equal(pl_keyring_file_open(&file, arena, path, true, &err), 0);
	pl_keyring_make(text, &key);
	key.identity = (struct pl_identity){ "anna", { 1, editor } };
	key.created_us = pl_now_us();
	key.expires_us = expires_us;
	strcpy(id, key.id);
	pl_keyring_file_add(&file, &key);
	assert_int_equal(pl_keyring_file_commit(&file, &err), 0);
}

static struct pl_keyring ring_of(void)
{
	struct pl_keyring ring;
	struct pl_error err = { 0 };

	if (pl_keyring_read(arena, path, &ring, &err) != 0)
		fail_msg("%s", err.text);
	return ring;
}

static void a_key_proves_its_principal_and_roles(void **state)
{
	char text[PL_KEYRING_KEY_LEN + 1], other[PL_KEYRING_KEY_LEN + 1], id[PL_KEYRING_ID_LEN + 1];
	const char *why;

	add(other, id, 0);
	add(text, id, 0);
	struct pl_keyring ring = ring_of();
	const struct pl_api_key *key = pl_keyring_check(&ring, text, pl_now_us(), &why);
	assert_non_null(key);
	assert_string_equal(key->id, id);
	assert_string_equal(key->identity.principal, "anna");
	assert_int_equal(key->identity.roles.n, 1);
	assert_string_equal(key->identity.roles.names[0], "editor");
	assert_int_equal(ring.n, 2);
}

static void nothing_but_the_whole_key_proves_anything(void **state)
{
	char text[PL_KEYRING_KEY_LEN + 1], id[PL_KEYRING_ID_LEN + 1], wrong[128];
	const char *why;

	add(text, id, 0);
	struct pl_keyring ring = ring_of();
	for (size_t i = 0; i < PL_KEYRING_KEY_LEN; i++) {
		strcpy(wrong, text);
		wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
		assert_null(pl_keyring_check(&ring, wrong, 0, &why));
		snprintf(wrong, sizeof(wrong), "%.*s", (int)i, text);
		assert_null(pl_keyring_check(&ring, wrong, 0, &why));
	}
	snprintf(wrong, sizeof(wrong), "%sa", text);
	assert_null(pl_keyring_check(&ring, wrong, 0, &why));
	snprintf(wrong, sizeof(wrong), " %s", text);
	assert_null(pl_keyring_check(&ring, wrong, 0, &why));
	assert_null(pl_keyring_check(&ring, HASH, 0, &why));
	assert_null(pl_keyring_check(&(struct pl_keyring){ 0 }, text, 0, &why));
}

static void a_key_ends_when_it_expires(void **state)
{
	char text[PL_KEYRING_KEY_LEN + 1], id[PL_KEYRING_ID_LEN + 1];
	const char *why;

	add(text, id, 2000000);
	struct pl_keyring ring = ring_of();
	assert_non_null(pl_keyring_check(&ring, text, 1999999, &why));
	assert_null(pl_keyring_check(&ring, text, 2000000, &why));
	assert_string_equal(why, "the API key has expired");
}

static void no_two_keys_are_alike(void **state)
{
	char a[PL_KEYRING_KEY_LEN + 1], b[PL_KEYRING_KEY_LEN + 1];
	struct pl_api_key key;

	pl_keyring_make(a, &key);
	pl_keyring_make(b, &key);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), PL_KEYRING_KEY_LEN);
}

static void the_file_holds_no_key(void **state)
{
	char text[PL_KEYRING_KEY_LEN + 1], id[PL_KEYRING_ID_LEN + 1], all[2048] = "";
	FILE *f;

	add(text, id, 0);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(all, 1, sizeof(all) - 1, f) > 0);
	fclose(f);
	assert_non_null(strstr(all, id));
	assert_null(strstr(all, text + sizeof(PL_KEYRING_PREFIX) + PL_KEYRING_ID_LEN));
}

static void a_file_that_others_may_read_is_refused(void **state)
{
	static const mode_t modes[] = { 0604, 0620, 0602, 0644, 0660, 0606 };
	char text[PL_KEYRING_KEY_LEN + 1], id[PL_KEYRING_ID_LEN + 1];
	struct pl_keyring ring;
	struct pl_error err;

	add(text, id, 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		chmod(path, modes[i]);
		assert_int_equal(pl_keyring_read(arena, path, &ring, &err), PL_EINVAL);
		assert_non_null(strstr(err.text, "chmod 600"));
	}
	chmod(path, 0640); // the group may read a file that root owns
	assert_int_equal(pl_keyring_read(arena, path, &ring, &err), geteuid() == 0 ? 0 : PL_EINVAL);
	chmod(path, 0600);
	assert_int_equal(pl_keyring_read(arena, path, &ring, &err), 0);
}

// As it is while somebody writes it without plist-admin. Else, a reload at that moment
// would take everybody's key away.
static void an_empty_file_is_refused_and_one_without_keys_is_not(void **state)
{
	struct pl_keyring ring;
	struct pl_error err;
	FILE *f = fopen(path, "w");

	fclose(f);
	chmod(path, 0600);
	assert_int_equal(pl_keyring_read(arena, path, &ring, &err), PL_EINVAL);
	assert_non_null(strstr(err.text, "is empty"));
	f = fopen(path, "w");
	fputs("# none yet\n", f);
	fclose(f);
	assert_int_equal(pl_keyring_read(arena, path, &ring, &err), 0);
	assert_int_equal(ring.n, 0);
}

static void a_bad_line_is_named_and_never_quoted(void **state)
{
	static const struct {
		const char *text, *fault;
	} cases[] = {
		{ "# a\n\nsecret\n", "line 3: must have 6 fields" },
		{ "ABCDEFGH " HASH " anna - " TIME " -\n", "line 1: the first field" },
		{ "abcdefgh 00 anna - " TIME " -\n", "line 1: the second field" },
		{ "abcdefgh " HASH " \xc3\xa4 - " TIME " -\n", "line 1: the third field" },
		{ "abcdefgh " HASH " plist-admin - " TIME " -\n", "line 1: the third field" },
		{ "abcdefgh " HASH " plist:violation - " TIME " -\n", "line 1: the third field" },
		{ "abcdefgh " HASH " anna Editor " TIME " -\n", "line 1: the fourth field" },
		{ "abcdefgh " HASH " anna a,,B " TIME " -\n", "line 1: the fourth field" },
		{ "abcdefgh " HASH " anna - never -\n", "line 1: the fifth field" },
		{ "abcdefgh " HASH " anna - " TIME " never\n", "line 1: the sixth field" },
		{ "abcdefgh " HASH " anna - " TIME " - x\n", "line 1: must have 6 fields" },
		{ "abcdefgh " HASH " anna - " TIME " -\nabcdefgh " HASH " ben - " TIME " -\n",
		  "line 2: the id abcdefgh occurs twice" },
	};
	struct pl_keyring ring;
	struct pl_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(pl_keyring_parse(arena, cases[i].text, &ring, &err), PL_EINVAL);
		if (!strstr(err.text, cases[i].fault) || strstr(err.text, "secret") || strstr(err.text, HASH))
			fail_msg("case %zu: %s", i, err.text);
	}
}

static void changes_leave_other_lines_alone(void **state)
{
	char a[PL_KEYRING_KEY_LEN + 1], b[PL_KEYRING_KEY_LEN + 1], c[PL_KEYRING_KEY_LEN + 1];
	char id_a[PL_KEYRING_ID_LEN + 1], id_b[PL_KEYRING_ID_LEN + 1], id_c[PL_KEYRING_ID_LEN + 1];
	struct pl_keyring_file file;
	struct pl_error err;
	const char *why;

	add(a, id_a, 0);
	add(b, id_b, 0);
	add(c, id_c, 0);
	assert_int_equal(pl_keyring_file_open(&file, arena, path, false, &err), 0);
	struct pl_api_key ending = *pl_keyring_find(&file.ring, id_a);
	ending.expires_us = 1000000;
	pl_keyring_file_replace(&file, ending.line, &ending);
	pl_keyring_file_remove(&file, pl_keyring_find(&file.ring, id_b)->line);
	assert_int_equal(pl_keyring_file_commit(&file, &err), 0);
	struct pl_keyring ring = ring_of();
	assert_int_equal(ring.n, 2);
	assert_int_equal(pl_keyring_find(&ring, id_a)->expires_us, 1000000);
	assert_non_null(pl_keyring_check(&ring, a, 999999, &why));
	assert_null(pl_keyring_check(&ring, b, 0, &why));
	assert_non_null(pl_keyring_check(&ring, c, 0, &why));
}

static void two_changes_at_once_do_not_lose_one(void **state)
{
	char text[PL_KEYRING_KEY_LEN + 1], id[PL_KEYRING_ID_LEN + 1];
	struct pl_keyring_file one, two;
	struct pl_error err;

	add(text, id, 0);
	assert_int_equal(pl_keyring_file_open(&one, arena, path, false, &err), 0);
	assert_int_equal(pl_keyring_file_open(&two, arena, path, false, &err), PL_EBUSY);
	pl_keyring_file_abandon(&one);
	assert_int_equal(pl_keyring_file_open(&two, arena, path, false, &err), 0);
	pl_keyring_file_abandon(&two);
	assert_int_equal(ring_of().n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_key_proves_its_principal_and_roles, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_but_the_whole_key_proves_anything, setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_ends_when_it_expires, setup, teardown),
		cmocka_unit_test_setup_teardown(no_two_keys_are_alike, setup, teardown),
		cmocka_unit_test_setup_teardown(the_file_holds_no_key, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_others_may_read_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_file_is_refused_and_one_without_keys_is_not, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_bad_line_is_named_and_never_quoted, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_leave_other_lines_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(two_changes_at_once_do_not_lose_one, setup, teardown),
	};
	return cmocka_run_group_tests_name("keyring", tests, NULL, NULL);
}
