// See faults.h.
#include "base/faults.h"

#include <stdatomic.h>

#include "base/clock.h"

// The names are labels of metrics: plistd(8) lists them.
static const char *const loss_names[PL_LOSSES] = {
	[PL_LOSS_RESPONSE_HEADER] = "response_header",
	[PL_LOSS_HANDLER_ANSWER] = "handler_answer",
	[PL_LOSS_STORED_ANSWER] = "stored_answer",
	[PL_LOSS_POLICY] = "policy",
	[PL_LOSS_HEARTBEAT] = "heartbeat",
	[PL_LOSS_AUDIT_MESSAGE] = "audit_message",
	[PL_LOSS_DEAD_LETTER_COPY] = "dead_letter_copy",
	[PL_LOSS_CONSUMER] = "consumer",
	[PL_LOSS_SERVICE_MESSAGE] = "service_message",
};

static const char *const risk_names[PL_RISKS] = {
	[PL_RISK_SUPERUSER] = "superuser",
	[PL_RISK_CORE_DUMPS] = "core_dumps",
	[PL_RISK_DESCRIPTORS] = "descriptors",
};

static struct {
	_Atomic uint64_t n;
	_Atomic int64_t last_us;
} losses[PL_LOSSES];
static atomic_bool risks[PL_RISKS];

void pl_faults_lost(enum pl_fault_loss what)
{
	atomic_store(&losses[what].last_us, pl_mono_us());
	atomic_fetch_add(&losses[what].n, 1);
}

uint64_t pl_faults_losses(enum pl_fault_loss what, int64_t now_us, bool *recent_r)
{
	uint64_t n = atomic_load(&losses[what].n);

	*recent_r = n > 0 && now_us - atomic_load(&losses[what].last_us) < PL_FAULTS_RECENT_US;
	return n;
}

const char *pl_faults_loss_name(enum pl_fault_loss what)
{
	return loss_names[what];
}

void pl_faults_set_risk(enum pl_fault_risk what, bool is)
{
	atomic_store(&risks[what], is);
}

bool pl_faults_risk(enum pl_fault_risk what)
{
	return atomic_load(&risks[what]);
}

const char *pl_faults_risk_name(enum pl_fault_risk what)
{
	return risk_names[what];
}
