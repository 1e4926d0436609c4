// Lua's patterns, matched step by step at a price.
//
// The matcher of find, match, gmatch and gsub. Lua's own cannot be interrupted: a pattern
// such as ("a*"):rep(20) .. "b" runs for years inside one call, where no hook fires. This
// one charges each step to the script's budget. So patterns need no other limits, and a
// pattern costs the same on every machine.
//
// The matcher goes through the pattern item by item. Where there is a choice (a
// quantifier), it tries the alternatives by recursion; between two choices it loops.
// Threads: a VM's.
#include "script/lib/pattern.h"

#include <ctype.h>
#include <string.h>

#include "script/call.h"

#define DEPTH_MAX        180 // choices inside choices; each is a frame of C
#define STEPS_PER_CHARGE 128
#define CAPTURE_OPEN     (-1) // a capture that has begun
#define CAPTURE_PLACE    (-2) // "()": its value is a position

static const char *match(struct pl_pattern_match *m, const char *s, const char *p);

void pl_pattern_match_init(struct pl_pattern_match *m, lua_State *L, const char *text, size_t text_len,
                           const char *pattern, size_t pattern_len)
{
	*m = (struct pl_pattern_match){
		.L = L,
		.text = text,
		.text_end = text + text_len,
		.pattern = pattern,
		.pattern_end = pattern + pattern_len,
	};
	m->anchored = pattern_len > 0 && pattern[0] == '^';
	if (m->anchored)
		m->pattern++;
}

static void step(struct pl_pattern_match *m)
{
	if (++m->steps < STEPS_PER_CHARGE)
		return;
	m->steps = 0;
	pl_call_charge(m->L, STEPS_PER_CHARGE);
}

// Where the single-character item at p ends: "a", ".", "%d", "[a-z]".
static const char *item_end(struct pl_pattern_match *m, const char *p)
{
	char c = *p++;

	if (c == '%') {
		if (p == m->pattern_end)
			luaL_error(m->L, "malformed pattern (ends with '%%')");
		return p + 1;
	}
	if (c != '[')
		return p;
	if (p < m->pattern_end && *p == '^')
		p++;
	do { // a ']' at the beginning is a member of the set
		step(m);
		if (p >= m->pattern_end)
			luaL_error(m->L, "malformed pattern (missing ']')");
		if (*p++ == '%')
			p++;
	} while (p >= m->pattern_end || *p != ']');
	return p + 1;
}

static bool in_class(int c, int class)
{
	bool in;

	switch (tolower(class)) {
	case 'a': in = isalpha(c); break;
	case 'c': in = iscntrl(c); break;
	case 'd': in = isdigit(c); break;
	case 'g': in = isgraph(c); break;
	case 'l': in = islower(c); break;
	case 'p': in = ispunct(c); break;
	case 's': in = isspace(c); break;
	case 'u': in = isupper(c); break;
	case 'w': in = isalnum(c); break;
	case 'x': in = isxdigit(c); break;
	case 'z': in = c == '\0'; break; // undocumented, but Lua 5.4 still accepts it
	default: return class == c;
	}
	return isupper(class) ? !in : in;
}

// `p` is at the '[', `end` just past the ']'.
static bool in_set(struct pl_pattern_match *m, int c, const char *p, const char *end)
{
	const char *last = end - 1;
	bool wanted = true;

	p++;
	if (p < last && *p == '^') {
		wanted = false;
		p++;
	}
	while (p < last) {
		step(m);
		if (*p == '%') {
			if (in_class(c, (unsigned char)p[1]))
				return wanted;
			p += 2;
		} else if (p + 2 < last && p[1] == '-') {
			if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
				return wanted;
			p += 3;
		} else {
			if ((unsigned char)*p == c)
				return wanted;
			p++;
		}
	}
	return !wanted;
}

