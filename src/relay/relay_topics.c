// The relay's checks of the topics' settings, at the start and then every ten seconds.
//
// Beside relay/relay. Queried in the background (kafka/topics). Problems are logged
// once, counted, and shown in the daemon's status. A topic that must not be used stops
// publishing until it is corrected, and events wait in the outbox. Events that were too
// large are retried as soon as a topic accepts larger ones.
// Threads: the relay's; pl_relay_topics may be called from any.
#include "relay/relay_private.h"

#define ASK_US         (10 * SECOND)
#define ASK_REFUSED_US (2 * SECOND) // an operator may be correcting it

void pl_relay_forget_topics_question(struct pl_relay *relay)
{
	pl_topics_forget(&relay->question);
	relay->ask_at_us = 0;
}

static bool was_known(const struct pl_topic_findings *findings, const char *text)
{
	for (int i = 0; i < findings->n; i++)
		if (strcmp(findings->each[i].text, text) == 0)
			return true;
	return false;
}

static void tell(const struct pl_topic_findings *before, const struct pl_topic_findings *now)
{
	for (int i = 0; i < now->n; i++) {
		const struct pl_topic_finding *finding = &now->each[i];

		if (was_known(before, finding->text))
			continue;
		if (finding->severity == PL_TOPIC_REFUSED)
			pl_err("kafka: %s; nothing is published until then", finding->text);
		else if (finding->severity == PL_TOPIC_WARNING)
			pl_warning("kafka: %s", finding->text);
		else
			pl_notice("kafka: %s", finding->text);
	}
	if (before->refused > 0 && now->refused == 0)
		pl_notice("kafka: publishing to the topics is possible again");
}

static bool one_grew(const struct pl_topic_findings *before, const struct pl_topic_findings *now)
{
	for (int i = 0; i < now->ntopics && i < before->ntopics; i++)
		if (before->limits[i] >= 0 && now->limits[i] > before->limits[i])
			return true;
	return false;
}

// A topic that was re-created has lost what nobody has read. A region reports that of the
// partitions that it reads, but nobody reads those that no longer exist.
static void notice_fewer_partitions(struct pl_relay *relay, const struct pl_topic_findings *found)
{
	for (int i = 0; i < found->ntopics; i++)
		if (found->partitions[i] > 0)
			pl_relay_has_partitions(relay, relay->config->resources[i].topic,
			                        found->partitions[i]);
}

static void put_findings(struct pl_relay *relay, const struct pl_topic_findings *found)
{
	struct pl_topic_findings before;

	relay->topics_refused = found->refused > 0;
	NOTE(relay, topic_problems, found->warnings + found->refused);
	pthread_mutex_lock(&relay->mutex);
	before = relay->findings;
	relay->findings = *found;
	pthread_mutex_unlock(&relay->mutex);
	pl_topics_findings_fini(&before);
}

void pl_relay_forget_topics(struct pl_relay *relay)
{
	pl_relay_forget_topics_question(relay);
	put_findings(relay, &(struct pl_topic_findings){ 0 });
}

void pl_relay_watch_topics(struct pl_relay *relay, int64_t now_us)
{
	struct pl_topic_findings found;

	if (!relay->leader || !relay->topics_ready)
		return;
	if (!relay->question) {
		if (now_us < relay->ask_at_us)
			return;
		relay->ask_at_us = now_us + (relay->topics_refused ? ASK_REFUSED_US : ASK_US);
		relay->question = pl_topics_ask(pl_producer_kafka(relay->producer), relay->config);
		return;
	}
	if (!pl_topics_answered(relay->question, relay->config, 0, &found))
		return;
	pl_topics_forget(&relay->question);
	tell(&relay->findings, &found);
	relay->retry_all |= one_grew(&relay->findings, &found);
	notice_fewer_partitions(relay, &found);
	put_findings(relay, &found);
}

void pl_relay_topics(struct pl_relay *relay, struct pl_buf *json, char refused_r[PL_ERROR_TEXT_MAX])
{
	refused_r[0] = '\0';
	pl_buf_addc(json, '[');
	pthread_mutex_lock(&relay->mutex);
	for (int i = 0, n = 0; i < relay->findings.n; i++) {
		const struct pl_topic_finding *finding = &relay->findings.each[i];

		if (finding->severity == PL_TOPIC_REFUSED && !refused_r[0])
			snprintf(refused_r, PL_ERROR_TEXT_MAX, "%.*s", PL_ERROR_TEXT_MAX - 1, finding->text);
		if (finding->severity == PL_TOPIC_NOTICE)
			continue;
		pl_buf_adds(json, n++ ? "," : "");
		pl_buf_add_json(json, finding->text, strlen(finding->text));
	}
	pthread_mutex_unlock(&relay->mutex);
	pl_buf_addc(json, ']');
}
