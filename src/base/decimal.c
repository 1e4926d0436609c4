// Exact decimal numbers: a GMP integer and a scale.
//
// Used for the bounds of fields, and by the decimal module of scripts.
// Invariants: the scale is 0 to PL_DECIMAL_DIGITS_MAX, and the integer has at most that
// many digits; an operation whose result would not fit fails and leaves r unchanged. r
// may be one of the operands.
// Threads: a number belongs to one thread at a time.
#include "base/decimal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pl_decimal_init(struct pl_decimal *d)
{
	mpz_init(d->unscaled);
	d->scale = 0;
}

void pl_decimal_fini(struct pl_decimal *d)
{
	mpz_clear(d->unscaled);
	d->scale = 0;
}

static bool fits(const mpz_t unscaled, long scale)
{
	if (scale < 0 || scale > PL_DECIMAL_DIGITS_MAX)
		return false;
	size_t digits = mpz_sizeinbase(unscaled, 10); // exact, or one too many
	if (digits <= PL_DECIMAL_DIGITS_MAX)
		return true;
	if (digits > PL_DECIMAL_DIGITS_MAX + 1)
		return false;
	mpz_t limit;
	mpz_init(limit);
	mpz_ui_pow_ui(limit, 10, PL_DECIMAL_DIGITS_MAX);
	bool ok = mpz_cmpabs(unscaled, limit) < 0;
	mpz_clear(limit);
	return ok;
}

// Moves `unscaled` into r, or clears it.
static int give(struct pl_decimal *r, mpz_t unscaled, long scale)
{
	bool ok = fits(unscaled, scale);
	if (ok) {
		mpz_swap(r->unscaled, unscaled);
		r->scale = (int)scale;
	}
	mpz_clear(unscaled);
	return ok ? 0 : -1;
}

// r = a * 10^n
static void shift(mpz_t r, const mpz_t a, unsigned long n)
{
	mpz_t power;
	if (n == 0) {
		mpz_set(r, a);
		return;
	}
	mpz_init(power);
	mpz_ui_pow_ui(power, 10, n);
	mpz_mul(r, a, power);
	mpz_clear(power);
}

// The parts of a JSON number's text.
struct parts {
	bool negative;
	const char *whole, *fraction;
	size_t nwhole, nfraction;
	long exponent; // kept within ±10^6: whatever is beyond fits nowhere
};

static size_t count_digits(const char *p, const char *end)
{
	size_t n = 0;
	while (p + n < end && p[n] >= '0' && p[n] <= '9')
		n++;
	return n;
}

static int split_exponent(struct parts *parts, const char *p, const char *end)
{
	bool negative = p < end && *p == '-';
	if (p < end && (*p == '+' || *p == '-'))
		p++;
	size_t n = count_digits(p, end);
	if (n == 0 || p + n != end)
		return -1;
	for (size_t i = 0; i < n && parts->exponent < 1000000; i++)
		parts->exponent = parts->exponent * 10 + (p[i] - '0');
	if (negative)
		parts->exponent = -parts->exponent;
	return 0;
}

static int split(struct parts *parts, const char *text, size_t len)
{
	const char *p = text, *end = text + len;
	*parts = (struct parts){ 0 };
	if (p < end && *p == '-') {
		parts->negative = true;
		p++;
	}
	parts->whole = p;
	parts->nwhole = count_digits(p, end);
	if (parts->nwhole == 0 || (parts->nwhole > 1 && *p == '0'))
		return -1;
	p += parts->nwhole;
	if (p < end && *p == '.') {
		parts->fraction = p + 1;
		parts->nfraction = count_digits(p + 1, end);
		if (parts->nfraction == 0)
			return -1;
		p += 1 + parts->nfraction;
	}
	if (p == end)
		return 0;
	if (*p != 'e' && *p != 'E')
		return -1;
	return split_exponent(parts, p + 1, end);
}

// Numbers that fit a machine word, as nearly all prices do, without the general routines
// of GMP.
#define SMALL_DIGITS 18

static bool is_small(const struct parts *parts)
{
	return parts->exponent == 0 && parts->nwhole + parts->nfraction <= SMALL_DIGITS;
}

static void take_small(struct pl_decimal *d, const struct parts *parts)
{
	unsigned long value = 0;
	for (size_t i = 0; i < parts->nwhole; i++)
		value = value * 10 + (unsigned long)(parts->whole[i] - '0');
	for (size_t i = 0; i < parts->nfraction; i++)
		value = value * 10 + (unsigned long)(parts->fraction[i] - '0');
	mpz_set_ui(d->unscaled, value);
	if (parts->negative)
		mpz_neg(d->unscaled, d->unscaled);
	d->scale = (int)parts->nfraction;
}

