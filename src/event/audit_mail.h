// The letter box of a daemon's audit: what it says to other regions until the relay sends
// it, and what they say to it until it reads that.
//
// Bounded: a message that finds its side full is dropped, counted and logged, and the
// region that waits for it asks again. Threads: any.
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "event/sequence.h"

#define PL_AUDIT_MAIL_MAX 16 // messages on each side

struct pl_audit_mail;

struct pl_audit_mail *pl_audit_mail_new(void);
void pl_audit_mail_free(struct pl_audit_mail **mail_p);

// Only the daemon that publishes for its region reads what arrives; others leave the box
// closed, and nothing is kept there.
void pl_audit_mail_open(struct pl_audit_mail *mail, bool open);

// To another region.
void pl_audit_mail_send(struct pl_audit_mail *mail, const char *to, const struct pl_buf *text);
// The next one to be sent, into `text`, which is emptied before. False: there is none.
bool pl_audit_mail_sent(struct pl_audit_mail *mail, char to_r[PL_REGION_MAX + 1], struct pl_buf *text);

// From another region; and the next one to be read.
void pl_audit_mail_arrive(struct pl_audit_mail *mail, const void *text, size_t len);
bool pl_audit_mail_read(struct pl_audit_mail *mail, struct pl_buf *text);
// Readable when something may have arrived.
int pl_audit_mail_fd(const struct pl_audit_mail *mail);

// How far this region has applied the outbox of another one, except for what Kafka has
// refused there or is parked here: the audit does not wait for such events. Forgotten
// when the database may be another one.
void pl_audit_mail_note_passed(struct pl_audit_mail *mail, const char *region,
                               const struct pl_outbox_place *place);
void pl_audit_mail_forget_passed(struct pl_audit_mail *mail);
bool pl_audit_mail_has_passed(struct pl_audit_mail *mail, const char *region,
                              const struct pl_outbox_place *place);

// Messages that were dropped, in both directions.
uint64_t pl_audit_mail_dropped(struct pl_audit_mail *mail);
