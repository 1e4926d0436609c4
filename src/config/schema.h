// The table of keys: what may stand in the YAML, once, for everybody.
//
// One row per key: its path, type, range, default, whether a change needs a restart, one sentence for people, and where its value
// lives in pl_config. The loader (config/load.c), `config show`, the JSON Schema and the list of keys in plist.yaml(5) are all made by
// walking these rows; adding a key is adding a row and the member that it fills.
//
// Paths: "http.queue"; "<name>" stands for a name that the operator chooses ("regions.<name>.listen"), "[]" for an element of a list
// ("routes[].path"). A row stands after its parent, so that the rows in order are the YAML in order.
// Threads: constant data; any may read.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

enum pl_key_type {
	PL_KEY_MAP,      // members are the rows below it
	PL_KEY_NAMED,    // a map whose keys are names of the operator's choice
	PL_KEY_SEQUENCE, // a list of maps
	PL_KEY_STRING,
	PL_KEY_CHOICE,   // one of `choices`
	PL_KEY_INTEGER,
	PL_KEY_BOOLEAN,
	PL_KEY_DURATION, // "500ms", "24h"; held as µs
	PL_KEY_SIZE,     // "64KiB"; held as bytes
	PL_KEY_NUMBER,   // a decimal number, held as text
	PL_KEY_STRINGS,  // a list of strings; one string counts as a list of one
	PL_KEY_PAIRS,    // a map of strings whose keys plist does not know
};

enum {
	PL_KEY_REQUIRED = 1,
	PL_KEY_RESTART = 2,  // a reload does not reach it
	PL_KEY_SECRET = 4,   // never shown; "<key>_file" names a file that holds it
	PL_KEY_INLINE = 8,   // NAMED: the elements stand in the parent itself, not behind a pointer
};

struct pl_key {
	const char *path;
	enum pl_key_type type;
	unsigned flags;
	size_t offset, size;   // of the member in its struct; of NAMED and SEQUENCE the size of an element; 0: no member
	const char *def;       // the default as the YAML would say it, or NULL
	const char *derived;   // the default in words, where it comes from elsewhere
	int64_t min, max;      // INTEGER, DURATION, SIZE: range; strings: bytes; NAMED, SEQUENCE, STRINGS: elements; 0, 0 = any
	const char *choices;   // "text|json", in the order of the enum
	const char *pattern;   // strings; of NAMED: its names. An extended regular expression that ECMA reads alike
	const char *form;      // the pattern in words: "must be …"
	const char *word;      // INTEGER: stands for 0
	const char *env;       // environment variable that overrides it
	size_t count_offset;   // of the int that counts the elements
	const char *doc;       // one sentence, mdoc-safe
};

// All rows in order; *n_r is how many.
const struct pl_key *pl_schema_rows(int *n_r);
const struct pl_key *pl_schema_find(const char *path);

// Members of a MAP, NAMED or SEQUENCE row; parent NULL is the top of the file. `previous` NULL gives the first, NULL ends.
const struct pl_key *pl_schema_next(const struct pl_key *parent, const struct pl_key *previous);
const struct pl_key *pl_schema_member(const struct pl_key *parent, const char *name);
const char *pl_schema_leaf(const struct pl_key *key);   // "ttl" of "routes[].idempotency.ttl"
bool pl_schema_is_leaf(const struct pl_key *key);       // holds a value, not members
// The member's name that is nearest to a misspelt one ("database_file" included), in `text`; NULL when none is near.
const char *pl_schema_suggest(const struct pl_key *parent, const char *name, char *text, size_t size);
// Whether `name` is near enough to `candidate` to be offered; the smaller the nearer, -1 = not near.
int pl_schema_distance(const char *name, const char *candidate);

// The elements of a NAMED or SEQUENCE row in the struct at `base`. The first member of a named element is its name.
int pl_schema_count(const struct pl_key *key, const void *base);
void *pl_schema_element(const struct pl_key *key, const void *base, int i);

// Checks a value of any leaf but PAIRS and puts it into the struct at `base`; STRINGS: as the next element.
// What it keeps is copied into `arena`. On PL_EINVAL the text ends a sentence that begins with the key: "must be …".
int pl_value_set(const struct pl_key *key, void *base, struct pl_arena *arena, const char *text, struct pl_error *err);
// The value in the YAML's spelling ("auto", "24h", "64KiB"), appended; false if there is none (a NULL string). Not for STRINGS, PAIRS.
bool pl_key_print(const struct pl_key *key, const void *base, struct pl_buf *buf);
void pl_key_print_int(const struct pl_key *key, int64_t value, struct pl_buf *buf); // of INTEGER, DURATION, SIZE
int64_t pl_value_int(const struct pl_key *key, const void *base); // INTEGER, BOOLEAN, DURATION, SIZE, and CHOICE held as an enum

// Whether a key of kafka.properties holds a secret.
bool pl_key_is_secret_setting(const char *name);

// JSON Schema (2020-12) of the YAML, with descriptions.
void pl_schema_json(struct pl_buf *buf);
// The list of keys as mdoc, the body of KEYS in plist.yaml(5).
void pl_schema_mdoc(struct pl_buf *buf);
