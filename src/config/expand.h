// ${VAR} in the scalars of the YAML.
#pragma once

#include "base/error.h"
#include "base/mem.h"

// ${VAR}, ${VAR:-default}, ${VAR:?message}, $$; a lone $ stands for itself. A default may hold such forms again.
// 0 and the text in *text_r (in `arena`, or `text` itself). PL_ENOTFOUND: a variable is not set, err says which. PL_EINVAL: not a form.
// Never puts a variable's value into err.
int pl_expand(struct pl_arena *arena, const char *text, const char **text_r, struct pl_error *err);
