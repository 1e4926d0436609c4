// Messages of the audit to other regions, on the topic of the heartbeats. One that is
// lost is asked for again (audit/audit_talk). Threads: the relay's, except for
// pl_relay_set_mail.
#include "event/audit_message.h"
#include "relay/relay_private.h"

void pl_relay_set_mail(struct pl_relay *relay, struct pl_audit_mail *mail)
{
	atomic_store(&relay->mail, mail);
}

void pl_relay_send_mail(struct pl_relay *relay)
{
	struct pl_audit_mail *mail = atomic_load(&relay->mail);
	char to[PL_REGION_MAX + 1];
	struct pl_buf text = { 0 };
	struct pl_error err = { 0 };

	if (!mail || !relay->topics_ready)
		return;
	while (pl_audit_mail_sent(mail, to, &text)) {
		struct pl_outgoing_message message = { .key = relay->region->name,
			                               .key_len = strlen(relay->region->name),
			                               .value = text.data,
			                               .value_len = text.len,
			                               .partition = -1,
			                               .nheaders = 1 };

		message.headers[0] = (struct pl_message_header){ PL_AUDIT_HEADER, to, strlen(to) };
		if (pl_producer_send(relay->producer, relay->config->kafka.heartbeat_topic, &message,
		                     PL_RELAY_POSITION_TAG, &err) < 0)
			pl_debug("relay: a message to region %s was not sent: %s", to, err.text);
	}
	pl_buf_fini(&text);
}
