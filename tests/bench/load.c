// plist-load: an HTTP load generator that verifies the responses. Used only by
// tests/bench/bench.py.
//
// It is a closed loop: each connection sends a request, reads the whole response, then
// sends the next request. Connections do not share ids, so each version that a connection
// sends is current unless the server lost or repeated a write: except in mode hot, every
// 409 is an error. Request ids are unique within a run. Prints one JSON object.
//
// Threads: one.
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { MODE_PUT, MODE_GET, MODE_HOT };

#define BUFFER  8192
#define BUCKETS 4096 // of latencies: 64 for each power of two, from 1 µs

struct options {
	enum mode mode;
	int port, connections;
	double seconds, warmup, rate; // rate 0: as fast as possible
	long lo, hi;
	const char *prefix, *versions, *tag, *token;
	const char *certificate, *key; // shown to a server that speaks TLS; NULL: without TLS
};

struct connection {
	int fd;
	gnutls_session_t tls; // NULL: without
	int index;
	long id, next_id;
	size_t sent, out_len, in_len;
	int64_t begun_us;
	bool waiting; // waits for its turn, if a rate is set
	char out[4096], in[BUFFER];
};

struct books {
	uint64_t status[600], lost, connects, requests;
	uint64_t measured_ok, measured;
	uint64_t bucket[BUCKETS];
	int64_t longest_us;
};

static struct options opt = { .port = 8080,
	                      .connections = 64,
	                      .seconds = 5,
	                      .warmup = 1,
	                      .lo = 1,
	                      .hi = 1000,
	                      .prefix = "/us",
	                      .tag = "load" };
static struct books books;
static int32_t *versions; // by id - lo
static char authorization[2048];
static gnutls_certificate_credentials_t credentials;
static int64_t from_us, until_us, start_us;
static int epoll;
static int live;

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "plist-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

// The latencies in a bucket differ by at most 1.6 %.
static int bucket_of(int64_t us)
{
	if (us < 64)
		return us < 0 ? 0 : (int)us;
	int shift = 63 - __builtin_clzll((unsigned long long)us) - 6;
	int bucket = (shift + 1) * 64 + (int)((us >> shift) - 64);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static int64_t bucket_us(int bucket)
{
	if (bucket < 64)
		return bucket;
	int shift = bucket / 64 - 1;
	return (int64_t)(bucket % 64 + 64) << shift;
}

static double percentile_us(double share)
{
	uint64_t wanted = (uint64_t)((double)books.measured * share), seen = 0;
	for (int i = 0; i < BUCKETS; i++) {
		seen += books.bucket[i];
		if (seen > wanted)
			return (double)bucket_us(i);
	}
	return (double)books.longest_us;
}

static void compose(struct connection *c)
{
	if (opt.mode == MODE_HOT) {
		c->id = opt.lo;
	} else {
		c->id = c->next_id;
		c->next_id += opt.connections;
		if (c->next_id > opt.hi)
			c->next_id = opt.lo + c->index;
	}
	if (opt.mode == MODE_GET) {
		c->out_len = (size_t)snprintf(c->out, sizeof(c->out),
		                              "GET %s/properties/%ld HTTP/1.1\r\nHost: bench\r\n%s\r\n",
		                              opt.prefix, c->id, authorization);
		return;
	}
	char body[128], lock[64] = "";
	int price = (int)(books.requests % 900000 + 100000);
	int n;
	if (opt.mode == MODE_HOT) {
		snprintf(lock, sizeof(lock), "If-Match: *\r\n");
		n = snprintf(body, sizeof(body), "{\"price\":%d.%02d}", price, price % 100);
	} else {
		n = snprintf(body, sizeof(body), "{\"price\":%d.%02d,\"version\":%d}", price, price % 100,
		             versions[c->id - opt.lo]);
	}
	c->out_len =
		(size_t)snprintf(c->out, sizeof(c->out),
	                         "PUT %s/properties/%ld HTTP/1.1\r\nHost: bench\r\nX-Request-ID: "
	                         "%s-%" PRIu64 "\r\n%s%sContent-Type: application/json\r\n"
	                         "Content-Length: %d\r\n\r\n%s",
	                         opt.prefix, c->id, opt.tag, books.requests, lock, authorization, n, body);
}

static void watch(struct connection *c, int op, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = c };
	if (epoll_ctl(epoll, op, c->fd, &event) < 0)
		die("epoll_ctl");
}

static ssize_t send_some(struct connection *c, const char *data, size_t len)
{
	return c->tls ? gnutls_record_send(c->tls, data, len) : send(c->fd, data, len, MSG_NOSIGNAL);
}

static ssize_t receive_some(struct connection *c, char *data, size_t len)
{
	return c->tls ? gnutls_record_recv(c->tls, data, len) : recv(c->fd, data, len, 0);
}

static void push(struct connection *c)
{
	while (c->sent < c->out_len) {
		ssize_t n = send_some(c, c->out + c->sent, c->out_len - c->sent);
		if (n < 0 && !c->tls && (errno == EAGAIN || errno == EINTR)) {
			watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0)
			return; // reading will fail, too, and count the loss
		c->sent += (size_t)n;
	}
}

