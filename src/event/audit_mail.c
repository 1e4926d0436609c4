// See audit_mail.h. Two rings under one lock. Threads: any.
#include "event/audit_mail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/wake.h"

#define LOG_EVERY_US INT64_C(60000000)

struct side {
	int first, n;
	struct {
		char to[PL_REGION_MAX + 1];
		struct pl_buf text;
	} letters[PL_AUDIT_MAIL_MAX];
};

struct pl_audit_mail {
	pthread_mutex_t lock; // guards the next three
	struct side out, in;
	struct {
		char region[PL_REGION_MAX + 1];
		struct pl_outbox_place place;
	} passed[PL_REGIONS_MAX];
	struct pl_log_limit limit;
	struct pl_wake *wake;
	atomic_bool open;
	_Atomic uint64_t dropped;
};

struct pl_audit_mail *pl_audit_mail_new(void)
{
	struct pl_audit_mail *mail = pl_calloc(1, sizeof(*mail));

	pthread_mutex_init(&mail->lock, NULL);
	mail->wake = pl_wake_new();
	return mail;
}

static void empty(struct side *side)
{
	for (int i = 0; i < PL_AUDIT_MAIL_MAX; i++)
		pl_buf_fini(&side->letters[i].text);
	side->first = side->n = 0;
}

void pl_audit_mail_free(struct pl_audit_mail **mail_p)
{
	struct pl_audit_mail *mail = *mail_p;

	if (!mail)
		return;
	*mail_p = NULL;
	empty(&mail->out);
	empty(&mail->in);
	pl_wake_free(&mail->wake);
	pthread_mutex_destroy(&mail->lock);
	free(mail);
}

void pl_audit_mail_open(struct pl_audit_mail *mail, bool open)
{
	if (atomic_exchange(&mail->open, open) == open)
		return;
	pthread_mutex_lock(&mail->lock);
	empty(&mail->out);
	empty(&mail->in);
	pthread_mutex_unlock(&mail->lock);
}

static bool is_open(struct pl_audit_mail *mail)
{
	return atomic_load_explicit(&mail->open, memory_order_relaxed);
}

static void drop(struct pl_audit_mail *mail, const char *to)
{
	atomic_fetch_add(&mail->dropped, 1);
	if (pl_log_limit_ok(&mail->limit, LOG_EVERY_US))
		pl_warning("audit: dropped a message %s%s, because %d are waiting already; "
		           "it will be asked for again",
		           to[0] ? "to " : "from another region", to, PL_AUDIT_MAIL_MAX);
}

static void put(struct pl_audit_mail *mail, struct side *side, const char *to, const void *text, size_t len)
{
	int at = (side->first + side->n) % PL_AUDIT_MAIL_MAX;

	if (side->n == PL_AUDIT_MAIL_MAX) {
		drop(mail, to);
		return;
	}
	snprintf(side->letters[at].to, sizeof(side->letters[at].to), "%s", to);
	pl_buf_add(&side->letters[at].text, text, len);
	side->n++;
}

static bool take(struct side *side, char to_r[PL_REGION_MAX + 1], struct pl_buf *text)
{
	int at = side->first;

	pl_buf_reset(text);
	if (side->n == 0)
		return false;
	if (to_r)
		strcpy(to_r, side->letters[at].to);
	pl_buf_add(text, side->letters[at].text.data, side->letters[at].text.len);
	pl_buf_fini(&side->letters[at].text);
	side->first = (at + 1) % PL_AUDIT_MAIL_MAX;
	side->n--;
	return true;
}

void pl_audit_mail_send(struct pl_audit_mail *mail, const char *to, const struct pl_buf *text)
{
	pthread_mutex_lock(&mail->lock);
	put(mail, &mail->out, to, text->data, text->len);
	pthread_mutex_unlock(&mail->lock);
}

bool pl_audit_mail_sent(struct pl_audit_mail *mail, char to_r[PL_REGION_MAX + 1], struct pl_buf *text)
{
	bool any;

	pthread_mutex_lock(&mail->lock);
	any = take(&mail->out, to_r, text);
	pthread_mutex_unlock(&mail->lock);
	return any;
}

void pl_audit_mail_arrive(struct pl_audit_mail *mail, const void *text, size_t len)
{
	if (!is_open(mail))
		return;
	pthread_mutex_lock(&mail->lock);
	put(mail, &mail->in, "", text, len);
	pthread_mutex_unlock(&mail->lock);
	pl_wake_ring(mail->wake);
}

bool pl_audit_mail_read(struct pl_audit_mail *mail, struct pl_buf *text)
{
	bool any;

	pl_wake_drain(mail->wake); // before looking: what arrives later rings again
	pthread_mutex_lock(&mail->lock);
	any = take(&mail->in, NULL, text);
	if (mail->in.n > 0)
		pl_wake_ring(mail->wake);
	pthread_mutex_unlock(&mail->lock);
	return any;
}

void pl_audit_mail_note_passed(struct pl_audit_mail *mail, const char *region,
                               const struct pl_outbox_place *place)
{
	int i = 0;

	pthread_mutex_lock(&mail->lock);
	while (i < PL_REGIONS_MAX - 1 && mail->passed[i].region[0] &&
	       strcmp(mail->passed[i].region, region) != 0)
		i++;
	snprintf(mail->passed[i].region, sizeof(mail->passed[i].region), "%s", region);
	mail->passed[i].place = *place;
	pthread_mutex_unlock(&mail->lock);
}

void pl_audit_mail_forget_passed(struct pl_audit_mail *mail)
{
	pthread_mutex_lock(&mail->lock);
	memset(mail->passed, 0, sizeof(mail->passed));
	pthread_mutex_unlock(&mail->lock);
}

bool pl_audit_mail_has_passed(struct pl_audit_mail *mail, const char *region,
                              const struct pl_outbox_place *place)
{
	bool passed = false;

	pthread_mutex_lock(&mail->lock);
	for (int i = 0; i < PL_REGIONS_MAX && !passed; i++)
		passed = strcmp(mail->passed[i].region, region) == 0 &&
		         !pl_sequence_place_is_later(place, &mail->passed[i].place);
	pthread_mutex_unlock(&mail->lock);
	return passed;
}

int pl_audit_mail_fd(const struct pl_audit_mail *mail)
{
	return pl_wake_fd(mail->wake);
}

uint64_t pl_audit_mail_dropped(struct pl_audit_mail *mail)
{
	return atomic_load_explicit(&mail->dropped, memory_order_relaxed);
}
