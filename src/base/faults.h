// What went wrong and would otherwise only be in the log: counted, and shown to operators
// as metrics and by plist-admin status.
//
// A loss is something that was not sent, not kept or not understood, and that nothing
// makes good: it is counted, and is recent for ten minutes. Something that is expected to
// recover is not a loss but a state, and has its own gauge. A risk is a fact about where
// the process runs: nothing is wrong yet. One log line and one loss belong together: see
// the callers of pl_faults_lost.
// Threads: any; no lock.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// How long a loss counts as recent.
#define PL_FAULTS_RECENT_US (600 * INT64_C(1000000))

enum pl_fault_loss {
	PL_LOSS_RESPONSE_HEADER,  // left out, because it is not a valid one
	PL_LOSS_HANDLER_ANSWER,   // of a handler that failed after its write was committed
	PL_LOSS_STORED_ANSWER,    // a retry will get the default one
	PL_LOSS_POLICY,           // it failed, so the last writer won
	PL_LOSS_HEARTBEAT,        // of another region: refused
	PL_LOSS_AUDIT_MESSAGE,    // of another region: refused
	PL_LOSS_DEAD_LETTER_COPY, // to the topic of dead letters
	PL_LOSS_CONSUMER,         // it was not destroyed: its memory and its threads
	PL_LOSS_SERVICE_MESSAGE,  // to the service manager
};
#define PL_LOSSES 9

void pl_faults_lost(enum pl_fault_loss what);
// How often since the process began; *recent_r: also in the ten minutes before `now_us`
// (pl_mono_us).
uint64_t pl_faults_losses(enum pl_fault_loss what, int64_t now_us, bool *recent_r);
const char *pl_faults_loss_name(enum pl_fault_loss what);

enum pl_fault_risk {
	PL_RISK_SUPERUSER,   // the database's role is one
	PL_RISK_CORE_DUMPS,  // which have passwords and records in them
	PL_RISK_DESCRIPTORS, // fewer than all connections need
};
#define PL_RISKS 3

void pl_faults_set_risk(enum pl_fault_risk what, bool is);
bool pl_faults_risk(enum pl_fault_risk what);
const char *pl_faults_risk_name(enum pl_fault_risk what);
