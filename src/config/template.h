// Text with places to fill in: what the configuration for NGINX is made with.
//
// {{name}} is a value of the context. Lines of their own: "#@for name" … "#@end" once for each object of a list, in whose reach names are
// looked up first there, then outside; "#@if name" … "#@end" when the value is there and not false. Blocks nest.
#pragma once

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/error.h"

// Appends the text filled in. PL_EINVAL: a name that the context does not have, or a block without its end.
int pl_template_render(struct pl_buf *buf, const char *text, const cJSON *context, struct pl_error *err);
