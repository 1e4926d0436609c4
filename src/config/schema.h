// The table of configuration keys, which everything else about them is derived from.
//
// One row per key: its path, type, range, default, whether a change requires a restart, a
// description, and where its value is in pl_config. The loader, `config show`, the JSON
// Schema and the list of keys in plist.yaml(5) all walk these rows. To add a key, add a
// row and the member that it fills.
//
// Paths: "http.max_queued"; "<name>" is a name that the operator chooses
// ("regions.<name>.listen"), "[]" an element of a list ("routes[].path"). A row comes
// after its parent, so the rows are in the order of the YAML.
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
	PL_KEY_CHOICE, // one of `choices`
	PL_KEY_INTEGER,
	PL_KEY_BOOLEAN,
	PL_KEY_DURATION, // "500ms", "24h"; held as µs
	PL_KEY_SIZE,     // "64KiB"; held as bytes
	PL_KEY_NUMBER,   // a decimal number, held as text
	PL_KEY_STRINGS,  // a list of strings; one string counts as a list of one
	PL_KEY_LISTS,    // a list of lists of strings, each held as one text: "a,b"
	PL_KEY_PAIRS,    // a map of strings whose keys plist does not know
};

enum {
	PL_KEY_REQUIRED = 1,
	PL_KEY_RESTART = 2, // a reload does not reach it
	PL_KEY_SECRET = 4,  // never shown; "<key>_file" names a file that holds it
	PL_KEY_INLINE = 8,  // NAMED: the elements are in the parent itself, not behind a pointer
};

struct pl_key {
	const char *path;
	enum pl_key_type type;
	unsigned flags;
	size_t offset,
		// of the member in its struct; of NAMED and SEQUENCE the size of an
		// element; 0: no member
		size;
	const char *def;     // the default as the YAML would say it, or NULL
	const char *derived; // the default in words, where it comes from elsewhere
	int64_t min,
		// INTEGER, DURATION, SIZE: range; strings: bytes; NAMED, SEQUENCE,
		// STRINGS: number of elements. 0, 0: any
		max;
	const char *choices; // "text|json", in the order of the enum
	const char *
		pattern; // strings; of NAMED: its names. An extended regular expression that ECMA reads alike
	const char *form;    // the pattern in words: "must be …"
	const char *word;    // INTEGER: stands for 0; LISTS: an example of an inner list
	const char *env;     // environment variable that overrides it
	size_t count_offset; // of the int that counts the elements
	// offset of the bool that says whether the YAML has the key; 0: none. If it is
	// false, the value is neither shown nor compared
	size_t given_offset;
	size_t file_offset; // SECRET: of the member that keeps the path of a "…_file"; 0: none does
	const char *doc;    // one sentence, mdoc-safe
};

// All rows in order; their number in *n_r.
const struct pl_key *pl_schema_rows(int *n_r);
const struct pl_key *pl_schema_find(const char *path);

// Iterates over the members of a MAP, NAMED or SEQUENCE row; parent NULL is the top of
// the file. `previous` NULL gives the first; NULL ends.
const struct pl_key *pl_schema_next(const struct pl_key *parent, const struct pl_key *previous);
const struct pl_key *pl_schema_member(const struct pl_key *parent, const char *name);
const char *pl_schema_leaf(const struct pl_key *key); // "ttl" of "routes[].idempotency.ttl"
bool pl_schema_is_leaf(const struct pl_key *key);     // holds a value, not members
// The member whose name is closest to a misspelt one ("database_file" included), in
// `text`; NULL if none is close.
const char *pl_schema_suggest(const struct pl_key *parent, const char *name, char *text, size_t size);
// How far `name` is from `candidate`: smaller is closer, -1 is too far to suggest.
int pl_schema_distance(const char *name, const char *candidate);

bool pl_schema_is_given(const struct pl_key *key,
                        const void *base); // by the YAML; always, where it makes no difference

// The elements of a NAMED or SEQUENCE row in the struct at `base`. The first member of a
// named element is its name.
int pl_schema_count(const struct pl_key *key, const void *base);
void *pl_schema_element(const struct pl_key *key, const void *base, int i);

// Checks the value of a leaf (except PAIRS) and stores it in the struct at `base`; for
// STRINGS, as the next element. Text is copied into `arena`. The text of PL_EINVAL
// completes a sentence that begins with the key: "must be …".
int pl_config_value_set(const struct pl_key *key, void *base, struct pl_arena *arena, const char *text,
                        struct pl_error *err);
// Appends the value as in YAML ("auto", "24h", "64KiB"); returns false if there is none
// (a NULL string). Not for STRINGS, PAIRS.
bool pl_config_value_print(const struct pl_key *key, const void *base, struct pl_buf *buf);
void pl_config_value_print_int(const struct pl_key *key, int64_t value,
                               struct pl_buf *buf); // of INTEGER, DURATION, SIZE
int64_t pl_config_value_int(const struct pl_key *key,
                            const void *base); // INTEGER, BOOLEAN, DURATION, SIZE, and CHOICE held as an enum

bool pl_diff_same_value(const struct pl_key *key, const void *a, const void *b); // of a leaf in two structs

// Whether a key of kafka.properties is secret.
bool pl_schema_is_secret_setting(const char *name);

// JSON Schema (2020-12) of the YAML, with descriptions.
void pl_jsonschema_print(struct pl_buf *buf);
// The list of keys as mdoc, the section KEYS of plist.yaml(5).
void pl_manual_print(struct pl_buf *buf);
