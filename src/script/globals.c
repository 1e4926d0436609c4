// The globals that a compiled chunk names, found without running it.
//
// Stands in the loading of scripts (vm.c): a name that no environment has is a fault of the file that is told when it is
// loaded, not when some request first takes that branch. Lua knows the answer: in its compiled form a global is a field of the
// upvalue _ENV. This reads what lua_dump writes for Lua 5.4, which we have just compiled ourselves; another version is
// recognised by its header and left alone.
//
// Not found are names whose constant is the 256th of a function or later: Lua reaches them in another way. When such a line
// runs, it raises.
//
// Invariants: reads nothing outside of the dump; raises nothing.
// Threads: a VM's.
#include "script/globals.h"

#include <stdint.h>
#include <string.h>

#define DEPTH_MAX 200      // functions inside functions, as Lua's own parser allows
#define UPVALUES_MAX 256
#define OP_GETTABUP 11     // R[A] := UpValue[B][K[C]]
#define OP_SETTABUP 15     // UpValue[A][K[B]] := …

enum constant { NIL = 0x00, FALSE_ = 0x01, INTEGER = 0x03, SHORT_STRING = 0x04, TRUE_ = 0x11, FLOAT = 0x13, LONG_STRING = 0x14 };

struct reader {
	const unsigned char *p, *end;
	bool bad;
	pl_globals_fn *fn;
	void *arg;
};

// A function's parts that are needed at its end, when its upvalues' names have been read.
struct function {
	const unsigned char *code;
	size_t ncode;
	size_t nconstants;
	const unsigned char *constants; // where they begin
	const unsigned char *lines;     // a signed byte each
	size_t nlines;
	const unsigned char *absolute;  // pairs of numbers
	size_t nabsolute;
	int first_line;
	bool is_env[UPVALUES_MAX];
};

