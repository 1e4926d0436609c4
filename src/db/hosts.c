// The servers of a connection string: see hosts.h.
//
// Threads: any; the list of silent hosts has a lock.
#include "db/hosts.h"

#include <libpq-fe.h>
#include <netdb.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define SILENT_MAX 16
#define SILENT_US  (30 * INT64_C(1000000)) // then a silent host gets its old place in the order back

static struct {
	pthread_mutex_t lock;
	struct {
		char name[256];
		int64_t until_us;
	} each[SILENT_MAX];
} silent = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *option(const PQconninfoOption *options, const char *keyword)
{
	for (; options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options->val ? options->val : "";
	return "";
}

static int count(const char *list)
{
	int n = 1;

	for (; *list; list++)
		n += *list == ',';
	return n;
}

static char *element(const char *list, int i)
{
	while (i-- > 0)
		list = strchr(list, ',') + 1;
	return strndup(list, strcspn(list, ","));
}

// libpq combines the string with the service file and the environment only while
// connecting; an invalid value makes it stop there.
static PQconninfoOption *options_of(const char *dsn)
{
	const char *keys[] = { "dbname", "sslmode", NULL }, *values[] = { dsn, "none of them", NULL };
	PGconn *pg = PQconnectStartParams(keys, values, 1);
	PQconninfoOption *options = pg ? PQconninfo(pg) : NULL;

	PQfinish(pg);
	return options;
}

void pl_hosts_read(struct pl_hosts *hosts, const char *dsn)
{
	PQconninfoOption *options = options_of(dsn);
	const char *names, *addresses, *ports;
	int n, nports;

	memset(hosts, 0, sizeof(*hosts));
	if (!options)
		return;
	names = option(options, "host");
	addresses = option(options, "hostaddr");
	ports = option(options, "port");
	n = *addresses ? count(addresses) : count(names);
	nports = count(ports);
	hosts->prefer_standby = strcmp(option(options, "target_session_attrs"), "prefer-standby") == 0;
	if ((!*addresses || !*names || count(names) == n) && (nports == 1 || nports == n) &&
	    n <= PL_HOSTS_MAX)
		for (; hosts->n < n; hosts->n++)
			hosts->each[hosts->n] =
				(struct pl_host){ *names ? element(names, hosts->n) : pl_strdup(""),
				                  *addresses ? element(addresses, hosts->n) : pl_strdup(""),
				                  element(ports, nports == 1 ? 0 : hosts->n) };
	PQconninfoFree(options);
}

void pl_hosts_free(struct pl_hosts *hosts)
{
	for (int i = 0; i < hosts->n; i++) {
		free(hosts->each[i].host);
		free(hosts->each[i].address);
		free(hosts->each[i].port);
	}
	hosts->n = 0;
}

int pl_hosts_resolve(const struct pl_host *host, char addresses_r[][64], int max, struct pl_error *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found = NULL;
	int failed, n = 0;

	addresses_r[0][0] = '\0';
	if (host->address[0] || !host->host[0] || host->host[0] == '/' || host->host[0] == '@')
		return 1;
	failed = getaddrinfo(host->host, NULL, &hints, &found);
	if (failed) {
		pl_error_set(err, PL_EUNAVAIL, "the name of a database host has no address: %s",
		             gai_strerror(failed));
		return 0;
	}
	for (const struct addrinfo *a = found; a && n < max; a = a->ai_next)
		n += getnameinfo(a->ai_addr, a->ai_addrlen, addresses_r[n], 64, NULL, 0, NI_NUMERICHOST) == 0;
	freeaddrinfo(found);
	if (n == 0)
		pl_error_set(err, PL_EUNAVAIL, "the name of a database host has no address");
	return n;
}

// ---- silent hosts

static void name_of(const struct pl_host *host, char name[256])
{
	snprintf(name, 256, "%s %s %s", host->host, host->address, host->port);
}

static bool is_silent(const char *name)
{
	for (int i = 0; i < SILENT_MAX; i++)
		if (silent.each[i].until_us > pl_mono_us() && strcmp(silent.each[i].name, name) == 0)
			return true;
	return false;
}

void pl_hosts_note(const struct pl_host *host, bool is)
{
	char name[256];
	int at = 0;

	name_of(host, name);
	pthread_mutex_lock(&silent.lock);
	for (int i = 0; i < SILENT_MAX; i++) {
		if (strcmp(silent.each[i].name, name) == 0) {
			at = i;
			break;
		}
		if (silent.each[i].until_us < silent.each[at].until_us)
			at = i;
	}
	if (is || strcmp(silent.each[at].name, name) == 0) {
		memcpy(silent.each[at].name, name, sizeof(name));
		silent.each[at].until_us = is ? pl_mono_us() + SILENT_US : 0;
	}
	pthread_mutex_unlock(&silent.lock);
}

void pl_hosts_order(struct pl_hosts *hosts)
{
	struct pl_host ordered[PL_HOSTS_MAX];
	int n = 0;

	pthread_mutex_lock(&silent.lock);
	for (int late = 0; late < 2; late++)
		for (int i = 0; i < hosts->n; i++) {
			char name[256];

			name_of(&hosts->each[i], name);
			if (is_silent(name) == late)
				ordered[n++] = hosts->each[i];
		}
	pthread_mutex_unlock(&silent.lock);
	memcpy(hosts->each, ordered, (size_t)n * sizeof(ordered[0]));
}
