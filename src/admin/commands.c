// The table of commands, in the order of the help. Each is described where it is written: in its cmd_*.c.
#include "admin/commands.h"

const struct pl_command *const pl_commands[] = {
	&pl_cmd_config_check,
	&pl_cmd_config_show,
	&pl_cmd_config_schema,
	&pl_cmd_nginx,
	&pl_cmd_migrate,
	&pl_cmd_routes,
	&pl_cmd_seed,
	&pl_cmd_status,
	&pl_cmd_lag,
	&pl_cmd_policy_list,
	&pl_cmd_policy_check,
	&pl_cmd_policy_replay,
	&pl_cmd_policy_activate,
	&pl_cmd_conflicts_list,
	&pl_cmd_conflicts_show,
	&pl_cmd_conflicts_restore,
	&pl_cmd_dead_letters_list,
	&pl_cmd_dead_letters_show,
	&pl_cmd_dead_letters_drop,
	&pl_cmd_broker,
	&pl_cmd_version,
	&pl_cmd_completion,
	NULL,
};