_Static_assert(sizeof(unsigned long) >= 8, "SMALL_DIGITS fit an unsigned long");

int pl_decimal_parse(struct pl_decimal *d, const char *text, size_t len)
{
	struct parts parts;
	if (split(&parts, text, len) != 0)
		return -1;
	if (is_small(&parts)) {
		take_small(d, &parts);
		return 0;
	}
	// Before GMP is used: no text can make it compute with larger numbers.
	if (parts.nwhole > PL_DECIMAL_DIGITS_MAX || parts.nfraction > PL_DECIMAL_DIGITS_MAX)
		return -1;
	char digits[2 * PL_DECIMAL_DIGITS_MAX + 1];
	memcpy(digits, parts.whole, parts.nwhole);
	if (parts.nfraction > 0)
		memcpy(digits + parts.nwhole, parts.fraction, parts.nfraction);
	digits[parts.nwhole + parts.nfraction] = '\0';

	mpz_t unscaled;
	mpz_init(unscaled);
	mpz_set_str(unscaled, digits, 10);
	if (parts.negative)
		mpz_neg(unscaled, unscaled);
	long scale = (long)parts.nfraction - parts.exponent;
	if (scale < 0) {
		if (mpz_sgn(unscaled) != 0 && scale >= -PL_DECIMAL_DIGITS_MAX)
			shift(unscaled, unscaled, (unsigned long)-scale);
		if (mpz_sgn(unscaled) == 0 || scale >= -PL_DECIMAL_DIGITS_MAX)
			scale = 0;
	}
	return give(d, unscaled, scale);
}

bool pl_decimal_valid(const char *text, size_t len)
{
	struct parts parts;
	struct pl_decimal d;
	bool valid;

	if (split(&parts, text, len) == 0 && is_small(&parts))
		return true;
	pl_decimal_init(&d);
	valid = pl_decimal_parse(&d, text, len) == 0;
	pl_decimal_fini(&d);
	return valid;
}

void pl_decimal_print(struct pl_buf *buf, const struct pl_decimal *d)
{
	bool small = mpz_size(d->unscaled) <= 1;
	char *text = small ? NULL : pl_malloc(mpz_sizeinbase(d->unscaled, 10) + 2), space[PL_BUF_DIGITS_SIZE];
	const char *digits = small ? pl_buf_digits(space, mpz_getlimbn(d->unscaled, 0))
	                           : mpz_get_str(text, 10, d->unscaled);
	digits += digits[0] == '-';
	size_t n = strlen(digits), scale = (size_t)d->scale;
	if (mpz_sgn(d->unscaled) < 0)
		pl_buf_addc(buf, '-');
	if (n > scale)
		pl_buf_add(buf, digits, n - scale);
	else
		pl_buf_addc(buf, '0');
	if (scale > 0) {
		pl_buf_addc(buf, '.');
		for (size_t i = n; i < scale; i++)
			pl_buf_addc(buf, '0');
		size_t shown = n < scale ? n : scale;
		pl_buf_add(buf, digits + n - shown, shown);
	}
	free(text);
}

// Brings both integers to the larger scale, which is returned.
static int align(mpz_t x, mpz_t y, const struct pl_decimal *a, const struct pl_decimal *b)
{
	int scale = a->scale > b->scale ? a->scale : b->scale;
	mpz_inits(x, y, NULL);
	shift(x, a->unscaled, (unsigned long)(scale - a->scale));
	shift(y, b->unscaled, (unsigned long)(scale - b->scale));
	return scale;
}

static int sign_of(int order)
{
	return (order > 0) - (order < 0);
}

int pl_decimal_cmp(const struct pl_decimal *a, const struct pl_decimal *b)
{
	int order;
	if (a->scale == b->scale) {
		order = mpz_cmp(a->unscaled, b->unscaled);
	} else {
		mpz_t x, y;
		align(x, y, a, b);
		order = mpz_cmp(x, y);
		mpz_clears(x, y, NULL);
	}
	return sign_of(order);
}

int pl_decimal_add(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b)
{
	mpz_t x, y;
	int scale = align(x, y, a, b);
	mpz_add(x, x, y);
	mpz_clear(y);
	return give(r, x, scale);
}

