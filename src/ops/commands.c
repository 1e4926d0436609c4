// The commands of the control socket: a table of them, above everything that they call.
//
// Threads: the commands run in the thread of the control socket.
#include "ops/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/apply.h"
#include "base/log.h"
#include "ops/activate.h"
#include "ops/builtin.h"
#include "ops/members.h"
#include "ops/operators.h"
#include "ops/ops_private.h"
#include "ops/reload.h"

static int run_status(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                      struct pl_error *err)
{
	(void)request, (void)err;
	pl_status_print(members, daemon);
	return 0;
}

static int run_policies(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                        struct pl_error *err)
{
	(void)request, (void)err;
	pl_status_policies(members, daemon);
	return 0;
}

static int run_reload(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                      struct pl_error *err)
{
	(void)request;
	return pl_reload_file(daemon, members, err);
}

static int run_log_level(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                         struct pl_error *err)
{
	static const char *const names[] = { "debug", "info", "notice", "warning", "error" };
	const char *level = pl_json_string(request, "level");
	for (int i = 0; level && i < 5; i++)
		if (strcmp(level, names[i]) == 0) {
			struct pl_config *config = pl_daemon_config(daemon);
			pl_log_init((enum pl_log_level)i, config->log.format);
			pl_config_unref(&config);
			pl_notice("control: the log level is %s until the next reload", level);
			pl_members_add_text(members, "level", level);
			return 0;
		}
	return pl_error_set(err, PL_EINVAL, "level must be debug, info, notice, warning or error");
}

static int run_lag(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                   struct pl_error *err)
{
	(void)request, (void)err;
	struct pl_lag *lag = pl_calloc(1, sizeof(*lag)); // large
	pl_apply_lag(daemon->apply, lag);
	pl_buf_adds(members, ",\"lag\":");
	pl_lag_print(members, lag);
	free(lag);
	return 0;
}

static int run_metrics(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
                       struct pl_error *err)
{
	(void)request, (void)err;
	struct pl_buf text = { 0 };
	pl_metrics_print(&text, daemon);
	pl_members_add_text(members, "text", text.data);
	pl_buf_fini(&text);
	return 0;
}

static const struct command {
	const char *name;
	enum pl_operator_role role; // that it needs
	int (*run)(struct pl_daemon *daemon, const cJSON *request, struct pl_buf *members,
	           struct pl_error *err);
} commands[] = {
	{ "status", PL_OPERATOR_VIEWER, run_status },
	{ "lag", PL_OPERATOR_VIEWER, run_lag },
	{ "metrics", PL_OPERATOR_VIEWER, run_metrics },
	{ "policies", PL_OPERATOR_VIEWER, run_policies },
	{ "reload", PL_OPERATOR_FULL, run_reload },
	{ "activate", PL_OPERATOR_FULL, pl_activate_policy },
	{ "log-level", PL_OPERATOR_FULL, run_log_level },
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static int refuse(const char *name, struct pl_error *err)
{
	char names[256] = "";
	for (size_t i = 0; i < NCOMMANDS; i++) {
		strncat(names, i ? ", " : "", sizeof(names) - strlen(names) - 1);
		strncat(names, commands[i].name, sizeof(names) - strlen(names) - 1);
	}
	if (!name)
		return pl_error_set(err, PL_EINVAL, "\"command\" is missing; the commands are %s", names);
	return pl_error_set(err, PL_EINVAL, "there is no command \"%.60s\"; the commands are %s", name,
	                    names);
}

static enum pl_operator_role role_of(struct pl_daemon *daemon, const struct pl_control_peer *peer)
{
	struct pl_config *config = pl_daemon_config(daemon);
	enum pl_operator_role role = pl_operators_role(config, peer);
	pl_config_unref(&config);
	return role;
}

// The command with what it is about: "activate properties policies/x.lua". What a client
// has sent is cut, and the log escapes it.
static const char *describe(const struct command *command, const cJSON *request, char *text, size_t size)
{
	static const char *const members[] = { "resource", "path", "level" };
	int used = snprintf(text, size, "%s", command->name);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		const char *value = pl_json_string(request, members[i]);
		if (value)
			used += snprintf(text + used, size - (size_t)used, " %.60s", value);
	}
	return text;
}

// A viewer who only looks leaves no line; a user who changes something, or may not, does.
// But those who may not do anything must not fill the log either.
static int run(struct pl_daemon *daemon, const struct command *command, const cJSON *request,
               const struct pl_control_peer *peer, struct pl_buf *members, struct pl_error *err)
{
	static const char way[] = "over the control socket";
	static struct pl_log_burst refusals;
	char what[256];
	enum pl_operator_role role = role_of(daemon, peer);
	describe(command, request, what, sizeof(what));
	if (role < command->role) {
		if (pl_log_burst_ok(&refusals))
			pl_operators_audit(peer, way, what, "not allowed");
		return pl_error_set(err, PL_EINVAL, "this user may not use the command \"%s\": %s",
		                    command->name,
		                    command->role == PL_OPERATOR_VIEWER
		                            ? "control.viewers and control.operators do not list it"
		                            : "control.operators does not list it");
	}
	int code = command->run(daemon, request, members, err);
	if (command->role == PL_OPERATOR_FULL)
		pl_operators_audit(peer, way, what, code ? err->text : NULL);
	return code;
}

static int answer(const cJSON *request, const struct pl_control_peer *peer, struct pl_buf *members,
                  struct pl_error *err, void *arg)
{
	const char *name = pl_json_string(request, "command");
	for (size_t i = 0; name && i < NCOMMANDS; i++)
		if (strcmp(name, commands[i].name) == 0)
			return run(arg, &commands[i], request, peer, members, err);
	return refuse(name, err);
}

struct pl_control *pl_commands_listen(struct pl_daemon *daemon)
{
	struct pl_error err;
	struct pl_config *config = pl_daemon_config(daemon);
	const struct pl_region *region = pl_config_region(config, daemon->region, strlen(daemon->region));
	struct pl_control *control = NULL;
	if (region->control_socket) {
		// If the YAML lists other users, each of them may connect: `run` decides.
		bool others = config->control.noperators + config->control.nviewers > 0;
		control =
			pl_control_start(region->control_socket, others ? 0666 : 0600, answer, daemon, &err);
		atomic_store(&daemon->control_up, control != NULL);
		if (!control)
			pl_warning(
				"control: cannot listen: %s; plist-admin cannot send commands to this daemon",
				err.text);
	}
	pl_config_unref(&config);
	return control;
}
