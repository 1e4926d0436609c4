// What the daemons of this region know of the records: each enters its fields, with their
// types, into the database, and the heartbeat of the one that leads carries all of them.
// Threads: those of the session.
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "db/session.h"

// Enters this daemon, at most every few seconds, and appends what all daemons that were
// seen lately know: {"host:port":{…},…}. 0 or a code.
int pl_daemon_fields_beat(struct pl_session *session, const struct pl_config *config,
                          const struct pl_region *region, struct pl_buf *all, struct pl_error *err);
