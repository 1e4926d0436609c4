// SHA-256: the standard's examples.
#include "base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void digests_are_those_of_the_standard(void **state)
{
	static const struct {
		const char *data, *hex;
	} cases[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t digest[PL_SHA256_SIZE];
		char hex[PL_SHA256_HEX];
		pl_sha256(cases[i].data, strlen(cases[i].data), digest);
		assert_string_equal(pl_sha256_hex(digest, hex), cases[i].hex);
	}
}

static void a_nul_is_a_byte_like_any_other(void **state)
{
	uint8_t one[PL_SHA256_SIZE], two[PL_SHA256_SIZE];
	pl_sha256("a\0b", 3, one);
	pl_sha256("a\0c", 3, two);
	assert_memory_not_equal(one, two, PL_SHA256_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_are_those_of_the_standard),
		cmocka_unit_test(a_nul_is_a_byte_like_any_other),
	};
	return cmocka_run_group_tests_name("base/sha256", tests, NULL, NULL);
}
