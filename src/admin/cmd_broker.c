// plist-admin broker: a broker for trying plist out, where Apache Kafka is not to be had.
//
// Threads: the main one waits; librdkafka's mock cluster has its own.
#include "admin/commands.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/talk.h"
#include "replicate/embedded.h"

#define LISTEN "127.0.0.1:9092"

static void say_ready(void *arg, const char *address)
{
	pl_say("the embedded broker listens at %s", address);
	pl_warn("it keeps nothing: what was sent to it is gone when it ends, and it holds 5 MiB or 100,000 messages of a partition at most. "
	        "It is for trying plist out and for tests; run Apache Kafka for anything else");
}

// Readable when the program shall end.
static int stop_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL); // before there are threads, which inherit it
	return signalfd(-1, &set, SFD_CLOEXEC);
}

// The topics of a configuration, where there is one: only a file that was named must be there.
static int topics_of(struct pl_call *call, struct pl_embedded_options *options)
{
	const char *named = getenv("PLIST_CONFIG");
	if (!pl_call_has(call, "config") && !(named && *named) && access(pl_call_config_file(call), F_OK) != 0)
		return 0;
	int rc = pl_call_config(call);
	if (rc)
		return rc;
	const struct pl_config *config = call->config;
	const char **topics = pl_arena_alloc(call->arena, (size_t)(config->nresources + 2) * sizeof *topics);
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

static int broker(struct pl_call *call)
{
	struct pl_embedded_options options = { .listen = pl_call_text(call, "listen", LISTEN), .partitions = 1, .ready = say_ready };
	struct pl_error err;
	int rc = topics_of(call, &options);
	int stop_fd = rc ? -1 : stop_signals();
	if (rc)
		return rc;
	if (stop_fd < 0) {
		pl_fail("signals: %s", strerror(errno));
		return PL_EXIT_UNREACHABLE;
	}
	if (pl_embedded_broker_run(&options, stop_fd, &err)) {
		pl_fail("the broker cannot begin: %s", err.text);
		rc = PL_EXIT_UNREACHABLE;
	} else {
		pl_say("the embedded broker has ended, and with it all that was sent to it");
	}
	close(stop_fd);
	return rc;
}

const struct pl_command pl_cmd_broker = {
	.noun = "broker",
	.summary = "run the embedded broker, which keeps nothing",
	.help = "Runs a broker that speaks Kafka's protocol and keeps everything in memory: what was sent to it is gone when it ends. It is for "
	        "trying plist out where Apache Kafka is not to be had, and for tests. The topics of the configuration, if there is one, are there "
	        "from the beginning; others when they are first used. Ends at SIGINT and SIGTERM.",
	.options = (const struct pl_option[]){
		{ "listen", 'l', PL_OPTION_TEXT, "HOST:PORT", "where it listens (default: " LISTEN ")" },
		{ NULL },
	},
	.run = broker,
};
