// Exact decimal numbers of any length: an integer of GMP and a scale. What prices are made of.
//
// Text in, text out, arithmetic without a double anywhere. Division names its scale and rounds half away from zero.
#pragma once

#include <gmp.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define PL_DECIMAL_DIGITS_MAX 1000 // of one number; beyond it, an operation fails

struct pl_decimal {
	mpz_t unscaled;
	int scale; // value = unscaled / 10^scale; scale >= 0
};

void pl_decimal_init(struct pl_decimal *d);
void pl_decimal_fini(struct pl_decimal *d);
int pl_decimal_parse(struct pl_decimal *d, const char *text, size_t len); // JSON number syntax; 0 or -1
bool pl_decimal_valid(const char *text, size_t len);                      // whether it would be taken
void pl_decimal_print(struct pl_buf *buf, const struct pl_decimal *d);    // "500000.00": the scale is kept
int pl_decimal_cmp(const struct pl_decimal *a, const struct pl_decimal *b); // 1.5 equals 1.50
int pl_decimal_add(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b);
int pl_decimal_sub(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b);
int pl_decimal_mul(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b);
int pl_decimal_div(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b, int scale); // -1: by zero
int pl_decimal_round(struct pl_decimal *r, const struct pl_decimal *a, int scale); // half away from zero, as PostgreSQL's numeric
// -1 when text is no number; else the comparison's sign in *sign_r.
int pl_decimal_cmp_text(const char *a, const char *b, int *sign_r);