static const unsigned char *take(struct reader *r, size_t n)
{
	const unsigned char *p = r->p;

	if (r->bad || (size_t)(r->end - r->p) < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	return p;
}

static int take_byte(struct reader *r)
{
	const unsigned char *p = take(r, 1);

	return p ? *p : 0;
}

// Seven bits a byte, the most significant first, the last with its top bit set.
static size_t take_number(struct reader *r)
{
	size_t n = 0;
	int byte;

	do {
		byte = take_byte(r);
		n = n << 7 | (size_t)(byte & 0x7f);
	} while (!r->bad && !(byte & 0x80) && n < SIZE_MAX >> 8);
	return n;
}

// A string: its length + 1 and its bytes; 0 is none.
static const char *take_string(struct reader *r, size_t *len_r)
{
	size_t size = take_number(r);

	*len_r = size ? size - 1 : 0;
	return size ? (const char *)take(r, size - 1) : NULL;
}

static const char *take_constant(struct reader *r, size_t *len_r)
{
	const char *text = NULL;

	*len_r = 0;
	switch (take_byte(r)) {
	case NIL:
	case FALSE_:
	case TRUE_:
		break;
	case INTEGER:
	case FLOAT:
		take(r, 8);
		break;
	case SHORT_STRING:
	case LONG_STRING:
		text = take_string(r, len_r);
		break;
	default:
		r->bad = true;
	}
	return text;
}

// Constant `i`, if it is a text that fits; else "".
static void constant_text(const struct reader *whole, const struct function *f, size_t i, char *text, size_t size)
{
	struct reader r = {.p = f->constants, .end = whole->end};
	const char *found = NULL;
	size_t len = 0;

	text[0] = '\0';
	if (i >= f->nconstants)
		return;
	for (size_t k = 0; k <= i; k++)
		found = take_constant(&r, &len);
	if (r.bad || !found || len >= size)
		return;
	memcpy(text, found, len);
	text[len] = '\0';
}

// The line of instruction `pc`: from the last absolute line before it, by the differences.
static int line_of(const struct function *f, size_t pc)
{
	struct reader r = {.p = f->absolute, .end = f->absolute + 20 * f->nabsolute};
	int line = f->first_line;
	size_t at = 0;

	if (f->nlines <= pc)
		return 0;
	for (size_t i = 0; i < f->nabsolute; i++) {
		size_t place = take_number(&r), absolute = take_number(&r);

		if (place > pc)
			break;
		line = (int)absolute;
		at = place + 1;
	}
	for (; at <= pc; at++) {
		if ((signed char)f->lines[at] != -0x80) // -0x80: an absolute one, which has been seen
			line += (signed char)f->lines[at];
	}
	return line;
}

static void visit_code(struct reader *r, const struct function *f)
{
	char name[128];

	for (size_t pc = 0; pc < f->ncode; pc++) {
		uint32_t word;
		unsigned op, a, b, c;

		memcpy(&word, f->code + 4 * pc, 4);
		op = word & 0x7f;
		a = word >> 7 & 0xff;
		b = word >> 16 & 0xff;
		c = word >> 24 & 0xff;
		if (op == OP_GETTABUP && f->is_env[b])
			constant_text(r, f, c, name, sizeof name);
		else if (op == OP_SETTABUP && f->is_env[a])
			constant_text(r, f, b, name, sizeof name);
		else
			continue;
		if (name[0])
			r->fn(r->arg, name, line_of(f, pc), op == OP_SETTABUP);
	}
}

static void visit_function(struct reader *r, int depth);

static void take_constants(struct reader *r, struct function *f)
{
	size_t len;

	f->nconstants = take_number(r);
	f->constants = r->p;
	for (size_t i = 0; i < f->nconstants && !r->bad; i++)
		take_constant(r, &len);
}

static void take_lines(struct reader *r, struct function *f)
{
	f->nlines = take_number(r);
	f->lines = take(r, f->nlines);
	f->nabsolute = take_number(r);
	f->absolute = r->p;
	for (size_t i = 0; i < f->nabsolute && !r->bad; i++) {
		take_number(r);
		take_number(r);
	}
}

static void take_names(struct reader *r, struct function *f)
{
	size_t n = take_number(r), len;

	for (size_t i = 0; i < n && !r->bad; i++) { // local variables
		take_string(r, &len);
		take_number(r);
		take_number(r);
	}
	n = take_number(r);
	for (size_t i = 0; i < n && !r->bad; i++) {
		const char *name = take_string(r, &len);

		if (i < UPVALUES_MAX)
			f->is_env[i] = name && len == 4 && memcmp(name, "_ENV", 4) == 0;
	}
}

static void visit_function(struct reader *r, int depth)
{
	struct function f = {0};
	size_t len, n;

	if (depth == 0)
		r->bad = true;
	take_string(r, &len); // the source
	f.first_line = (int)take_number(r);
	take_number(r);
	take(r, 3); // parameters, varargs, stack
	f.ncode = take_number(r);
	f.code = f.ncode < SIZE_MAX / 4 ? take(r, 4 * f.ncode) : NULL;
	take_constants(r, &f);
	n = take_number(r);
	take(r, n < SIZE_MAX / 3 ? 3 * n : SIZE_MAX); // upvalues
	n = take_number(r);
	for (size_t i = 0; i < n && !r->bad; i++)
		visit_function(r, depth - 1);
	take_lines(r, &f);
	take_names(r, &f);
	if (!r->bad)
		visit_code(r, &f);
}

// The header of Lua 5.4's format 0, with 4-byte instructions and 8-byte numbers; its two sample numbers are skipped.
static bool header_ok(struct reader *r)
{
	static const unsigned char expected[] = {0x1b, 'L', 'u', 'a', 0x54, 0, 0x19, 0x93, '\r', '\n', 0x1a, '\n', 4, 8, 8};
	const unsigned char *header = take(r, sizeof expected);

	take(r, 16 + 1); // and the count of upvalues
	return header && memcmp(header, expected, sizeof expected) == 0 && !r->bad;
}

static int write_piece(lua_State *L, const void *piece, size_t size, void *buf)
{
	pl_buf_add(buf, piece, size);
	return 0;
}

static void ignore(void *arg, const char *name, int line, bool assigned)
{
}

bool pl_globals_visit(lua_State *L, struct pl_buf *scratch, pl_globals_fn *fn, void *arg)
{
	struct reader r = {.fn = ignore};

	pl_buf_reset(scratch);
	if (lua_dump(L, write_piece, scratch, 0) != 0)
		return false;
	for (int pass = 0; pass < 2; pass++) { // first whether it can be read to its end
		r.p = (const unsigned char *)scratch->data;
		r.end = r.p + scratch->len;
		if (!header_ok(&r))
			return false;
		visit_function(&r, DEPTH_MAX);
		if (r.bad || r.p != r.end)
			return false;
		r.fn = fn;
		r.arg = arg;
	}
	return true;
}
