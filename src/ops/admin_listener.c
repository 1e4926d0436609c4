// The operators' listener: see admin_listener.h.
//
// The same HTTP as for clients (http/listener), with another table of paths and neither
// handlers nor a store. What it shows of the workers is their last sample (ops/stats).
// Threads: see admin_listener.h.
#include "ops/admin_listener.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "http/bind.h"
#include "http/listener.h"
#include "ops/builtin.h"
#include "ops/ops_private.h"

#define CONNECTIONS_MAX 64

struct pl_admin_listener {
	struct pl_daemon *daemon;
	pthread_t thread;
	struct pl_loop *loop;
	struct pl_listener *listener;
	struct pl_generation *generation;
};

static void on_builtin(enum pl_builtin which, const struct pl_request *request, struct pl_answer *answer,
                       void *arg)
{
	struct pl_admin_listener *admin = arg;
	pl_builtin_answer(admin->daemon, which, request, answer);
}

static int turn(void *arg)
{
	struct pl_admin_listener *admin = arg;
	int wait_ms;
	do
		wait_ms = pl_listener_turn(admin->listener);
	while (pl_listener_pending(admin->listener));
	return wait_ms;
}

static void *run(void *arg)
{
	struct pl_admin_listener *admin = arg;
	pl_log_set_thread("operators");
	pl_loop_run(admin->loop, turn, admin);
	return NULL;
}

static void admin_listener_free(struct pl_admin_listener **admin_p)
{
	struct pl_admin_listener *admin = *admin_p;
	*admin_p = NULL;
	pl_listener_free(&admin->listener);
	pl_generation_unref(&admin->generation);
	pl_loop_free(&admin->loop);
	free(admin);
}

static int listen_at(struct pl_admin_listener *admin, const char *address, struct pl_error *err)
{
	int fd = pl_bind_probe(address, err) == 0 ? pl_bind_listen(address, err) : -1;
	if (fd < 0)
		return pl_error_prefix(err, "the operators' address (admin.listen)");
	admin->listener = pl_listener_new(
		&(struct pl_listener_options){
			.loop = admin->loop,
			.fd = fd,
			.shared_fd = -1,
			.region = admin->daemon->region,
			.generation = admin->generation,
			.max_connections = CONNECTIONS_MAX,
			.own_names = true,
			.builtin = on_builtin,
			.arg = admin,
		},
		err);
	return admin->listener ? 0 : err->code;
}

struct pl_admin_listener *pl_admin_listener_start(struct pl_daemon *daemon, const char *address,
                                                  const struct pl_config *config, struct pl_error *err)
{
	struct pl_admin_listener *admin = pl_calloc(1, sizeof(*admin));
	admin->daemon = daemon;
	admin->loop = pl_loop_new();
	admin->generation = pl_generation_new_operators(config);
	int code = listen_at(admin, address, err);
	if (code == 0) {
		int failed = pthread_create(&admin->thread, NULL, run, admin);
		if (failed)
			code = pl_error_set(err, PL_EINTERNAL, "pthread_create: %s", strerror(failed));
	}
	if (code != 0)
		admin_listener_free(&admin);
	return admin;
}

struct change {
	struct pl_admin_listener *admin;
	struct pl_config *config;
};

static void take_config(void *arg)
{
	struct change *change = arg;
	struct pl_admin_listener *admin = change->admin;
	pl_generation_unref(&admin->generation);
	admin->generation = pl_generation_new_operators(change->config);
	pl_listener_set_generation(admin->listener, admin->generation);
	pl_config_unref(&change->config);
	free(change);
}

void pl_admin_listener_reconfigure(struct pl_admin_listener *admin, const struct pl_config *config)
{
	struct change *change = pl_calloc(1, sizeof(*change));
	*change = (struct change){ admin, pl_config_ref(config) };
	pl_loop_post(admin->loop, take_config, change);
}

void pl_admin_listener_stop(struct pl_admin_listener **admin_p)
{
	if (!*admin_p)
		return;
	pl_loop_stop((*admin_p)->loop);
	pthread_join((*admin_p)->thread, NULL);
	admin_listener_free(admin_p);
}
