// See audit_judge.h. Threads: any.
#include "audit/audit_judge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// ---- digests

// Lines of digests, read one after the other.
struct digests {
	const char *at;
	int64_t place;
	const char *digest; // not terminated by a NUL
	size_t len;
};

static const char *end_of_line(const char *at)
{
	const char *end = strchr(at, '\n');

	return end ? end : at + strlen(at);
}

// False at the end, and at a malformed line.
static bool next_digest(struct digests *d)
{
	const char *end = end_of_line(d->at);
	char *behind;

	errno = 0;
	d->place = strtoll(d->at, &behind, 10);
	if (behind == d->at || behind >= end || *behind != ' ' || errno)
		return false;
	d->digest = behind + 1;
	d->len = (size_t)(end - d->digest);
	d->at = *end ? end + 1 : end;
	return true;
}

int pl_audit_judge_digests(const char *here, const char *there, int64_t *places_r, int max)
{
	struct digests h = { .at = here }, t = { .at = there };
	bool any = next_digest(&h);
	int n = 0;

	while (n < max && next_digest(&t)) {
		while (any && h.place < t.place)
			any = next_digest(&h);
		if (!any || h.place != t.place || h.len != t.len || memcmp(h.digest, t.digest, t.len) != 0)
			places_r[n++] = t.place;
	}
	return n;
}

bool pl_audit_judge_span(int64_t from, int64_t until, int64_t most)
{
	return until > from && (uint64_t)until - (uint64_t)from <= (uint64_t)most;
}

bool pl_audit_judge_places(const int64_t *places, int n, int bits, int64_t from, int64_t until)
{
	for (int i = 0; i < n; i++)
		if (places[i] < from >> bits || places[i] > (until - 1) >> bits)
			return false;
	return true;
}

// ---- records

void pl_audit_judge_print(struct pl_buf *lines, const struct pl_audit_copy *copy)
{
	pl_buf_printf(lines, "%lld %lld %lld ", (long long)copy->id, (long long)copy->copy.content,
	              (long long)copy->copy.siblings);
	if (copy->copy.exists)
		pl_vector_print(lines, &copy->copy.vector);
	else
		pl_buf_addc(lines, '-');
	pl_buf_addc(lines, '\n');
}

static bool take_number(const char **at, const char *end, int64_t *number_r)
{
	char *behind;

	errno = 0;
	*number_r = strtoll(*at, &behind, 10);
	if (behind == *at || behind >= end || *behind != ' ' || errno)
		return false;
	*at = behind + 1;
	return true;
}

bool pl_audit_judge_parse(const char **at, struct pl_audit_copy *copy_r)
{
	const char *end = end_of_line(*at), *p = *at;

	memset(copy_r, 0, sizeof(*copy_r));
	if (!take_number(&p, end, &copy_r->id) || !take_number(&p, end, &copy_r->copy.content) ||
	    !take_number(&p, end, &copy_r->copy.siblings))
		return false;
	copy_r->copy.exists = !(end - p == 1 && *p == '-');
	if (copy_r->copy.exists && pl_vector_parse(&copy_r->copy.vector, p, (size_t)(end - p)) < 0)
		return false;
	*at = *end ? end + 1 : end;
	return true;
}

enum pl_difference pl_audit_judge_copies(const struct pl_copy *here, const struct pl_copy *there)
{
	const struct pl_copy copies[2] = { *here, *there };
	struct pl_classified is;

	pl_classify(copies, 2, &is);
	if (!there->exists)
		return here->exists ? PL_DIFFERENCE_NONE : is.difference; // siblings without a row
	if (is.state[1] == PL_COPY_BEHIND)
		return PL_DIFFERENCE_NONE;
	return is.difference;
}
