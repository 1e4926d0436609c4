// Connection strings: see dsn.h.
//
// Used by config/load_check, by config/diff and ops/reload, which distinguish a new
// password from a new database, and by db/dial, which reads the file of a string again.
// Threads: any.
#include "config/dsn.h"

#include <libpq-fe.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define FILE_MAX 8192

// Parameters that may change while a daemon runs: each new connection uses the current
// ones.
static bool is_proof(const char *keyword)
{
	static const char *const keywords[] = { "password",
		                                "passfile",
		                                "sslcert",
		                                "sslkey",
		                                "sslpassword",
		                                "sslcrl",
		                                "sslrootcert",
		                                "connect_timeout",
		                                "keepalives",
		                                "keepalives_idle",
		                                "keepalives_interval",
		                                "keepalives_count",
		                                "tcp_user_timeout" };

	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (strcmp(keyword, keywords[i]) == 0)
			return true;
	return false;
}

static bool same_option(const PQconninfoOption *a, const PQconninfoOption *b)
{
	return is_proof(a->keyword) || strcmp(a->val ? a->val : "", b->val ? b->val : "") == 0;
}

bool pl_dsn_same_place(const char *a, const char *b)
{
	PQconninfoOption *x = PQconninfoParse(a, NULL), *y = PQconninfoParse(b, NULL);
	bool same = x && y;

	for (int i = 0; same && x[i].keyword; i++) // both list the same keywords
		same = same_option(&x[i], &y[i]);
	PQconninfoFree(x);
	PQconninfoFree(y);
	return same;
}

// The value of an option, else of the environment variable that libpq would use.
static const char *value_of(const PQconninfoOption *options, const char *keyword, const char *variable)
{
	const char *value = NULL;

	for (; options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			value = options->val;
	if (!value || !*value)
		value = getenv(variable);
	return value ? value : "";
}

bool pl_dsn_has_password(const char *dsn)
{
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);
	bool found = false;

	for (const PQconninfoOption *o = options; o && o->keyword; o++)
		found |= (strcmp(o->keyword, "password") == 0 || strcmp(o->keyword, "sslpassword") == 0) &&
		         o->val && *o->val;
	PQconninfoFree(options);
	return found;
}

static bool is_here(const char *host)
{
	return host[0] == '\0' || host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0 ||
	       strcmp(host, "::1") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.")] == '\0');
}

bool pl_dsn_is_unverified(const char *dsn, char *host, size_t size)
{
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);
	bool unverified = false;

	if (!options)
		return false;
	const char *address = value_of(options, "hostaddr", "PGHOSTADDR");
	const char *list = *address ? address : value_of(options, "host", "PGHOST");
	bool verified = strcmp(value_of(options, "sslmode", "PGSSLMODE"), "verify-full") == 0;
	for (const char *p = list; !verified && !unverified && *p;) {
		size_t len = strcspn(p, ",");
		snprintf(host, size, "%.*s", (int)len, p);
		unverified = !is_here(host);
		p += len + (p[len] == ',');
	}
	PQconninfoFree(options);
	return unverified;
}

// ---- what libpq would refuse when it connects

static bool is_number(const char *text, size_t len, long least, long most)
{
	long n = 0;

	for (size_t i = 0; i < len && n <= most; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = n * 10 + (text[i] - '0');
	}
	return n >= least && n <= most;
}

static bool are_ports(const char *list)
{
	for (const char *p = list;; p++) {
		size_t len = strcspn(p, ",");

		if (len > 0 && !is_number(p, len, 1, 65535))
			return false;
		p += len;
		if (*p == '\0')
			return true;
	}
}

// h1,h2:5432,5433 in a URL: libpq takes the second port for a third host.
static bool has_port_for_host(const char *list)
{
	for (const char *p = list;; p++) {
		size_t len = strcspn(p, ",");

		if (len > 0 && strspn(p, "0123456789") >= len)
			return true;
		p += len;
		if (*p == '\0')
			return false;
	}
}

static bool are_session_attributes(const char *value)
{
	static const char *const values[] = { "any",     "read-write", "read-only",
		                              "primary", "standby",    "prefer-standby" };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (strcmp(value, values[i]) == 0)
			return true;
	return false;
}

static const char *value_fault(const PQconninfoOption *option)
{
	static const char *const numbers[] = {
		"connect_timeout",     "keepalives",       "keepalives_idle",
		"keepalives_interval", "keepalives_count", "tcp_user_timeout"
	};
	const char *value = option->val;

	if (value == NULL || *value == '\0')
		return NULL;
	if (strcmp(option->keyword, "port") == 0 && !are_ports(value))
		return "port: not a number from 1 to 65535 for each host";
	if (strcmp(option->keyword, "host") == 0 && has_port_for_host(value))
		return "host: a number is not a host; in a URL, each host has a port of its own, as in "
		       "a:5432,b:5433";
	if (strcmp(option->keyword, "target_session_attrs") == 0 && !are_session_attributes(value))
		return "invalid target_session_attrs value";
	value += *value == '-';
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(option->keyword, numbers[i]) == 0 &&
		    (*value == '\0' || !is_number(value, strlen(value), 0, INT_MAX)))
			return numbers[i];
	return NULL;
}

// libpq checks the rest on its way to a connection. A value that it refuses last stops it
// there; a password, so that it does not look for one in a file.
static void ask_libpq(const char *dsn, char *fault, size_t size)
{
	const char *keys[] = { "dbname", "password", "target_session_attrs", NULL };
	const char *values[] = { dsn, "x", "stop", NULL };
	PGconn *pg = PQconnectStartParams(keys, values, 1);
	const char *message = pg ? PQerrorMessage(pg) : "";

	if (strstr(message, "\"stop\"") == NULL)
		snprintf(fault, size, "%.*s", (int)strcspn(message, "\":\n"), message); // without values
	PQfinish(pg);
}

bool pl_dsn_has_fault(const char *dsn, char *fault, size_t size)
{
	PQconninfoOption *options = PQconninfoParse(dsn, NULL);

	fault[0] = '\0';
	for (const PQconninfoOption *o = options; o && o->keyword && fault[0] == '\0'; o++) {
		const char *found = value_fault(o);

		if (found != NULL)
			snprintf(fault, size, "%s%s", found, strpbrk(found, ": ") ? "" : ": not a number");
	}
	// a service may be defined on the region's machines alone
	if (options && fault[0] == '\0' && *value_of(options, "service", "PGSERVICE") == '\0')
		ask_libpq(dsn, fault, size);
	PQconninfoFree(options);
	return fault[0] != '\0';
}

char *pl_dsn_read_file(const char *path)
{
	struct pl_buf text = { 0 };

	if (pl_file_read(path, FILE_MAX, &text, NULL) < 0)
		return NULL;
	while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
		text.data[--text.len] = '\0';
	if (text.len == 0 || strlen(text.data) != text.len) {
		pl_buf_fini(&text);
		return NULL;
	}
	return text.data;
}
