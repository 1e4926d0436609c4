// All commands, for the table in commands.c.
#pragma once

#include "admin/command.h"

extern const struct pl_command pl_cmd_broker;
extern const struct pl_command pl_cmd_completion;
extern const struct pl_command pl_cmd_config_check, pl_cmd_config_schema, pl_cmd_config_show;
extern const struct pl_command pl_cmd_conflicts_list, pl_cmd_conflicts_show;
extern const struct pl_command pl_cmd_dead_letters_retry, pl_cmd_dead_letters_drop, pl_cmd_dead_letters_list,
	pl_cmd_dead_letters_show;
extern const struct pl_command pl_cmd_parked_list, pl_cmd_parked_show, pl_cmd_parked_retry,
	pl_cmd_parked_drop;
extern const struct pl_command pl_cmd_audit;
extern const struct pl_command pl_cmd_compare, pl_cmd_repair, pl_cmd_republish;
extern const struct pl_command pl_cmd_record_reset;
extern const struct pl_command pl_cmd_keys_add, pl_cmd_keys_list, pl_cmd_keys_revoke, pl_cmd_keys_rotate;
extern const struct pl_command pl_cmd_kafka_acls;
extern const struct pl_command pl_cmd_lag;
extern const struct pl_command pl_cmd_migrate;
extern const struct pl_command pl_cmd_nginx;
extern const struct pl_command pl_cmd_outbox_list, pl_cmd_outbox_retry;
extern const struct pl_command pl_cmd_conflicts_restore, pl_cmd_policy_replay;
extern const struct pl_command pl_cmd_policy_activate;
extern const struct pl_command pl_cmd_policy_check;
extern const struct pl_command pl_cmd_policy_list;
extern const struct pl_command pl_cmd_region_accept, pl_cmd_region_add, pl_cmd_region_drain;
extern const struct pl_command pl_cmd_region_list;
extern const struct pl_command pl_cmd_region_rebuild, pl_cmd_region_remove, pl_cmd_region_resume;
extern const struct pl_command pl_cmd_routes;
extern const struct pl_command pl_cmd_schema_diff, pl_cmd_schema_sql;
extern const struct pl_command pl_cmd_seed;
extern const struct pl_command pl_cmd_status;
extern const struct pl_command pl_cmd_version;
