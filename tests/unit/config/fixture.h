// What the tests of config/ share: a folder of its own with a Lua root, YAML texts in it, and what loading them says.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>

#include "config/config.h"

// Setup and teardown of a group: makes the folder with conf/ and lua/, whose files are those that the shipped examples name;
// clears the environment's variables that plist reads.
int fixture_setup(void **state);
int fixture_teardown(void **state);

const char *fixture_path(const char *name);                  // in the folder; valid until the next 8 calls
void fixture_write(const char *name, const char *text);      // makes directories on the way
const char *fixture_source(const char *name);                // a path of the source tree
char *fixture_read(const char *file);                        // malloc'ed

// Loads conf/plist.yaml with this text. What it said is in fixture_problems until the next load.
struct pl_config *fixture_load(const char *text, const char *region);
extern struct pl_problems fixture_problems;
// Whether one problem is `line` ("12:5: regions.us.listen: is missing"; the file's name is left out).
bool fixture_said(const char *line);
// Loads a text that must be refused with this problem (a part of its text), and no more than `others` further ones.
void fixture_refused(const char *text, const char *line, int others);

// A small good configuration, and the same with one line replaced ("kafka: {…}" by its key).
extern const char fixture_good[];
// `with` NULL takes the lines from `line` away. malloc'ed.
char *fixture_with(const char *line, const char *with);
