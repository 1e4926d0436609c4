// What a user of this machine may do over the control socket.
#include "ops/operators.h"

#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define STRANGER 54321

static enum pl_operator_role role(const struct pl_control_peer *peer, const char *operator,
                                  const char * viewer)
{
	const char *operators[] = { "@no-such-group", operator}, *viewers[] = { "no-such-user", viewer };
	struct pl_config config = { .control = { .noperators = operator? 2 : 0,
		                                 .operators = operators,
		                                 .nviewers = viewer ? 2 : 0,
		                                 .viewers = viewers } };

	return pl_operators_role(&config, peer);
}

static void root_and_the_user_of_the_daemon_may_do_everything(void **state)
{
	assert_int_equal(role(&(struct pl_control_peer){ .known = true, .uid = 0 }, NULL, NULL),
	                 PL_OPERATOR_FULL);
	assert_int_equal(role(&(struct pl_control_peer){ .known = true, .uid = geteuid() }, NULL, NULL),
	                 PL_OPERATOR_FULL);
	assert_int_equal(role(&(struct pl_control_peer){ .known = false, .uid = 0 }, NULL, NULL),
	                 PL_OPERATOR_NONE);
}

static void others_may_do_what_the_lists_say(void **state)
{
	struct pl_control_peer peer = { .known = true, .uid = STRANGER, .gid = STRANGER, .ngroups = 0 };
	struct passwd *nobody = getpwnam("nobody");

	assert_int_equal(role(&peer, NULL, NULL), PL_OPERATOR_NONE);
	assert_int_equal(role(&peer, "54321", NULL), PL_OPERATOR_FULL);
	assert_int_equal(role(&peer, NULL, "54321"), PL_OPERATOR_VIEWER);
	assert_int_equal(role(&peer, "54321", "54321"), PL_OPERATOR_FULL);
	assert_int_equal(role(&peer, "nobody", "5432"), PL_OPERATOR_NONE);
	assert_non_null(nobody);
	peer.uid = nobody->pw_uid;
	assert_int_equal(role(&peer, "nobody", NULL), PL_OPERATOR_FULL);
}

static void groups_count_the_main_one_and_all_others(void **state)
{
	struct group *daemon = getgrnam("daemon");
	assert_non_null(daemon);
	struct pl_control_peer main_group = { .known = true, .uid = STRANGER, .gid = daemon->gr_gid };
	gid_t groups[] = { STRANGER, daemon->gr_gid };
	struct pl_control_peer other = {
		.known = true, .uid = STRANGER, .gid = STRANGER, .ngroups = 2, .groups = groups
	};

	assert_int_equal(role(&main_group, NULL, "@daemon"), PL_OPERATOR_VIEWER);
	assert_int_equal(role(&other, "@daemon", NULL), PL_OPERATOR_FULL);
	assert_int_equal(role(&other, "daemon", NULL), PL_OPERATOR_NONE); // the user of that name
	other.ngroups = 1;
	assert_int_equal(role(&other, "@daemon", NULL), PL_OPERATOR_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_and_the_user_of_the_daemon_may_do_everything),
		cmocka_unit_test(others_may_do_what_the_lists_say),
		cmocka_unit_test(groups_count_the_main_one_and_all_others),
	};
	return cmocka_run_group_tests_name("operators", tests, NULL, NULL);
}
