// plist-admin broker: an in-memory broker, for trials without Apache Kafka.
//
// Threads: the main one waits; librdkafka's mock cluster has its own.
#include "admin/commands.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/messages.h"
#include "kafka/dev_broker.h"

#define LISTEN "127.0.0.1:9092"

static void say_ready(void *arg, const char *address)
{
	pl_say("the embedded broker listens at %s", address);
	pl_warn("it keeps messages in memory only, at most 5 MiB or 100,000 messages per partition, and "
	        "loses them when it stops. Use it for trials and tests; run Apache Kafka for anything else");
}

// Becomes readable when the program must stop.
static int stop_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL); // before any thread is created, since threads inherit the mask
	return signalfd(-1, &set, SFD_CLOEXEC);
}

// The topics of the configuration, if there is one. A file named on the command line
// must exist; the default one need not.
static int topics_of(struct pl_invocation *invocation, struct pl_dev_broker_options *options)
{
	const char *named = getenv("PLIST_CONFIG");
	if (!pl_invocation_has(invocation, "config") && !(named && *named) &&
	    access(pl_invocation_config_file(invocation), F_OK) != 0)
		return 0;
	int rc = pl_invocation_config(invocation);
	if (rc)
		return rc;
	const struct pl_config *config = invocation->config;
	const char **topics =
		pl_arena_alloc(invocation->arena, (size_t)(config->nresources + 2) * sizeof(*topics));
	int n = 0;
	for (int i = 0; i < config->nresources; i++) {
		bool seen = false;
		for (int j = 0; j < n; j++)
			seen |= strcmp(topics[j], config->resources[i].topic) == 0;
		if (!seen)
			topics[n++] = config->resources[i].topic;
	}
	options->topics = topics;
	options->partitions = config->kafka.partitions;
	return 0;
}

static int broker(struct pl_invocation *invocation)
{
	struct pl_dev_broker_options options = { .listen = pl_invocation_text(invocation, "listen", LISTEN),
		                                 .partitions = 1,
		                                 .ready = say_ready };
	struct pl_error err;
	int rc = topics_of(invocation, &options);
	int stop_fd = rc ? -1 : stop_signals();
	if (rc)
		return rc;
	if (stop_fd < 0) {
		pl_fail("signals: %s", strerror(errno));
		return PL_EXIT_UNREACHABLE;
	}
	if (pl_dev_broker_run(&options, stop_fd, &err)) {
		pl_fail("the broker cannot start: %s", err.text);
		rc = PL_EXIT_UNREACHABLE;
	} else {
		pl_say("the embedded broker has stopped; all its messages are gone");
	}
	close(stop_fd);
	return rc;
}

static const struct pl_option broker_options[] = {
	{ "listen", 'l', PL_OPTION_TEXT, "HOST:PORT", "the address to listen on (default: " LISTEN ")" },
	{ NULL },
};

const struct pl_command pl_cmd_broker = {
	.noun = "broker",
	.summary = "run an in-memory broker for trials and tests",
	.help = "Runs a broker that speaks the Kafka protocol and keeps everything in memory: messages are "
		"lost when it stops. It is meant for tests, and for trials where Apache Kafka is not "
		"available. The "
		"topics of the configuration, if there is one, exist from the start; others are created at "
		"first "
		"use. SIGINT and SIGTERM stop it.",
	.options = broker_options,
	.run = broker,
};
