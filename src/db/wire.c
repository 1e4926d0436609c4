// PostgreSQL's binary format of values: see wire.h. An array consists of the number of
// dimensions, whether it contains nulls, the type of its elements, their number, the
// first index, and the elements. (Documented in PostgreSQL's sources of the send
// functions, and in "Binary Format" under COPY.)
//
// Threads: any; nothing is shared.
#include "db/wire.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define POSTGRES_EPOCH_US INT64_C(946684800000000) // 2000-01-01, the epoch of its times
#define JSONB_VERSION     1                        // a byte before the text

static void put32(struct pl_buf *buf, uint32_t value)
{
	value = htonl(value);
	pl_buf_add(buf, &value, sizeof(value));
}

static void put16(struct pl_buf *buf, uint16_t value)
{
	value = htons(value);
	pl_buf_add(buf, &value, sizeof(value));
}

void pl_wire_null(struct pl_buf *buf)
{
	put32(buf, UINT32_MAX);
}

void pl_wire_bytes(struct pl_buf *buf, const void *data, size_t len)
{
	put32(buf, (uint32_t)len);
	pl_buf_add(buf, data, len);
}

void pl_wire_int(struct pl_buf *buf, enum pl_wire_type type, int64_t value)
{
	uint64_t wire = htobe64((uint64_t)value);
	size_t len = type == PL_WIRE_INT8 ? 8 : type == PL_WIRE_INT4 ? 4 : 2;

	pl_wire_bytes(buf, (const char *)&wire + sizeof(wire) - len, len); // the low-order bytes
}

void pl_wire_bool(struct pl_buf *buf, bool value)
{
	pl_wire_bytes(buf, value ? "\1" : "\0", 1);
}

void pl_wire_time(struct pl_buf *buf, int64_t at_us)
{
	pl_wire_int(buf, PL_WIRE_INT8, at_us - POSTGRES_EPOCH_US);
}

static void put_json(struct pl_buf *buf, const char *text)
{
	size_t len = strlen(text);

	put32(buf, (uint32_t)len + 1);
	pl_buf_addc(buf, JSONB_VERSION);
	pl_buf_add(buf, text, len);
}

void pl_wire_text(struct pl_buf *buf, enum pl_wire_type type, const char *text)
{
	if (!text) {
		pl_wire_null(buf);
		return;
	}
	switch (type) {
	case PL_WIRE_INT8:
	case PL_WIRE_INT4:
	case PL_WIRE_INT2: pl_wire_int(buf, type, strtoll(text, NULL, 10)); break;
	case PL_WIRE_BOOL: pl_wire_bool(buf, text[0] == 't'); break;
	case PL_WIRE_JSONB: put_json(buf, text); break;
	default: pl_wire_bytes(buf, text, strlen(text)); break;
	}
}

void pl_wire_array_begin(struct pl_buf *buf)
{
	static const char header[PL_WIRE_ARRAY_HEADER];

	pl_buf_reset(buf);
	pl_buf_add(buf, header, sizeof(header));
}

void pl_wire_array_end(struct pl_buf *buf, enum pl_wire_type type, int n, bool nulls)
{
	uint32_t header[] = { htonl(1), htonl(nulls), htonl(type), htonl((uint32_t)n), htonl(1) };

	_Static_assert(sizeof(header) == PL_WIRE_ARRAY_HEADER, "an array's header");
	memcpy(buf->data, header, sizeof(header));
}

void pl_wire_copy_begin(struct pl_buf *buf)
{
	pl_buf_reset(buf);
	pl_buf_add(buf, "PGCOPY\n\377\r\n", 11); // with its NUL
	put32(buf, 0);                           // no flags
	put32(buf, 0);                           // no header extension
}

void pl_wire_copy_row(struct pl_buf *buf, int ncolumns)
{
	put16(buf, (uint16_t)ncolumns);
}

void pl_wire_copy_end(struct pl_buf *buf)
{
	put16(buf, UINT16_MAX);
}
