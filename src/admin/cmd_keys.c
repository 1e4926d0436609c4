// plist-admin keys add|list|revoke|rotate: the API keys of clients.
//
// The commands change the file that auth.api_keys names, and nothing else: daemons read
// it at their next reload. A key is printed once, when it is made; the file has its hash
// only.
#include "admin/commands.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "admin/messages.h"
#include "admin/table.h"
#include "auth/keyring_file.h"
#include "base/clock.h"

#define GRACE_US (24 * INT64_C(3600000000)) // how long a rotated key stays valid by default

enum { ID, PRINCIPAL, ROLES, ROLE_LIST, CREATED, EXPIRES, STATE, KEY };

// clang-format off
static const struct pl_table_column columns[] = {
	[ID] = { "id", PL_CELL_TEXT },
	[PRINCIPAL] = { "principal", PL_CELL_TEXT },
	[ROLES] = { "role_names", PL_CELL_TEXT, PL_COLUMN_PEOPLE },
	[ROLE_LIST] = { "roles", PL_CELL_JSON, PL_COLUMN_DATA },
	[CREATED] = { "created_at", PL_CELL_TEXT },
	[EXPIRES] = { "expires_at", PL_CELL_TEXT },
	[STATE] = { "state", PL_CELL_TEXT },
	[KEY] = { "key", PL_CELL_TEXT, PL_COLUMN_DATA },
	{ NULL },
};
// clang-format on

// The file that the configuration names; NULL after saying that it names none.
static const char *file_of(struct pl_invocation *invocation)
{
	if (pl_invocation_config(invocation))
		return NULL;
	if (!invocation->config->auth.api_keys)
		pl_fail("the configuration names no file for keys: set auth.api_keys");
	return invocation->config->auth.api_keys;
}

static int exit_of(const struct pl_error *err)
{
	pl_fail("%s", err->text);
	return err->code == PL_EINVAL || err->code == PL_ENOTFOUND ? PL_EXIT_USAGE : PL_EXIT_NO;
}

static int commit(struct pl_keyring_file *file)
{
	struct pl_error err;

	if (pl_keyring_file_commit(file, &err) != 0)
		return exit_of(&err);
	return PL_EXIT_YES;
}

static bool is_expired(const struct pl_api_key *key)
{
	return key->expires_us != 0 && key->expires_us <= pl_now_us();
}

static void set_roles(struct pl_table *table, const struct pl_roles *roles)
{
	struct pl_buf words = { 0 }, json = { 0 };

	pl_buf_addc(&json, '[');
	for (int i = 0; i < roles->n; i++) {
		pl_buf_printf(&words, "%s%s", i > 0 ? ", " : "", roles->names[i]);
		pl_buf_printf(&json, "%s\"%s\"", i > 0 ? "," : "", roles->names[i]);
	}
	pl_buf_addc(&json, ']');
	pl_table_text(table, ROLES, words.data);
	pl_table_json(table, ROLE_LIST, json.data);
	pl_buf_fini(&words);
	pl_buf_fini(&json);
}

static void add_row(struct pl_table *table, const struct pl_api_key *key, const char *text)
{
	pl_table_row(table);
	pl_table_text(table, ID, key->id);
	pl_table_text(table, PRINCIPAL, key->identity.principal);
	set_roles(table, &key->identity.roles);
	pl_table_time(table, CREATED, key->created_us);
	pl_table_time(table, EXPIRES, key->expires_us);
	pl_table_text(table, STATE, is_expired(key) ? "expired" : "valid");
	pl_table_tone(table, STATE, is_expired(key) ? PL_TONE_BAD : PL_TONE_GOOD);
	pl_table_text(table, KEY, text);
}

