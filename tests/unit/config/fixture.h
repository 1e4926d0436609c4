// Fixture of the tests of config/: a directory with a Lua root, YAML files in it, and
// the problems found by loading them.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config/config.h"

// Setup and teardown of a group: creates the directory with conf/ and lua/, which has
// the files named by the shipped examples, and clears the environment variables that
// plist reads.
int fixture_setup(void **state);
int fixture_teardown(void **state);

const char *fixture_path(const char *name);             // in the directory; valid until the next 8 calls
void fixture_write(const char *name, const char *text); // creates directories as needed
const char *fixture_source(const char *name);           // a path in the source tree
char *fixture_read(const char *file);                   // malloc'ed

// Loads conf/plist.yaml with this text. The problems are in fixture_problems until the
// next load.
struct pl_config *fixture_load(const char *text, const char *region);
extern struct pl_diagnostics fixture_problems;
// Whether one of the problems is `line` ("12:5: regions.us.listen: is missing", without
// the file's name).
bool fixture_said(const char *line);
// Loads a text that must be refused with this problem (a part of its text), and at most
// `others` further ones.
void fixture_refused(const char *text, const char *line, int others);

// A small valid configuration, and the same with one line replaced ("kafka: {…}" by its
// key).
extern const char fixture_good[];
// fixture_good with TLS between NGINX and the daemons; `certificate` is that of us. The
// caller frees it.
char *fixture_secure(const char *certificate);
// With `with` NULL, removes the lines from `line` on. malloc'ed.
char *fixture_with(const char *line, const char *with);
