// What a fuzz target is: a function that takes any bytes and may not crash, and says so when a promise of the code is broken.
//
// Built twice: with libFuzzer (configure --enable-fuzzers CC=clang; tests/fuzz/fuzz_json tests/fuzz/corpus/json) and, always,
// with driver.c, which feeds it the files of its corpus, so that `make check` runs every input that was ever found to matter.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A promise of the code under test. Not assert(): it holds with NDEBUG, too.
#define PROMISE(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)
