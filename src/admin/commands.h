// Every command, for the table in commands.c.
#pragma once

#include "admin/command.h"

extern const struct pl_command pl_cmd_broker;
extern const struct pl_command pl_cmd_completion;
extern const struct pl_command pl_cmd_config_check, pl_cmd_config_schema, pl_cmd_config_show;
extern const struct pl_command pl_cmd_conflicts_list, pl_cmd_conflicts_show;
extern const struct pl_command pl_cmd_dead_letters_drop, pl_cmd_dead_letters_list, pl_cmd_dead_letters_show;
extern const struct pl_command pl_cmd_lag;
extern const struct pl_command pl_cmd_migrate;
extern const struct pl_command pl_cmd_nginx;
extern const struct pl_command pl_cmd_conflicts_restore, pl_cmd_policy_replay;
extern const struct pl_command pl_cmd_policy_activate;
extern const struct pl_command pl_cmd_policy_check;
extern const struct pl_command pl_cmd_policy_list;
extern const struct pl_command pl_cmd_routes;
extern const struct pl_command pl_cmd_seed;
extern const struct pl_command pl_cmd_status;
extern const struct pl_command pl_cmd_version;
