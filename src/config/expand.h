// Expands ${VAR} in scalars of the YAML.
#pragma once

#include "base/error.h"
#include "base/mem.h"

// Expands ${VAR}, ${VAR:-default}, ${VAR:?message} and $$; a single $ is literal.
// Defaults may contain such forms. Returns 0 and the text in *text_r (in `arena`, or
// `text` itself). PL_ENOTFOUND: a variable is not set; err names it. PL_EINVAL: the
// syntax is wrong. err never contains the value of a variable.
int pl_expand(struct pl_arena *arena, const char *text, const char **text_r, struct pl_error *err);