static bool matches_item(struct pl_pattern_match *m, const char *s, const char *p, const char *end)
{
	int c;

	step(m);
	if (s >= m->text_end)
		return false;
	c = (unsigned char)*s;
	switch (*p) {
	case '.': return true;
	case '%': return in_class(c, (unsigned char)p[1]);
	case '[': return in_set(m, c, p, end);
	default: return (unsigned char)*p == c;
	}
}

// "item*" and "item+": as many as possible, then fewer.
static const char *match_most(struct pl_pattern_match *m, const char *s, const char *p, const char *end,
                              ptrdiff_t least)
{
	ptrdiff_t n = 0;

	while (matches_item(m, s + n, p, end))
		n++;
	for (; n >= least; n--) {
		const char *found = match(m, s + n, end + 1);

		if (found)
			return found;
	}
	return NULL;
}

// "item-": as few as possible.
static const char *match_least(struct pl_pattern_match *m, const char *s, const char *p, const char *end)
{
	for (;; s++) {
		const char *found = match(m, s, end + 1);

		if (found)
			return found;
		if (!matches_item(m, s, p, end))
			return NULL;
	}
}

// "%bxy", p just past the b.
static const char *match_balanced(struct pl_pattern_match *m, const char *s, const char *p)
{
	int depth = 1;

	if (m->pattern_end - p < 2)
		luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
	if (s >= m->text_end || *s != p[0])
		return NULL;
	while (++s < m->text_end) {
		step(m);
		if (*s == p[1]) {
			if (--depth == 0)
				return s + 1;
		} else if (*s == p[0]) {
			depth++;
		}
	}
	return NULL;
}

// "%f[set]", p at the set.
static bool at_frontier(struct pl_pattern_match *m, const char *s, const char *p, const char *end)
{
	int before = s == m->text ? '\0' : (unsigned char)s[-1];
	int here = s < m->text_end ? (unsigned char)*s : '\0';

	return !in_set(m, before, p, end) && in_set(m, here, p, end);
}

// "%1", p at the digit: the text of that capture once more.
static const char *match_again(struct pl_pattern_match *m, const char *s, const char *p)
{
	int i = *p - '1';
	size_t len;

	if (i < 0 || i >= m->ncaptures || m->captures[i].len == CAPTURE_OPEN)
		luaL_error(m->L, "invalid capture index %%%d in pattern", i + 1);
	if (m->captures[i].len == CAPTURE_PLACE)
		return NULL;
	len = (size_t)m->captures[i].len;
	pl_call_charge(m->L, (int64_t)len / 16);
	if ((size_t)(m->text_end - s) < len || memcmp(m->captures[i].start, s, len) != 0)
		return NULL;
	return s + len;
}

static const char *open_capture(struct pl_pattern_match *m, const char *s, const char *p, ptrdiff_t kind)
{
	const char *found;

	if (m->ncaptures == PL_PATTERN_CAPTURES)
		luaL_error(m->L, "too many captures");
	m->captures[m->ncaptures].start = s;
	m->captures[m->ncaptures].len = kind;
	m->ncaptures++;
	found = match(m, s, p);
	if (!found)
		m->ncaptures--;
	return found;
}

static const char *close_capture(struct pl_pattern_match *m, const char *s, const char *p)
{
	int i = m->ncaptures - 1;
	const char *found;

	while (i >= 0 && m->captures[i].len != CAPTURE_OPEN)
		i--;
	if (i < 0)
		luaL_error(m->L, "invalid pattern capture");
	m->captures[i].len = s - m->captures[i].start;
	found = match(m, s, p);
	if (!found)
		m->captures[i].len = CAPTURE_OPEN;
	return found;
}

