// An applier of eu in the lab: see lab_applier.h.
#include "lab_applier.h"

#include <string.h>

#include "script/policy.h"

struct lab lab;
struct lab_applier eu;

void lab_applier_open(struct lab_applier *a, int region)
{
	struct pl_diagnostics diagnostics = { 0 };
	const struct pl_resource *resource = lab_properties(&lab);

	memset(a, 0, sizeof(*a));
	a->vm = pl_vm_new(lab.config, PL_CONTEXT_POLICY, &diagnostics);
	for (int i = 0; i < diagnostics.n; i++)
		print_message("%s\n", diagnostics.lines[i].text);
	pl_diagnostics_fini(&diagnostics);
	assert_non_null(a->vm);
	a->policies[0] = a->policies[1] = pl_policy_find(a->vm, resource->policy);
	assert_non_null(a->policies[0]);
	a->tools = (struct pl_apply_tools){ .config = lab.config,
		                            .region = lab_region(&lab, region),
		                            .sql = pl_apply_rows_new(lab.config),
		                            .policies = a->policies,
		                            .shadows = a->shadows };
	a->tools.session =
		lab_session(&lab, region,
	                    (struct pl_session_options){ .application_name = "test apply",
	                                                 .lock_timeout_us = 3000000,
	                                                 .setup = pl_apply_rows_setup(a->tools.sql) });
	a->batch = pl_apply_batch_new();
}

void lab_applier_close(struct lab_applier *a)
{
	pl_apply_batch_free(&a->batch);
	pl_session_free(&a->tools.session);
	pl_apply_rows_free(&a->tools.sql);
	pl_vm_free(&a->vm);
}

int lab_applier_start(void **state)
{
	lab_start(&lab, &(struct lab_options){ .regions = 2, .policy = "highest_price" });
	return 0;
}

int lab_applier_stop(void **state)
{
	lab_stop(&lab);
	return 0;
}

int lab_applier_setup(void **state)
{
	lab_empty(&lab);
	lab_applier_open(&eu, 1);
	return 0;
}

// A test that has failed may have left a transaction open, for which the next one would
// wait.
int lab_applier_teardown(void **state)
{
	lab_applier_close(&eu);
	lab_ask(&lab, 1,
	        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in "
	        "transaction%%' AND pid <> pg_backend_pid()");
	return 0;
}

void lab_apply_messages(const struct pl_message *messages, int n)
{
	struct pl_error err = { 0 };

	pl_apply_batch_forget(eu.batch);
	pl_apply_batch_read(eu.batch, &eu.tools, messages, n);
	if (pl_apply_batch_check_own(eu.batch, &eu.tools, &eu.counts, &err) < 0 ||
	    pl_apply_batch_write(eu.batch, &eu.tools, &eu.counts, &err) < 0)
		fail_msg("%s", err.text);
}

void lab_apply(const struct lab_write *writes, int n)
{
	struct pl_message messages[64];

	for (int i = 0; i < n; i++)
		messages[i] = lab_message(&lab, &writes[i]);
	lab_apply_messages(messages, n);
}

void lab_retry(int expected)
{
	struct pl_error err = { 0 };
	struct pl_retry retry = { 0 };

	lab_ask(&lab, 1, "UPDATE parked_events SET retry_at = now()");
	if (pl_apply_batch_retry(eu.batch, &eu.tools, PL_KEPT_PARKED, &eu.counts, &retry, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(retry.tried, expected);
}

struct pl_message lab_one(int64_t id, const char *price)
{
	return lab_message(
		&lab,
		&(struct lab_write){
			.origin = "us", .vector = "{\"us\":1}", .id = id, .price = price, .create = true });
}