int pl_decimal_sub(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b)
{
	mpz_t x, y;
	int scale = align(x, y, a, b);
	mpz_sub(x, x, y);
	mpz_clear(y);
	return give(r, x, scale);
}

int pl_decimal_mul(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b)
{
	mpz_t product;
	mpz_init(product);
	mpz_mul(product, a->unscaled, b->unscaled);
	return give(r, product, (long)a->scale + b->scale);
}

// numerator / denominator, halves away from zero, into numerator.
static void divide(mpz_t numerator, const mpz_t denominator)
{
	mpz_t rest;
	mpz_init(rest);
	int sign = mpz_sgn(numerator) * mpz_sgn(denominator);
	mpz_tdiv_qr(numerator, rest, numerator, denominator);
	mpz_mul_2exp(rest, rest, 1);
	if (mpz_cmpabs(rest, denominator) >= 0) {
		if (sign < 0)
			mpz_sub_ui(numerator, numerator, 1);
		else
			mpz_add_ui(numerator, numerator, 1);
	}
	mpz_clear(rest);
}

int pl_decimal_div(struct pl_decimal *r, const struct pl_decimal *a, const struct pl_decimal *b, int scale)
{
	if (mpz_sgn(b->unscaled) == 0 || scale < 0 || scale > PL_DECIMAL_DIGITS_MAX)
		return -1;
	mpz_t numerator, denominator;
	mpz_inits(numerator, denominator, NULL);
	// a / b = (A / 10^sa) / (B / 10^sb); at the asked scale: A * 10^(scale + sb - sa)
	// / B
	long power = (long)scale + b->scale - a->scale;
	shift(numerator, a->unscaled, power > 0 ? (unsigned long)power : 0);
	shift(denominator, b->unscaled, power < 0 ? (unsigned long)-power : 0);
	divide(numerator, denominator);
	mpz_clear(denominator);
	return give(r, numerator, scale);
}

int pl_decimal_round(struct pl_decimal *r, const struct pl_decimal *a, int scale)
{
	if (scale < 0 || scale > PL_DECIMAL_DIGITS_MAX)
		return -1;
	mpz_t unscaled;
	mpz_init(unscaled);
	if (scale >= a->scale) {
		shift(unscaled, a->unscaled, (unsigned long)(scale - a->scale));
	} else {
		mpz_t power;
		mpz_init(power);
		mpz_ui_pow_ui(power, 10, (unsigned long)(a->scale - scale));
		mpz_set(unscaled, a->unscaled);
		divide(unscaled, power);
		mpz_clear(power);
	}
	return give(r, unscaled, scale);
}

static int digit(const struct parts *parts, size_t i)
{
	return i < parts->nfraction ? parts->fraction[i] : '0';
}

// Without exponents: compares digit by digit, as written.
static int compare_magnitudes(const struct parts *a, const struct parts *b)
{
	if (a->nwhole != b->nwhole) // none begins with a zero, except the zero
		return a->nwhole < b->nwhole ? -1 : 1;
	int order = memcmp(a->whole, b->whole, a->nwhole);
	for (size_t i = 0; order == 0 && (i < a->nfraction || i < b->nfraction); i++)
		order = digit(a, i) - digit(b, i);
	return sign_of(order);
}

static bool is_below_zero(const struct parts *parts)
{
	static const struct parts zero = { .whole = "0", .nwhole = 1 };
	return parts->negative && compare_magnitudes(parts, &zero) > 0;
}

static int compare_small(const struct parts *a, const struct parts *b)
{
	if (is_below_zero(a) != is_below_zero(b))
		return is_below_zero(a) ? -1 : 1;
	return is_below_zero(a) ? -compare_magnitudes(a, b) : compare_magnitudes(a, b);
}

int pl_decimal_cmp_text(const char *a, const char *b, int *sign_r)
{
	struct parts of_a, of_b;
	struct pl_decimal x, y;

	if (split(&of_a, a, strlen(a)) == 0 && split(&of_b, b, strlen(b)) == 0 && is_small(&of_a) &&
	    is_small(&of_b)) {
		*sign_r = compare_small(&of_a, &of_b);
		return 0;
	}
	pl_decimal_init(&x);
	pl_decimal_init(&y);
	int code =
		pl_decimal_parse(&x, a, strlen(a)) == 0 && pl_decimal_parse(&y, b, strlen(b)) == 0 ? 0 : -1;
	if (code == 0)
		*sign_r = pl_decimal_cmp(&x, &y);
	pl_decimal_fini(&x);
	pl_decimal_fini(&y);
	return code;
}