// A new key, on standard output: alone for people, with what belongs to it in JSON.
static void show_key(struct pl_invocation *invocation, const struct pl_api_key *key, const char *text)
{
	if (invocation->json) {
		struct pl_table *table = pl_table_new("keys", columns);
		add_row(table, key, text);
		pl_table_print(invocation, table, NULL);
		pl_table_free(&table);
	} else {
		puts(text);
	}
	pl_say("this is key %s of %s; it is not shown again. Daemons accept it after a reload (SIGHUP)",
	       key->id, key->identity.principal);
}

// The roles of --role; false after saying which is not valid.
static bool read_roles(struct pl_invocation *invocation, struct pl_roles *roles)
{
	const char *role;

	roles->names = pl_arena_array(invocation->arena, PL_ROLES_MAX, sizeof(char *));
	for (int i = 0; (role = pl_invocation_nth(invocation, "role", i)) != NULL; i++) {
		if (roles->n == PL_ROLES_MAX || !pl_roles_valid(role)) {
			pl_fail("\"%s\" cannot be a role: write a lower-case letter, then up to 31 letters, "
			        "digits, '_' and '-'; a key has at most %d",
			        role, PL_ROLES_MAX);
			return false;
		}
		roles->names[roles->n++] = role;
	}
	return true;
}

static int64_t expiry(const struct pl_invocation *invocation)
{
	int64_t in_us = pl_invocation_us(invocation, "expires", 0);

	return in_us > 0 ? pl_now_us() + in_us : 0;
}