static void shut(struct connection *c)
{
	if (c->tls)
		gnutls_deinit(c->tls);
	c->tls = NULL;
	close(c->fd);
}

static void begin(struct connection *c)
{
	int64_t now = now_us();
	if (now >= until_us) {
		live--;
		shut(c);
		c->fd = -1;
		return;
	}
	compose(c);
	books.requests++;
	c->sent = c->in_len = 0;
	c->begun_us = now;
	push(c);
}

// Does not verify the server, which is ours.
static void begin_tls(struct connection *c)
{
	int failed = gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
	if (failed == 0) {
		gnutls_set_default_priority(c->tls);
		gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, credentials);
		gnutls_transport_set_int(c->tls, c->fd);
		do
			failed = gnutls_handshake(c->tls);
		while (failed < 0 && !gnutls_error_is_fatal(failed));
	}
	if (failed < 0) {
		fprintf(stderr, "plist-load: TLS: %s\n", gnutls_strerror(failed));
		exit(1);
	}
}

static void open_connection(struct connection *c)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		                  .sin_port = htons((uint16_t)opt.port),
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	int one = 1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (opt.certificate)
		begin_tls(c);
	books.connects++;
	watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static long header_number(const char *head, const char *name)
{
	const char *at = strcasestr(head, name);
	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

// Returns 0 if the response is incomplete, -1 if it is malformed, else its length.
static long answer_length(const struct connection *c)
{
	const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
	if (!end)
		return c->in_len < BUFFER - 1 ? 0 : -1;
	long body = header_number(c->in, "\r\nContent-Length:");
	int status = atoi(c->in + 9);
	if (body < 0)
		body = status == 204 || status == 304 ? 0 : -2;
	if (body == -2)
		return -1;
	long whole = end + 4 - c->in + body;
	return whole >= BUFFER ? -1 : (long)c->in_len >= whole ? whole : 0;
}

static void keep_books(struct connection *c)
{
	int64_t now = now_us(), took = now - c->begun_us;
	int status = atoi(c->in + 9);
	if (status < 0 || status > 599)
		status = 0;
	books.status[status]++;
	if (opt.mode != MODE_GET) {
		if (status == 200 && opt.mode == MODE_PUT)
			versions[c->id - opt.lo]++;
		const char *current = status == 409 ? strstr(c->in, "\"current_version\":") : NULL;
		if (current && opt.mode == MODE_PUT)
			versions[c->id - opt.lo] = (int32_t)strtol(current + 18, NULL, 10);
	}
	if (c->begun_us < from_us || now > until_us)
		return;
	books.measured++;
	books.measured_ok += status == 200;
	books.bucket[bucket_of(took)]++;
	if (took > books.longest_us)
		books.longest_us = took;
}

static void lose(struct connection *c)
{
	books.lost++;
	shut(c);
	open_connection(c);
}

static void next(struct connection *c)
{
	if (opt.rate > 0)
		c->waiting = true;
	else
		begin(c);
}

static void pull(struct connection *c)
{
	ssize_t n = receive_some(c, c->in + c->in_len, BUFFER - 1 - c->in_len);
	if (n < 0 && (c->tls ? !gnutls_error_is_fatal((int)n) : errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose(c);
		begin(c);
		return;
	}
	c->in_len += (size_t)n;
	c->in[c->in_len] = 0;
	long whole = answer_length(c);
	if (whole == 0)
		return;
	if (whole < 0) {
		lose(c);
		begin(c);
		return;
	}
	keep_books(c);
	next(c);
}

static void load_versions(void)
{
	size_t n = (size_t)(opt.hi - opt.lo + 1);
	versions = malloc(n * sizeof(*versions));
	if (!versions)
		die("versions");
	for (size_t i = 0; i < n; i++)
		versions[i] = 1;
	FILE *file = opt.versions ? fopen(opt.versions, "r") : NULL;
	if (opt.versions && !file)
		die(opt.versions);
	long id, version;
	while (file && fscanf(file, "%ld %ld", &id, &version) == 2)
		if (id >= opt.lo && id <= opt.hi)
			versions[id - opt.lo] = (int32_t)version;
	if (file)
		fclose(file);
}

static void print_books(void)
{
	struct rusage use;
	getrusage(RUSAGE_SELF, &use);
	double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	             (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
	printf("{\"rate\":%.1f,\"ok_rate\":%.1f,\"ok\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"lost\":%" PRIu64
	       ",\"connects\":%" PRIu64 ",\"p50_us\":%.0f,\"p99_us\":%.0f,\"max_us\":"
	       "%" PRId64 ",\"cpu_s\":%.3f,\"statuses\":{",
	       (double)books.measured / opt.seconds, (double)books.measured_ok / opt.seconds,
	       books.status[200], books.requests, books.lost, books.connects, percentile_us(0.5),
	       percentile_us(0.99), books.longest_us, cpu);
	const char *comma = "";
	for (int i = 0; i < 600; i++)
		if (books.status[i]) {
			printf("%s\"%d\":%" PRIu64, comma, i, books.status[i]);
			comma = ",";
		}
	printf("}}\n");
}

static void usage(void)
{
	fprintf(stderr, "usage: plist-load --port N [--mode put|get|hot] [--connections N] [--seconds S] "
	                "[--warmup S] [--rate N]\n"
	                "                  [--ids LO:HI] [--prefix /us] [--versions FILE] [--tag TEXT]\n"
	                "                  [--token TEXT] [--certificate FILE --key FILE]\n");
	exit(2);
}

static void read_options(int argc, char **argv)
{
	static const struct option longs[] = { { "port", 1, 0, 'p' },        { "mode", 1, 0, 'm' },
		                               { "connections", 1, 0, 'c' }, { "seconds", 1, 0, 's' },
		                               { "warmup", 1, 0, 'w' },      { "rate", 1, 0, 'r' },
		                               { "ids", 1, 0, 'i' },         { "prefix", 1, 0, 'x' },
		                               { "versions", 1, 0, 'v' },    { "tag", 1, 0, 't' },
		                               { "token", 1, 0, 'k' },       { "certificate", 1, 0, 'C' },
		                               { "key", 1, 0, 'K' },         { 0 } };
	for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		switch (o) {
		case 'p': opt.port = atoi(optarg); break;
		case 'm':
			opt.mode = !strcmp(optarg, "get")   ? MODE_GET
			           : !strcmp(optarg, "hot") ? MODE_HOT
			                                    : MODE_PUT;
			break;
		case 'c': opt.connections = atoi(optarg); break;
		case 's': opt.seconds = atof(optarg); break;
		case 'w': opt.warmup = atof(optarg); break;
		case 'r': opt.rate = atof(optarg); break;
		case 'i':
			if (sscanf(optarg, "%ld:%ld", &opt.lo, &opt.hi) != 2)
				usage();
			break;
		case 'x': opt.prefix = optarg; break;
		case 'v': opt.versions = optarg; break;
		case 't': opt.tag = optarg; break;
		case 'k': opt.token = optarg; break;
		case 'C': opt.certificate = optarg; break;
		case 'K': opt.key = optarg; break;
		default: usage();
		}
	}
	if (opt.connections < 1 || opt.connections > 4096 || opt.seconds <= 0 || opt.seconds > 600 ||
	    opt.lo > opt.hi || (opt.mode != MODE_HOT && opt.hi - opt.lo + 1 < opt.connections))
		usage();
}

// The rate is that of the whole run: a request is started when fewer have been started
// than the rate requires.
static bool is_behind(void)
{
	return (double)books.requests <= opt.rate * (double)(now_us() - start_us) / 1e6;
}

// Connections take turns, so that all of them and all ids are used equally.
static void wake_waiting(struct connection *all)
{
	static int turn;

	for (int i = 0; i < opt.connections && is_behind(); i++) {
		struct connection *c = &all[turn];

		turn = (turn + 1) % opt.connections;
		if (c->waiting) {
			c->waiting = false;
			begin(c);
		}
	}
}

static void prepare_credentials(void)
{
	if (opt.token && (size_t)snprintf(authorization, sizeof(authorization),
	                                  "Authorization: Bearer %s\r\n", opt.token) >= sizeof(authorization))
		usage();
	if (!opt.certificate != !opt.key)
		usage();
	if (!opt.certificate)
		return;
	gnutls_certificate_allocate_credentials(&credentials);
	int failed = gnutls_certificate_set_x509_key_file(credentials, opt.certificate, opt.key,
	                                                  GNUTLS_X509_FMT_PEM);
	if (failed < 0) {
		fprintf(stderr, "plist-load: %s: %s\n", opt.certificate, gnutls_strerror(failed));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	read_options(argc, argv);
	prepare_credentials();
	load_versions();
	epoll = epoll_create1(0);
	struct connection *all = calloc((size_t)opt.connections, sizeof(*all));
	if (epoll < 0 || !all)
		die("start");
	start_us = now_us();
	from_us = start_us + (int64_t)(opt.warmup * 1e6);
	until_us = from_us + (int64_t)(opt.seconds * 1e6);
	live = opt.connections;
	for (int i = 0; i < opt.connections; i++) {
		all[i].index = i;
		all[i].next_id = opt.lo + i;
		open_connection(&all[i]);
	}
	for (int i = 0; i < opt.connections; i++)
		next(&all[i]);
	struct epoll_event events[256];
	while (live > 0 && now_us() < until_us + 15000000) {
		int n = epoll_wait(epoll, events, 256, opt.rate > 0 ? 1 : 100);
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;
			if (events[i].events & EPOLLOUT) {
				watch(c, EPOLL_CTL_MOD, EPOLLIN);
				push(c);
			}
			if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				pull(c);
		}
		if (opt.rate > 0)
			wake_waiting(all);
	}
	books.lost += (uint64_t)live; // no response within 15 s after the end
	print_books();
	return 0;
}
