// The resource used by fuzz targets: a field of each type, with and without bounds.
#pragma once

#include "config/config.h"

static const struct pl_resource fuzz_resource = {
	.name = "items",
	.title = "Item",
	.table = "items",
	.topic = "items",
	.track_fields = true,
	.nfields = 6,
	.fields = {
		{.name = "amount",
		 .type = PL_FIELD_DECIMAL,
		 .required = true,
		 .min = "0",
		 .precision = 12,
		 .scale = 2},
		{.name = "ratio", .type = PL_FIELD_DECIMAL, .precision = 1000, .scale = 500},
		{.name = "rooms", .type = PL_FIELD_INTEGER, .min = "0", .max = "100"},
		{.name = "offset", .type = PL_FIELD_INTEGER},
		{.name = "note", .type = PL_FIELD_STRING, .max_length = 20},
		{.name = "open", .type = PL_FIELD_BOOLEAN},
	},
};
