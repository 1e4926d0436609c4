// The metrics of what would otherwise only be in the log, apart from those that belong to
// a thread and are printed with it. plist-admin status makes a sentence of each of them:
// see admin/daemon_seen.c.
//
// Part of GET /metrics: see ops/metrics.c.
// Threads: any; reads values that other threads publish.
#include "ops/metrics_private.h"

#include <sys/resource.h>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/faults.h"
#include "base/log.h"
#include "heal/heal.h"
#include "integrity/integrity.h"
#include "ops/housekeep.h"
#include "ops/ops_private.h"
#include "ops/stats.h"

#define LASTING_US (30 * INT64_C(1000000))

static void print_control(struct pl_buf *buf, struct pl_daemon *daemon)
{
	int up = atomic_load(&daemon->control_up);
	if (up >= 0)
		pl_metrics_gauge(buf, "plist_control_socket_up", "Whether the daemon has its control socket.",
		                 up);
}

static void print_log(struct pl_buf *buf)
{
	bool incomplete;
	unsigned long long dropped = pl_log_dropped(pl_mono_us(), &incomplete);
	pl_metrics_counter(buf, "plist_log_lines_dropped_total",
	                   "Lines of the log that could not be written.", dropped);
	pl_metrics_gauge(buf, "plist_log_incomplete",
	                 "Whether lines of the log are being lost, or were in the last ten minutes.",
	                 incomplete);
}

static void print_losses(struct pl_buf *buf)
{
	int64_t now_us = pl_mono_us();
	bool recent[PL_LOSSES];
	pl_metrics_family(buf, "plist_losses_total", "counter",
	                  "What was not sent, not kept or not understood, by kind.");
	for (int i = 0; i < PL_LOSSES; i++)
		pl_metrics_labelled(buf, "plist_losses_total", "kind",
		                    pl_faults_loss_name((enum pl_fault_loss)i),
		                    (double)pl_faults_losses((enum pl_fault_loss)i, now_us, &recent[i]));
	pl_metrics_family(buf, "plist_loss_recent", "gauge",
	                  "Whether that has happened in the last ten minutes.");
	for (int i = 0; i < PL_LOSSES; i++)
		pl_metrics_labelled(buf, "plist_loss_recent", "kind",
		                    pl_faults_loss_name((enum pl_fault_loss)i), recent[i]);
}

static void print_risks(struct pl_buf *buf)
{
	pl_metrics_family(buf, "plist_risk", "gauge", "Whether the process runs with a risk, by kind.");
	for (int i = 0; i < PL_RISKS; i++)
		pl_metrics_labelled(buf, "plist_risk", "kind", pl_faults_risk_name((enum pl_fault_risk)i),
		                    pl_faults_risk((enum pl_fault_risk)i));
}

// Not a lock that is held for a moment, or a server that restarts.
static double lasting_s(int64_t us)
{
	return us >= LASTING_US ? (double)us / 1e6 : 0;
}

static void print_failing(struct pl_buf *buf, struct pl_daemon *daemon)
{
	static const char name[] = "plist_background_failing_seconds";
	struct pl_housekeep_stats housekeep;
	struct pl_integrity_stats integrity;
	struct pl_audit_stats audit;
	struct pl_heal_stats heal;
	pl_housekeep_stats(daemon->housekeep, &housekeep);
	pl_integrity_stats(daemon->integrity, &integrity);
	pl_audit_stats(daemon->audit, &audit);
	pl_heal_stats(daemon->heal, &heal);
	pl_metrics_family(buf, name, "gauge",
	                  "For how long the database has refused all that a thread asks; 0: it does not.");
	pl_metrics_labelled(buf, name, "thread", "housekeeping", lasting_s(housekeep.failing_us));
	pl_metrics_labelled(buf, name, "thread", "integrity", lasting_s(integrity.failing_us));
	pl_metrics_labelled(buf, name, "thread", "audit", lasting_s(audit.failing_us));
	pl_metrics_labelled(buf, name, "thread", "heal", lasting_s(heal.failing_us));
}

static void print_descriptors(struct pl_buf *buf)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		pl_metrics_gauge(buf, "process_max_fds", "Most open file descriptors.",
		                 (double)limit.rlim_cur);
}

void pl_metrics_faults(struct pl_buf *buf, struct pl_daemon *daemon)
{
	print_losses(buf);
	print_failing(buf, daemon);
	pl_metrics_gauge(buf, "plist_workers_silent_seconds",
	                 "Time since the worker that has been idle longest did something.",
	                 (double)pl_stats_age_us(daemon->stats) / 1e6);
	print_log(buf);
	print_control(buf, daemon);
	print_risks(buf);
	print_descriptors(buf);
}
