// script/pieces: what a Lua state is given keeps its contents, whatever its size becomes; what is freed is given out again, within bounds.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "script/pieces.h"

static void a_piece_keeps_its_contents_as_it_grows_and_shrinks(void **state)
{
	struct pl_pieces pieces = {0};
	static const size_t sizes[] = {1, 15, 16, 17, 300, 1024, 1025, 70000, 1024, 40, 7};
	size_t size = 0;
	unsigned char *p = NULL;

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		size_t kept = size < sizes[i] ? size : sizes[i];

		p = pl_pieces_change(&pieces, p, size, sizes[i]);
		assert_non_null(p);
		for (size_t j = 0; j < kept; j++)
			assert_int_equal(p[j], (unsigned char)(j * 7));
		size = sizes[i];
		for (size_t j = 0; j < size; j++)
			p[j] = (unsigned char)(j * 7);
	}
	assert_null(pl_pieces_change(&pieces, p, size, 0));
	assert_null(pl_pieces_change(&pieces, NULL, 0, 0));
	pl_pieces_fini(&pieces);
	assert_int_equal(pieces.kept, 0);
}

static void what_is_freed_is_given_out_again(void **state)
{
	struct pl_pieces pieces = {0};
	void *p = pl_pieces_change(&pieces, NULL, 0, 40), *other;

	pl_pieces_change(&pieces, p, 40, 0);
	assert_int_equal(pieces.kept, PL_MEM_CHECKED ? 0 : 48);
	other = pl_pieces_change(&pieces, NULL, 0, 48); // rounded, it is as large
	if (!PL_MEM_CHECKED)
		assert_ptr_equal(other, p);
	assert_int_equal(pieces.kept, 0);
	pl_pieces_change(&pieces, other, 48, 0);
	pl_pieces_fini(&pieces);
}

static void no_more_than_half_a_mebibyte_is_kept(void **state)
{
	enum { N = 2000 };
	struct pl_pieces pieces = {0};
	void *all[N];

	for (int i = 0; i < N; i++)
		all[i] = pl_pieces_change(&pieces, NULL, 0, 1024);
	for (int i = 0; i < N; i++)
		pl_pieces_change(&pieces, all[i], 1024, 0);
	assert_true(pieces.kept <= 512 << 10);
	assert_true(PL_MEM_CHECKED || pieces.kept > 500 << 10);
	pl_pieces_fini(&pieces);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_piece_keeps_its_contents_as_it_grows_and_shrinks),
		cmocka_unit_test(what_is_freed_is_given_out_again),
		cmocka_unit_test(no_more_than_half_a_mebibyte_is_kept),
	};

	return cmocka_run_group_tests_name("script/pieces", tests, NULL, NULL);
}
