// See operators.h.
//
// The kernel says who a peer is (SO_PEERCRED), so there is nothing to steal or to guess.
// Names are looked up at each command: they are few, and a group may have changed.
#include "ops/operators.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define LOOKUP_BYTES 16384

static bool is_number(const char *text, unsigned long *number_r)
{
	char *end;

	*number_r = strtoul(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

static bool is_user(const char *name, uid_t uid)
{
	char bytes[LOOKUP_BYTES];
	struct passwd user, *found = NULL;
	unsigned long number;

	if (is_number(name, &number))
		return number == uid;
	return getpwnam_r(name, &user, bytes, sizeof(bytes), &found) == 0 && found && user.pw_uid == uid;
}

static bool in_group(const char *name, const struct pl_control_peer *peer)
{
	char bytes[LOOKUP_BYTES];
	struct group group, *found = NULL;
	unsigned long number;

	if (!is_number(name, &number)) {
		if (getgrnam_r(name, &group, bytes, sizeof(bytes), &found) != 0 || !found)
			return false;
		number = group.gr_gid;
	}
	if (number == peer->gid)
		return true;
	for (int i = 0; i < peer->ngroups; i++)
		if (number == peer->groups[i])
			return true;
	return false;
}

static bool is_listed(const char *const *list, int n, const struct pl_control_peer *peer)
{
	for (int i = 0; i < n; i++)
		if (list[i][0] == '@' ? in_group(list[i] + 1, peer) : is_user(list[i], peer->uid))
			return true;
	return false;
}

enum pl_operator_role pl_operators_role(const struct pl_config *config, const struct pl_control_peer *peer)
{
	if (!peer->known)
		return PL_OPERATOR_NONE;
	if (peer->uid == 0 || peer->uid == geteuid() ||
	    is_listed(config->control.operators, config->control.noperators, peer))
		return PL_OPERATOR_FULL;
	if (is_listed(config->control.viewers, config->control.nviewers, peer))
		return PL_OPERATOR_VIEWER;
	return PL_OPERATOR_NONE;
}

void pl_operators_audit(const struct pl_control_peer *peer, const char *way, const char *what,
                        const char *failure)
{
	char bytes[LOOKUP_BYTES];
	struct passwd user, *found = NULL;
	const char *name = "unknown user";

	if (peer->known && getpwuid_r(peer->uid, &user, bytes, sizeof(bytes), &found) == 0 && found)
		name = user.pw_name;
	pl_log(failure ? PL_LOG_WARNING : PL_LOG_NOTICE, "audit: %s (uid %ld, pid %ld) %s: %s: %s%s", name,
	       peer->known ? (long)peer->uid : -1, peer->known ? (long)peer->pid : -1, way, what,
	       failure ? "failed: " : "done", failure ? failure : "");
}
