// Exact decimal numbers of any length, such as prices: a GMP integer and a scale.
//
// Text in, text out; no arithmetic uses floating point. Division takes the scale of its
// result, and rounds half away from zero.
#pragma once

#include <gmp.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define PL_DECIMAL_DIGITS_MAX 1000 // of one number; an operation that needs more fails

struct pl_decimal {
	mpz_t unscaled;
	int scale; // value = unscaled / 10^scale; scale >= 0
};

void pl_decimal_init(struct pl_decimal *d);
void pl_decimal_fini(struct pl_decimal *d);
int pl_decimal_parse(struct pl_decimal *d, const char *text, size_t len); // JSON number syntax; 0 or -1
// whether pl_decimal_parse would accept it
bool pl_decimal_valid(const char *text, size_t len);
void pl_decimal_print(struct pl_buf *buf, const struct pl_decimal *d);      // "500000.00": the scale is kept
int pl_decimal_cmp(const struct pl_decimal *a, const struct pl_decimal *b); // 1.5 equals 1.50
int pl_decimal_add(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b);
int pl_decimal_sub(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b);
int pl_decimal_mul(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b);
int pl_decimal_div(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b,
                   int scale); // returns -1 for a division by zero
int pl_decimal_round(struct pl_decimal *r, const struct pl_decimal *a,
                     int scale); // rounds half away from zero, like PostgreSQL's numeric
// Returns -1 if a text is not a number; otherwise 0, and the sign of the comparison in
// *sign_r.
int pl_decimal_cmp_text(const char *a, const char *b, int *sign_r);
