// A fuzz target: a function that accepts any bytes, must not crash, and reports broken
// promises of the code under test.
//
// It is built twice: with libFuzzer (configure --enable-fuzzers CC=clang;
// tests/fuzz/fuzz_json tests/fuzz/corpus/json) and, always, with driver.c, which runs
// it on the files of its corpus, so that `make check` repeats every input that was ever
// found to matter.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A promise of the code under test. Unlike assert(), it is checked even with NDEBUG.
#define PROMISE(what)                                                                      \
	do {                                                                               \
		if (!(what)) {                                                             \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #what); \
			abort();                                                           \
		}                                                                          \
	} while (0)
