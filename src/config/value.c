// One value of the YAML: from text into pl_config according to its row in the table, and
// back to text.
//
// Used by the loader, and by show.c and diff.c, which print. Printed values can be read
// again.
// Threads: any.
#include "config/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"

struct unit {
	const char *name;
	int64_t size;
};

// Largest first: printing uses the first unit that divides the value.
static const struct unit durations[] = {
	{ "d", INT64_C(86400000000) },
	{ "h", INT64_C(3600000000) },
	{ "m", 60000000 },
	{ "s", 1000000 },
	{ "ms", 1000 },
	{ "us", 1 },
	{ NULL, 0 },
};
static const struct unit sizes[] = {
	{ "GiB", 1 << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { "B", 1 }, { NULL, 0 }
};

static const struct unit *units(const struct pl_key *key)
{
	return key->type == PL_KEY_DURATION ? durations : sizes;
}

void pl_config_value_print_int(const struct pl_key *key, int64_t value, struct pl_buf *buf)
{
	if (key->type == PL_KEY_INTEGER) {
		if (value == 0 && key->word != NULL)
			pl_buf_adds(buf, key->word);
		else
			pl_buf_add_i64(buf, value);
		return;
	}
	const struct unit *unit = units(key);
	while (value % unit->size != 0)
		unit++;
	if (value == 0)
		unit = key->type == PL_KEY_DURATION ? &durations[3] : &sizes[3];
	pl_buf_printf(buf, "%" PRId64 "%s", value / unit->size, unit->name);
}

static int parse_i64(const char *text, int64_t *value_r, const char **end_r)
{
	char *end;

	if (!(*text >= '0' && *text <= '9') && !(*text == '-' && text[1] >= '0' && text[1] <= '9'))
		return -1;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno != 0)
		return -1;
	*value_r = value;
	*end_r = end;
	return 0;
}

// The end of the range, as written in YAML.
static int range_error(const struct pl_key *key, const char *text, struct pl_error *err)
{
	struct pl_buf min = { 0 }, max = { 0 };

	pl_config_value_print_int(key, key->min, &min);
	pl_config_value_print_int(key, key->max, &max);
	int rc = pl_error_set(err, PL_EINVAL, "must be from %s to %s, not \"%.60s\"", min.data, max.data,
	                      text);
	pl_buf_fini(&min);
	pl_buf_fini(&max);
	return rc;
}

static int form_error(const struct pl_key *key, const char *text, struct pl_error *err)
{
	switch (key->type) {
	case PL_KEY_DURATION:
		return pl_error_set(
			err, PL_EINVAL,
			"must be a number with a unit (us, ms, s, m, h, d) such as 500ms, not \"%.60s\"",
			text);
	case PL_KEY_SIZE:
		return pl_error_set(
			err, PL_EINVAL,
			"must be a number with a unit (B, KiB, MiB, GiB) such as 64KiB, not \"%.60s\"", text);
	default:
		if (key->word != NULL)
			return pl_error_set(err, PL_EINVAL, "must be a whole number or \"%s\", not \"%.60s\"",
			                    key->word, text);
		return pl_error_set(err, PL_EINVAL, "must be a whole number, not \"%.60s\"", text);
	}
}

static int parse_int(const struct pl_key *key, const char *text, int64_t *value_r, struct pl_error *err)
{
	const char *end;

	if (key->word != NULL && strcmp(text, key->word) == 0) {
		*value_r = 0;
		return 0;
	}
	if (parse_i64(text, value_r, &end) < 0)
		return form_error(key, text, err);
	if (key->type == PL_KEY_INTEGER) {
		if (*end != '\0')
			return form_error(key, text, err);
	} else {
		const struct unit *unit = units(key);
		while (unit->name != NULL && strcmp(unit->name, end) != 0)
			unit++;
		if (unit->name == NULL)
			return form_error(key, text, err);
		if (*value_r > INT64_MAX / unit->size || *value_r < 0)
			return range_error(key, text, err);
		*value_r *= unit->size;
	}
	if ((key->min != 0 || key->max != 0) && (*value_r < key->min || *value_r > key->max))
		return range_error(key, text, err);
	return 0;
}

// The index of `text` among the choices, or -1.
static int choice_index(const char *choices, const char *text)
{
	size_t len = strlen(text);

	for (int i = 0; *choices != '\0'; i++) {
		size_t n = strcspn(choices, "|");
		if (n == len && memcmp(choices, text, n) == 0)
			return i;
		choices += n + (choices[n] == '|');
	}
	return -1;
}

static int choice_error(const struct pl_key *key, const char *text, struct pl_error *err)
{
	struct pl_buf list = { 0 };

	for (const char *p = key->choices; *p != '\0';) {
		size_t n = strcspn(p, "|");
		if (p != key->choices)
			pl_buf_adds(&list, p[n] == '\0' ? " or " : ", ");
		pl_buf_add(&list, p, n);
		p += n + (p[n] == '|');
	}
	int rc = pl_error_set(err, PL_EINVAL, "must be %s, not \"%.60s\"", list.data, text);
	pl_buf_fini(&list);
	return rc;
}