static int add(struct pl_invocation *invocation)
{
	const char *principal = invocation->args[0], *path = file_of(invocation);
	char text[PL_KEYRING_KEY_LEN + 1];
	struct pl_keyring_file file;
	struct pl_roles roles = { 0 };
	struct pl_api_key key;
	struct pl_error err;

	if (!path || !read_roles(invocation, &roles))
		return PL_EXIT_USAGE;
	if (!pl_roles_valid_principal(principal)) {
		pl_fail("\"%s\" cannot be a principal: use 1 to %d visible ASCII characters, but not %s",
		        principal, PL_PRINCIPAL_MAX, PL_PRINCIPALS_OF_PLIST);
		return PL_EXIT_USAGE;
	}
	if (pl_keyring_file_open(&file, invocation->arena, path, true, &err) != 0)
		return exit_of(&err);
	do
		pl_keyring_make(text, &key);
	while (pl_keyring_find(&file.ring, key.id));
	key.identity = (struct pl_identity){ principal, roles };
	key.created_us = pl_now_us();
	key.expires_us = expiry(invocation);
	pl_keyring_file_add(&file, &key);
	int rc = commit(&file);
	if (rc == PL_EXIT_YES)
		show_key(invocation, &key, text);
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

static const struct pl_option add_options[] = {
	{ "role", 0, PL_OPTION_TEXT, "ROLE", "a role of the client; may be given several times",
	  .many = true },
	{ "expires", 0, PL_OPTION_DURATION, "DURATION", "how long the key is valid (default: for ever)" },
	{ NULL },
};

const struct pl_command pl_cmd_keys_add = {
	.noun = "keys",
	.verb = "add",
	.arguments = "PRINCIPAL",
	.min_args = 1,
	.max_args = 1,
	.summary = "make an API key for a client",
	.help = "Makes a key for a client, adds its hash to the file that auth.api_keys names, and prints "
		"the "
		"key. It is printed only once; replace a lost key with 'keys rotate'. PRINCIPAL names the "
		"client; several keys may have the same one. Daemons accept the key after their "
		"next reload.",
	.options = add_options,
	.prints_data = true,
	.run = add,
};

static int list(struct pl_invocation *invocation)
{
	const char *path = file_of(invocation);
	struct pl_keyring ring;
	struct pl_error err;

	if (!path)
		return PL_EXIT_USAGE;
	if (pl_keyring_read(invocation->arena, path, &ring, &err) != 0)
		return exit_of(&err);
	struct pl_table *table = pl_table_new("keys", columns);
	for (int i = 0; i < ring.n; i++)
		add_row(table, &ring.keys[i], NULL);
	pl_table_print(invocation, table, "there are no keys");
	pl_table_free(&table);
	return PL_EXIT_YES;
}

const struct pl_command pl_cmd_keys_list = {
	.noun = "keys",
	.verb = "list",
	.summary = "list the API keys",
	.help = "Lists the keys in the file that auth.api_keys names: their ids, clients, roles and times. "
		"The "
		"keys themselves are not stored anywhere.",
	.prints_data = true,
	.run = list,
};

// The key with the id; NULL after closing the file.
static const struct pl_api_key *find(struct pl_keyring_file *file, const char *id)
{
	const struct pl_api_key *key = pl_keyring_find(&file->ring, id);

	if (!key) {
		pl_fail("%s has no key with the id \"%s\"; plist-admin keys list shows the ids", file->path,
		        id);
		pl_keyring_file_abandon(file);
	}
	return key;
}

static int revoke(struct pl_invocation *invocation)
{
	const char *path = file_of(invocation), *id = invocation->args[0];
	struct pl_keyring_file file;
	struct pl_error err;

	if (!path)
		return PL_EXIT_USAGE;
	if (pl_keyring_file_open(&file, invocation->arena, path, false, &err) != 0)
		return exit_of(&err);
	const struct pl_api_key *key = find(&file, id);
	if (!key)
		return PL_EXIT_NO;
	pl_keyring_file_remove(&file, key->line);
	int rc = commit(&file);
	if (rc == PL_EXIT_YES)
		pl_say("key %s is revoked; daemons refuse it after a reload (SIGHUP)", id);
	return rc;
}

const struct pl_command pl_cmd_keys_revoke = {
	.noun = "keys",
	.verb = "revoke",
	.arguments = "ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "revoke an API key",
	.help = "Removes a key from the file that auth.api_keys names. Daemons refuse it after their next "
		"reload.",
	.run = revoke,
};

static int rotate(struct pl_invocation *invocation)
{
	const char *path = file_of(invocation);
	int64_t now_us = pl_now_us(), end_us = now_us + pl_invocation_us(invocation, "grace", GRACE_US);
	char text[PL_KEYRING_KEY_LEN + 1];
	struct pl_keyring_file file;
	struct pl_api_key fresh;
	struct pl_error err;

	if (!path)
		return PL_EXIT_USAGE;
	if (pl_keyring_file_open(&file, invocation->arena, path, false, &err) != 0)
		return exit_of(&err);
	const struct pl_api_key *found = find(&file, invocation->args[0]);
	if (!found)
		return PL_EXIT_NO;
	struct pl_api_key old = *found;
	do
		pl_keyring_make(text, &fresh);
	while (pl_keyring_find(&file.ring, fresh.id));
	old.expires_us = old.expires_us && old.expires_us < end_us ? old.expires_us : end_us;
	fresh.identity = old.identity;
	fresh.created_us = now_us;
	fresh.expires_us = expiry(invocation);
	pl_keyring_file_replace(&file, old.line, &old);
	pl_keyring_file_add(&file, &fresh);
	int rc = commit(&file);
	if (rc == PL_EXIT_YES)
		show_key(invocation, &fresh, text);
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

static const struct pl_option rotate_options[] = {
	{ "grace", 0, PL_OPTION_DURATION, "DURATION", "how long the old key stays valid (default: 24h)" },
	{ "expires", 0, PL_OPTION_DURATION, "DURATION", "how long the new key is valid (default: for ever)" },
	{ NULL },
};

const struct pl_command pl_cmd_keys_rotate = {
	.noun = "keys",
	.verb = "rotate",
	.arguments = "ID",
	.min_args = 1,
	.max_args = 1,
	.summary = "replace an API key by a new one",
	.help = "Makes a new key for the same client with the same roles, prints it as keys add does, and "
		"lets the old one expire, so that the client can change over without being refused.",
	.options = rotate_options,
	.prints_data = true,
	.run = rotate,
};
