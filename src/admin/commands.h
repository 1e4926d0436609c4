// Every command, for the table in commands.c.
#pragma once

#include "admin/command.h"

extern const struct pl_command pl_cmd_version;
extern const struct pl_command pl_cmd_completion;