static int check_string(const struct pl_key *key, const char *text, struct pl_error *err)
{
	size_t len = strlen(text);
	int64_t max =
		key->type == PL_KEY_STRINGS || key->type == PL_KEY_LISTS || key->max == 0 ? 1024 : key->max;
	regex_t regex;

	if (key->choices != NULL)
		return choice_index(key->choices, text) < 0 ? choice_error(key, text, err) : 0;
	if (len > (size_t)max)
		return pl_error_set(err, PL_EINVAL, "must have at most %" PRId64 " characters", max);
	if (key->type == PL_KEY_STRING && (int64_t)len < key->min)
		return pl_error_set(err, PL_EINVAL, "must not be empty");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return pl_error_set(err, PL_EINVAL, "must not contain control characters");
	if (key->pattern == NULL)
		return 0;
	if (regcomp(&regex, key->pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return pl_error_set(err, PL_EINTERNAL, "has a bad pattern in the table of keys");
	int found = regexec(&regex, text, 0, NULL, 0);
	regfree(&regex);
	if (found != 0)
		return pl_error_set(err, PL_EINVAL, "must be %s, not \"%.60s\"", key->form, text);
	return 0;
}

static int check_number(const struct pl_key *key, const char *text, struct pl_error *err)
{
	if (strlen(text) > (size_t)key->max)
		return pl_error_set(err, PL_EINVAL, "must have at most %" PRId64 " characters", key->max);
	return pl_decimal_valid(text, strlen(text))
	               ? 0
	               : pl_error_set(err, PL_EINVAL, "must be a number, not \"%.60s\"", text);
}

static void store_int(const struct pl_key *key, void *base, int64_t value)
{
	void *at = (char *)base + key->offset;

	switch (key->size) {
	case 1: *(bool *)at = value != 0; break;
	case 4: *(int *)at = (int)value; break;
	default:
		*(int64_t *)at = value;
		break; // size_t, too: both have 64 bits, and no value is negative there
	}
}

static void add_string(const struct pl_key *key, void *base, struct pl_arena *arena, const char *text)
{
	int *n = (int *)(void *)((char *)base + key->count_offset);
	const char ***list = (const char ***)(void *)((char *)base + key->offset);

	if (*list == NULL)
		*list = pl_arena_alloc(arena, sizeof(char *) * (size_t)key->max);
	(*list)[(*n)++] = pl_arena_strdup(arena, text);
}

static int set_string(const struct pl_key *key, void *base, struct pl_arena *arena, const char *text,
                      struct pl_error *err)
{
	int rc = key->type == PL_KEY_NUMBER ? check_number(key, text, err) : check_string(key, text, err);

	if (rc < 0)
		return rc;
	if (key->type == PL_KEY_STRINGS || key->type == PL_KEY_LISTS) {
		if (pl_schema_count(key, base) >= key->max)
			return pl_error_set(err, PL_EINVAL, "must have at most %" PRId64 " elements",
			                    key->max);
		add_string(key, base, arena, text);
	} else {
		*(const char **)(void *)((char *)base + key->offset) = pl_arena_strdup(arena, text);
	}
	return 0;
}

int pl_config_value_set(const struct pl_key *key, void *base, struct pl_arena *arena, const char *text,
                        struct pl_error *err)
{
	int64_t value = 0;
	int rc;

	switch (key->type) {
	case PL_KEY_INTEGER:
	case PL_KEY_DURATION:
	case PL_KEY_SIZE:
		rc = parse_int(key, text, &value, err);
		if (rc < 0)
			return rc;
		break;
	case PL_KEY_BOOLEAN:
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
			return pl_error_set(err, PL_EINVAL, "must be true or false, not \"%.60s\"", text);
		value = text[0] == 't';
		break;
	case PL_KEY_CHOICE:
		if (key->size == sizeof(char *))
			return set_string(key, base, arena, text, err);
		value = choice_index(key->choices, text);
		if (value < 0)
			return choice_error(key, text, err);
		break;
	default: return set_string(key, base, arena, text, err);
	}
	store_int(key, base, value);
	return 0;
}

int64_t pl_config_value_int(const struct pl_key *key, const void *base)
{
	const void *at = (const char *)base + key->offset;

	switch (key->size) {
	case 1: return *(const bool *)at;
	case 4: return *(const int *)at;
	default: return *(const int64_t *)at;
	}
}

bool pl_config_value_print(const struct pl_key *key, const void *base, struct pl_buf *buf)
{
	if (key->type == PL_KEY_INTEGER || key->type == PL_KEY_DURATION || key->type == PL_KEY_SIZE) {
		pl_config_value_print_int(key, pl_config_value_int(key, base), buf);
	} else if (key->type == PL_KEY_BOOLEAN) {
		pl_buf_adds(buf, pl_config_value_int(key, base) ? "true" : "false");
	} else if (key->type == PL_KEY_CHOICE && key->size != sizeof(char *)) {
		const char *p = key->choices;
		for (int64_t i = pl_config_value_int(key, base); i > 0; i--)
			p += strcspn(p, "|") + 1;
		pl_buf_add(buf, p, strcspn(p, "|"));
	} else {
		const char *text = *(const char *const *)(const void *)((const char *)base + key->offset);
		if (text == NULL)
			return false;
		pl_buf_adds(buf, text);
	}
	return true;
}
