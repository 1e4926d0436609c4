// Text templates, for the NGINX configuration.
//
// {{name}} is replaced by a value. On lines of their own: "#@for name" … "#@end" repeats
// for each object of a list, in which names are looked up before the outer ones; "#@if
// name" … "#@end" if the value exists and is not false, "#@else" between them if not.
// Blocks nest.
#pragma once

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/error.h"

// Appends the filled-in text. PL_EINVAL: an unknown name, or a block without its end.
int pl_template_render(struct pl_buf *buf, const char *text, const cJSON *context, struct pl_error *err);
