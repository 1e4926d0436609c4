// base/faults: losses are counted, and recent for ten minutes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/faults.h"

static void a_loss_is_counted_and_recent_for_ten_minutes(void **state)
{
	int64_t now_us = pl_mono_us();
	bool recent = true;

	(void)state;
	assert_int_equal(pl_faults_losses(PL_LOSS_POLICY, now_us, &recent), 0);
	assert_false(recent);
	pl_faults_lost(PL_LOSS_POLICY);
	pl_faults_lost(PL_LOSS_POLICY);
	assert_int_equal(pl_faults_losses(PL_LOSS_POLICY, pl_mono_us(), &recent), 2);
	assert_true(recent);
	assert_int_equal(pl_faults_losses(PL_LOSS_POLICY, now_us + PL_FAULTS_RECENT_US - 1, &recent), 2);
	assert_true(recent);
	assert_int_equal(pl_faults_losses(PL_LOSS_POLICY, pl_mono_us() + PL_FAULTS_RECENT_US, &recent), 2);
	assert_false(recent);
	assert_int_equal(pl_faults_losses(PL_LOSS_HEARTBEAT, pl_mono_us(), &recent), 0);
	assert_false(recent);
}

static void a_risk_lasts_until_it_is_taken_back(void **state)
{
	(void)state;
	assert_false(pl_faults_risk(PL_RISK_SUPERUSER));
	pl_faults_set_risk(PL_RISK_SUPERUSER, true);
	assert_true(pl_faults_risk(PL_RISK_SUPERUSER));
	assert_false(pl_faults_risk(PL_RISK_CORE_DUMPS));
	pl_faults_set_risk(PL_RISK_SUPERUSER, false);
	assert_false(pl_faults_risk(PL_RISK_SUPERUSER));
}

static void each_kind_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < PL_LOSSES; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(pl_faults_loss_name((enum pl_fault_loss)i),
			                        pl_faults_loss_name((enum pl_fault_loss)j));
	for (int i = 0; i < PL_RISKS; i++)
		assert_true(strlen(pl_faults_risk_name((enum pl_fault_risk)i)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loss_is_counted_and_recent_for_ten_minutes),
		cmocka_unit_test(a_risk_lasts_until_it_is_taken_back),
		cmocka_unit_test(each_kind_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
