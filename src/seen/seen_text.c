// Tokens as text: the base64url form of
//
//   version (1 byte) · number of positions (1 byte)
//   position: hash of the region (4), generation, id
//   record:   hash of the resource (4), id, number of counts and whether it was deleted,
//             then for each count the hash of its key (4) and its value
//   checksum (4 bytes)
//
// Records follow one another up to the checksum. Numbers without a size have a variable
// length: seven bits per byte, the lowest first. Positions always fit: 16 of them take
// 272 bytes with the longest numbers. A generation may be a time in seconds (see
// sql/014_identity.sql).
// Threads: any.
#include <string.h>

#include "seen/seen.h"

#define VERSION        1
#define BYTES_MAX      (PL_SEEN_TEXT_MAX / 4 * 3)
#define CHECKSUM       4

#define GENERATION_MAX ((INT64_C(1) << 35) - 1)
#define ID_MAX         ((INT64_C(1) << 56) - 1)

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct bytes {
	unsigned char data[BYTES_MAX];
	size_t len, at; // written; read
	bool bad;
};

// ---- bytes

static void put(struct bytes *bytes, unsigned byte)
{
	if (bytes->len == BYTES_MAX - CHECKSUM)
		bytes->bad = true;
	else
		bytes->data[bytes->len++] = (unsigned char)byte;
}

static void put_hash(struct bytes *bytes, uint32_t hash)
{
	for (int shift = 0; shift < 32; shift += 8)
		put(bytes, hash >> shift & 0xff);
}

static void put_number(struct bytes *bytes, uint64_t n)
{
	for (; n > 0x7f; n >>= 7)
		put(bytes, (n & 0x7f) | 0x80);
	put(bytes, (unsigned)n);
}

static unsigned get(struct bytes *bytes)
{
	if (bytes->at < bytes->len)
		return bytes->data[bytes->at++];
	bytes->bad = true;
	return 0;
}

static uint32_t get_hash(struct bytes *bytes)
{
	uint32_t hash = 0;

	for (int shift = 0; shift < 32; shift += 8)
		hash |= (uint32_t)get(bytes) << shift;
	return hash;
}

// Returns a number from 0 to INT64_MAX.
static int64_t get_number(struct bytes *bytes)
{
	uint64_t n = 0;

	for (int shift = 0; shift < 63; shift += 7) {
		unsigned byte = get(bytes);

		n |= (uint64_t)(byte & 0x7f) << shift;
		if (byte <= 0x7f)
			return (int64_t)n;
	}
	bytes->bad = true;
	return 0;
}

static uint32_t checksum(const struct bytes *bytes)
{
	return pl_seen_hash((const char *)bytes->data, bytes->len);
}

// ---- printing

static uint64_t zigzag(int64_t n)
{
	return (uint64_t)n << 1 ^ (uint64_t)(n >> 63);
}

static bool fits(int64_t id)
{
	return zigzag(id) <= INT64_MAX;
}

static void put_record(struct bytes *bytes, const struct pl_seen_record *record)
{
	put_hash(bytes, record->resource);
	put_number(bytes, zigzag(record->id));
	put(bytes, (unsigned)record->n << 1 | record->deleted);
	for (int i = 0; i < record->n; i++) {
		put_hash(bytes, record->counts[i].key);
		put_number(bytes, (uint64_t)record->counts[i].n);
	}
}

static void encode(char *text, const struct bytes *bytes)
{
	uint32_t bits = 0;
	int n = 0;

	for (size_t i = 0; i < bytes->len; i++) {
		bits = bits << 8 | bytes->data[i];
		for (n += 8; n >= 6; n -= 6)
			*text++ = digits[bits >> (n - 6) & 0x3f];
	}
	if (n > 0)
		*text++ = digits[bits << (6 - n) & 0x3f];
	*text = '\0';
}

void pl_seen_print(char text[PL_SEEN_TEXT_MAX + 1], const struct pl_seen *seen)
{
	struct bytes bytes = { .len = 0 };
	uint32_t sum;

	put(&bytes, VERSION);
	put(&bytes, (unsigned)seen->npositions);
	for (int i = 0; i < seen->npositions; i++) {
		put_hash(&bytes, seen->positions[i].region);
		put_number(&bytes, (uint64_t)seen->positions[i].generation);
		put_number(&bytes, (uint64_t)seen->positions[i].id);
	}
	for (int i = 0; i < seen->nrecords; i++) {
		size_t before = bytes.len;

		if (!fits(seen->records[i].id))
			continue;
		put_record(&bytes, &seen->records[i]);
		if (!bytes.bad)
			continue;
		bytes.len = before; // the positions cover this record and the older ones
		break;
	}
	sum = checksum(&bytes);
	for (int shift = 0; shift < 32; shift += 8)
		bytes.data[bytes.len++] = (unsigned char)(sum >> shift & 0xff);
	encode(text, &bytes);
}

