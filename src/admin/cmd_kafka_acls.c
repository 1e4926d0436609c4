// plist-admin kafka acls: the rights at the broker that each region's daemon needs, and
// no others, as commands of kafka-acls.sh.
//
// Nothing is sent to the broker: the person who may change its rights is
// rarely the one who operates plist.
#include "admin/commands.h"

#include <stdio.h>
#include <string.h>

#include "admin/messages.h"

#define PLACE     "{region}" // in a principal
#define PRINCIPAL "User:plist-" PLACE

// In single quotes for the shell.
static void add_quoted(struct pl_buf *out, const char *text, int len)
{
	pl_buf_addc(out, '\'');
	for (int i = 0; i < len; i++)
		if (text[i] == '\'')
			pl_buf_adds(out, "'\\''");
		else
			pl_buf_addc(out, text[i]);
	pl_buf_addc(out, '\'');
}

// `pattern` with the region in its place, quoted.
static void add_principal(struct pl_buf *out, const char *pattern, const char *region)
{
	struct pl_buf name = { 0 };
	for (const char *at; (at = strstr(pattern, PLACE)); pattern = at + strlen(PLACE))
		pl_buf_printf(&name, "%.*s%s", (int)(at - pattern), pattern, region);
	pl_buf_adds(&name, pattern);
	add_quoted(out, name.data, (int)name.len);
	pl_buf_fini(&name);
}

struct acls {
	struct pl_buf *out;
	const struct pl_config *config;
	const char *principal, *client_config, *region;
};

// One command up to its resources: `operations` is a list of options.
static void begin(const struct acls *acls, const char *why, const char *operations)
{
	struct pl_buf *out = acls->out;
	const char *brokers = acls->config->kafka.brokers;
	pl_buf_printf(out, "\n# %s\nkafka-acls.sh --bootstrap-server ", why);
	add_quoted(out, brokers, (int)strlen(brokers));
	if (acls->client_config) {
		pl_buf_adds(out, " --command-config ");
		add_quoted(out, acls->client_config, (int)strlen(acls->client_config));
	}
	pl_buf_adds(out, " --add \\\n  --allow-principal ");
	add_principal(out, acls->principal, acls->region);
	pl_buf_printf(out, " \\\n  %s", operations);
}

static void add_topic(struct pl_buf *out, const char *topic)
{
	pl_buf_adds(out, " \\\n  --topic ");
	add_quoted(out, topic, (int)strlen(topic));
}

// Resources may share a topic.
static bool is_first_of_topic(const struct pl_config *config, int i)
{
	for (int j = 0; j < i; j++)
		if (strcmp(config->resources[j].topic, config->resources[i].topic) == 0)
			return false;
	return true;
}

static void add_region(const struct acls *acls)
{
	const struct pl_config *config = acls->config;
	struct pl_buf *out = acls->out;
	pl_buf_printf(out, "\n# ---- region %s\n", acls->region);
	begin(acls, "Publishes its own writes, reads those of the others, checks the settings of the topics.",
	      "--operation Write --operation Read --operation Describe --operation DescribeConfigs");
	for (int i = 0; i < config->nresources; i++)
		if (is_first_of_topic(config, i))
			add_topic(out, config->resources[i].topic);
	pl_buf_addc(out, '\n');
	begin(acls, "Says that it is alive, and learns whether the others are.",
	      "--operation Write --operation Read --operation Describe");
	add_topic(out, config->kafka.heartbeat_topic);
	pl_buf_addc(out, '\n');
	if (config->kafka.dead_letter_topic) {
		begin(acls, "Copies dead letters; it never reads them there.",
		      "--operation Write --operation Describe");
		add_topic(out, config->kafka.dead_letter_topic);
		pl_buf_addc(out, '\n');
	}
	begin(acls, "Keeps its place.", "--operation Read");
	pl_buf_printf(out, " \\\n  --group '%s-%s'\n", config->kafka.group, acls->region);
}

static int kafka_acls(struct pl_invocation *invocation)
{
	struct pl_buf text = { 0 };
	int rc = pl_invocation_regions(invocation);
	if (rc)
		return rc;
	struct acls acls = { .out = &text,
		             .config = invocation->config,
		             .principal = pl_invocation_text(invocation, "principal", PRINCIPAL),
		             .client_config = pl_invocation_text(invocation, "command-config", NULL) };
	if (invocation->nregions > 1 && !strstr(acls.principal, PLACE))
		pl_warn("all regions get the principal %s; give each its own (" PLACE
		        " in --principal), so that an attacker in one region cannot read as another",
		        acls.principal);
	pl_buf_adds(&text,
	            "# The rights that plist needs at the broker. The topics must exist: none of these\n"
	            "# principals may create one. Nobody else may have Write on them.\n");
	for (int i = 0; i < invocation->nregions; i++) {
		acls.region = invocation->regions[i]->name;
		add_region(&acls);
	}
	fwrite(text.data, 1, text.len, stdout);
	pl_buf_fini(&text);
	return PL_EXIT_YES;
}

static const struct pl_option acls_options[] = {
	{ "principal", 0, PL_OPTION_TEXT, "NAME",
	  "the principal of a region's daemon; " PLACE " stands for the region (default: " PRINCIPAL ")" },
	{ "command-config", 0, PL_OPTION_TEXT, "FILE",
	  "the file that kafka-acls.sh logs in with; it is only named in the commands" },
	{ NULL },
};

const struct pl_command pl_cmd_kafka_acls = {
	.noun = "kafka",
	.verb = "acls",
	.summary = "print the rights that the daemons need at the broker",
	.help = "Prints commands of kafka-acls.sh, which comes with Apache Kafka, that give each region's "
		"daemon the rights that it needs at the broker and no others. It does not connect to the "
		"broker.\n\n"
		"If the daemon logs in with a certificate, its principal is the subject of the "
		"certificate, as in --principal 'User:CN=plist-{region},O=Example'.",
	.options = acls_options,
	.regions = true,
	.run = kafka_acls,
};