// Matches a single-character item with its quantifier. True: *s_r and *p_r are past it,
// go on there. False: *found_r is the result.
static bool match_single(struct pl_pattern_match *m, const char **s_r, const char **p_r, const char **found_r)
{
	const char *s = *s_r, *p = *p_r, *end = item_end(m, p);
	char quantifier = end < m->pattern_end ? *end : '\0';

	switch (quantifier) {
	case '*':
	case '+': *found_r = match_most(m, s, p, end, quantifier == '+'); return false;
	case '-': *found_r = match_least(m, s, p, end); return false;
	case '?':
		*p_r = end + 1;
		if (matches_item(m, s, p, end)) {
			*found_r = match(m, s + 1, end + 1);
			if (*found_r)
				return false;
		}
		return true;
	default:
		*found_r = NULL;
		*p_r = end;
		*s_r = s + 1;
		return matches_item(m, s, p, end);
	}
}

// Matches an item that begins with '%' and is more than a class: as match_single. Sets
// *other when it is a class after all.
static bool match_special(struct pl_pattern_match *m, const char **s_r, const char **p_r,
                          const char **found_r, bool *other)
{
	const char *p = *p_r + 1, *s = *s_r, *end;

	*found_r = NULL;
	*other = false;
	if (p < m->pattern_end && *p == 'b') {
		s = match_balanced(m, s, p + 1);
		end = p + 3;
	} else if (p < m->pattern_end && *p == 'f') {
		if (p + 1 >= m->pattern_end || p[1] != '[')
			luaL_error(m->L, "missing '[' after '%%f' in pattern");
		end = item_end(m, p + 1);
		if (!at_frontier(m, s, p + 1, end))
			s = NULL;
	} else if (p < m->pattern_end && isdigit((unsigned char)*p)) {
		s = match_again(m, s, p);
		end = p + 1;
	} else {
		*other = true;
		return true;
	}
	*s_r = s;
	*p_r = end;
	return s != NULL;
}

// Matches the pattern from p on at s.
static const char *match_rest(struct pl_pattern_match *m, const char *s, const char *p)
{
	const char *found;
	bool other;

	for (;;) {
		step(m);
		if (p == m->pattern_end)
			return s;
		if (*p == '(') {
			bool place = p + 1 < m->pattern_end && p[1] == ')';

			return open_capture(m, s, p + (place ? 2 : 1), place ? CAPTURE_PLACE : CAPTURE_OPEN);
		}
		if (*p == ')')
			return close_capture(m, s, p + 1);
		if (*p == '$' && p + 1 == m->pattern_end)
			return s == m->text_end ? s : NULL;
		other = true;
		if (*p == '%' && !match_special(m, &s, &p, &found, &other))
			return found;
		if (other && !match_single(m, &s, &p, &found))
			return found;
	}
}

static const char *match(struct pl_pattern_match *m, const char *s, const char *p)
{
	const char *found;

	if (m->depth-- == 0)
		luaL_error(m->L, "pattern too complex");
	found = match_rest(m, s, p);
	m->depth++;
	return found;
}

const char *pl_pattern_match_at(struct pl_pattern_match *m, const char *at)
{
	m->ncaptures = 0;
	m->depth = DEPTH_MAX;
	return match(m, at, m->pattern);
}

void pl_pattern_match_push(struct pl_pattern_match *m, int i, const char *start, const char *end)
{
	if (i >= m->ncaptures) {
		if (i != 0)
			luaL_error(m->L, "invalid capture index %%%d", i + 1);
		lua_pushlstring(m->L, start, (size_t)(end - start));
		return;
	}
	if (m->captures[i].len == CAPTURE_OPEN)
		luaL_error(m->L, "unfinished capture");
	if (m->captures[i].len == CAPTURE_PLACE)
		lua_pushinteger(m->L, m->captures[i].start - m->text + 1);
	else
		lua_pushlstring(m->L, m->captures[i].start, (size_t)m->captures[i].len);
}

int pl_pattern_match_push_all(struct pl_pattern_match *m, const char *start, const char *end)
{
	int n = m->ncaptures == 0 && start ? 1 : m->ncaptures;

	luaL_checkstack(m->L, n, "too many captures");
	for (int i = 0; i < n; i++)
		pl_pattern_match_push(m, i, start, end);
	return n;
}