// ---- parsing

static bool decode(struct bytes *bytes, const char *text, size_t len)
{
	uint32_t bits = 0;
	int n = 0;

	if (len > PL_SEEN_TEXT_MAX || len % 4 == 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		const char *digit = strchr(digits, text[i]);

		if (!digit || !*digit)
			return false;
		bits = bits << 6 | (uint32_t)(digit - digits);
		if ((n += 6) >= 8)
			bytes->data[bytes->len++] = (unsigned char)(bits >> (n -= 8) & 0xff);
	}
	return (bits & ((1U << n) - 1)) == 0;
}

static void get_record(struct bytes *bytes, struct pl_seen_record *record)
{
	uint64_t id;
	unsigned n;

	memset(record, 0, sizeof(*record));
	record->resource = get_hash(bytes);
	id = (uint64_t)get_number(bytes);
	record->id = (int64_t)(id >> 1) ^ -(int64_t)(id & 1);
	n = get(bytes);
	record->deleted = n & 1;
	record->n = (int)(n >> 1);
	if (record->n == 0 || record->n > PL_SEEN_COUNTS_MAX) {
		bytes->bad = true;
		return;
	}
	for (int i = 0; i < record->n; i++) {
		int64_t count;

		record->counts[i].key = get_hash(bytes);
		count = get_number(bytes);
		bytes->bad |= count < 1 || count > INT32_MAX;
		record->counts[i].n = (int32_t)count;
	}
}

static bool is_configured(const struct pl_config *config, uint32_t region)
{
	for (int i = 0; i < config->nregions; i++)
		if (pl_seen_hash(config->regions[i].name, strlen(config->regions[i].name)) == region)
			return true;
	return false;
}

static void get_seen(struct bytes *bytes, const struct pl_config *config, struct pl_seen *seen)
{
	unsigned n = get(bytes);

	bytes->bad |= n > PL_REGIONS_MAX;
	for (unsigned i = 0; i < n && !bytes->bad; i++) {
		struct pl_seen_position position;

		position.region = get_hash(bytes);
		position.generation = get_number(bytes);
		position.id = get_number(bytes);
		bytes->bad |= position.generation < 1 || position.generation > GENERATION_MAX ||
		              position.id < 1 || position.id > ID_MAX;
		if (is_configured(config, position.region))
			seen->positions[seen->npositions++] = position;
	}
	while (bytes->at < bytes->len && !bytes->bad) {
		if (seen->nrecords == PL_SEEN_RECORDS_MAX)
			bytes->bad = true;
		else
			get_record(bytes, &seen->records[seen->nrecords++]);
	}
}

static const char *parse(struct pl_seen *seen, const struct pl_config *config, const char *text, size_t len)
{
	struct bytes bytes = { .len = 0 };
	struct pl_seen other = { 0 };
	uint32_t sum = 0;

	if (len == sizeof(PL_SEEN_NEW) - 1 && memcmp(text, PL_SEEN_NEW, len) == 0)
		return NULL;
	if (!decode(&bytes, text, len) || bytes.len < CHECKSUM + 2)
		return "a token is what an answer's Plist-Session contained, unchanged, or the word new";
	bytes.len -= CHECKSUM;
	for (int i = 0; i < CHECKSUM; i++)
		sum |= (uint32_t)bytes.data[bytes.len + (size_t)i] << 8 * i;
	if (sum != checksum(&bytes))
		return "the token was changed or cut on its way";
	if (get(&bytes) != VERSION)
		return "the token is of another version of plist";
	get_seen(&bytes, config, &other);
	if (bytes.bad)
		return "the token is not one of plist's";
	pl_seen_merge(seen, &other);
	return NULL;
}

const char *pl_seen_parse(struct pl_seen *seen, const struct pl_config *config, const char *text)
{
	int n = 0;

	for (;;) {
		size_t len;
		const char *why;

		text += strspn(text, " \t");
		len = strcspn(text, ",");
		while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
			len--;
		if (n++ == PL_SEEN_TOKENS_MAX)
			return "a request may bring at most 8 tokens";
		if ((why = parse(seen, config, text, len)))
			return why;
		text += strcspn(text, ",");
		if (!*text)
			return NULL;
		text++;
	}
}
