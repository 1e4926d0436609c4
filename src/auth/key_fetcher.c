// See key_fetcher.h.
//
// libcurl speaks HTTP and TLS, since a client for them is not what plist exists for; it
// is the OpenSSL flavour, because libcrypto is linked anyway. An answer may take 10
// seconds and have 256 KiB, and a redirect is not followed. A fetch ends at once when
// the daemon stops or the source changes: in curl_multi_poll, the thread waits for
// these events as well.
#include "auth/key_fetcher.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wake.h"

#define ANSWER_MAX   ((size_t)256 * 1024)
#define CONNECT_MS   3000L
#define WHOLE_MS     10000L
#define ACCEPT       "Accept: application/jwk-set+json, application/json"
#define NOT_BY_PROXY "localhost,127.0.0.1,::1"
#define INTERRUPTED  1 // neither an answer nor a failure

struct pl_key_fetcher {
	pthread_t thread;
	bool running;
	struct pl_wake *changed; // the source or `stop` has changed
	pthread_mutex_t lock;    // protects what follows
	struct pl_key_source *source;
	bool stop;
};

// ---- one fetch

struct fetch {
	CURL *easy;
	CURLM *multi;
	struct curl_slist *headers;
	long timeout_ms;
	struct pl_buf body;
	bool too_large;
	char why[CURL_ERROR_SIZE];
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct fetch *fetch = arg;

	if (fetch->body.len + size * n > ANSWER_MAX) {
		fetch->too_large = true;
		return 0;
	}
	pl_buf_add(&fetch->body, data, size * n);
	return size * n;
}

static void prepare(struct fetch *fetch, const struct pl_key_source *source)
{
	CURL *easy = fetch->easy;

	fetch->headers = curl_slist_append(NULL, ACCEPT);
	curl_easy_setopt(easy, CURLOPT_URL, pl_key_source_url(source));
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"); // the configuration decides which one
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (pl_key_source_ca(source)) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, pl_key_source_ca(source));
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, NOT_BY_PROXY);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, fetch->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "plistd");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->why);
}

// Whether the fetcher has something else to do now. Without a fetcher, nothing
// interrupts the fetch.
static bool is_over(struct pl_key_fetcher *fetcher, const struct pl_key_source *source)
{
	if (!fetcher)
		return false;
	pthread_mutex_lock(&fetcher->lock);
	bool over = fetcher->stop || fetcher->source != source;
	pthread_mutex_unlock(&fetcher->lock);
	return over;
}

// Runs the transfer. Returns the result of libcurl, or -1 if it was interrupted.
static int transfer(struct pl_key_fetcher *fetcher, const struct pl_key_source *source, struct fetch *fetch)
{
	struct curl_waitfd changed = { .fd = fetcher ? pl_wake_fd(fetcher->changed) : -1,
		                       .events = CURL_WAIT_POLLIN };
	int running = 1, left;

	while (running > 0) {
		if (curl_multi_perform(fetch->multi, &running) != CURLM_OK)
			return CURLE_FAILED_INIT;
		if (running > 0)
			curl_multi_poll(fetch->multi, &changed, fetcher ? 1 : 0, (int)WHOLE_MS, NULL);
		if (is_over(fetcher, source))
			return -1;
	}
	const CURLMsg *message = curl_multi_info_read(fetch->multi, &left);
	return message ? (int)message->data.result : CURLE_FAILED_INIT;
}

// Returns 0, or the reason why the answer cannot contain the keys.
static int judge(struct fetch *fetch, int result, struct pl_error *err)
{
	const char *to = NULL;
	long status = 0;

	if (fetch->too_large)
		return pl_error_set(err, PL_EINVAL, "the answer is larger than %zu KiB", ANSWER_MAX / 1024);
	if (result == CURLE_OPERATION_TIMEDOUT)
		return pl_error_set(err, PL_ETIMEOUT, "no answer in time");
	if (result != CURLE_OK)
		return pl_error_set(err, PL_EUNAVAIL, "%s%s",
		                    result == CURLE_PEER_FAILED_VERIFICATION
		                            ? "the server's certificate is not trusted: "
		                            : "",
		                    fetch->why[0] ? fetch->why : curl_easy_strerror((CURLcode)result));
	curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(fetch->easy, CURLINFO_REDIRECT_URL, &to);
	if (to)
		return pl_error_set(
			err, PL_EINVAL,
			"the answer is a redirect to %.200s, which is not followed; if the keys are "
			"there, set auth.jwt.jwks_url to it",
			to);
	if (status != 200)
		return pl_error_set(err, PL_EUNAVAIL, "the answer has the status %ld", status);
	return 0;
}

// Returns 0 and the text in fetch->body, an error, or INTERRUPTED.
static int run_fetch(struct pl_key_fetcher *fetcher, const struct pl_key_source *source, struct fetch *fetch,
                     struct pl_error *err)
{
	fetch->easy = curl_easy_init();
	fetch->multi = curl_multi_init();
	if (!fetch->easy || !fetch->multi)
		return pl_error_set(err, PL_EINTERNAL, "libcurl could not be started");
	prepare(fetch, source);
	curl_multi_add_handle(fetch->multi, fetch->easy);
	int result = transfer(fetcher, source, fetch);
	int code = result < 0 ? INTERRUPTED : judge(fetch, result, err);
	curl_multi_remove_handle(fetch->multi, fetch->easy);
	return code;
}

static void end(struct fetch *fetch)
{
	curl_easy_cleanup(fetch->easy);
	curl_multi_cleanup(fetch->multi);
	curl_slist_free_all(fetch->headers);
	pl_buf_fini(&fetch->body);
}

static void fetch_keys(struct pl_key_fetcher *fetcher, struct pl_key_source *source)
{
	struct fetch fetch = { .timeout_ms = WHOLE_MS };
	struct pl_error err;

	pl_key_source_begin(source);
	int code = run_fetch(fetcher, source, &fetch, &err);
	if (code == 0)
		pl_key_source_store(source, fetch.body.data ? fetch.body.data : "", fetch.body.len);
	else if (code != INTERRUPTED)
		pl_key_source_fail(source, &err);
	end(&fetch);
}

int pl_key_fetcher_try(const struct pl_config *config, int64_t timeout_us, int *used_r, int *passed_over_r,
                       struct pl_error *err)
{
	long timeout_ms = timeout_us / 1000 < WHOLE_MS ? (long)(timeout_us / 1000) + 1 : WHOLE_MS;
	struct fetch fetch = { .timeout_ms = timeout_ms };
	struct pl_jwks jwks = { 0 };
	struct pl_key_source *source = pl_key_source_new(config);
	struct pl_arena *arena = pl_arena_new(0);

	curl_global_init(CURL_GLOBAL_DEFAULT);
	int rc = run_fetch(NULL, source, &fetch, err);
	if (rc == 0)
		rc = pl_key_source_parse(arena, fetch.body.data ? fetch.body.data : "", fetch.body.len, &jwks,
		                         err);
	*used_r = jwks.n;
	*passed_over_r = jwks.passed_over;
	pl_jwks_fini(&jwks);
	pl_arena_free(&arena);
	end(&fetch);
	pl_key_source_unref(&source);
	return rc;
}

// ---- the thread

// Waits until the keys are due or wanted early, or something has changed.
static void wait_until_due(struct pl_key_fetcher *fetcher, struct pl_key_source *source)
{
	struct pollfd fds[] = { { pl_wake_fd(fetcher->changed), POLLIN, 0 }, { -1, POLLIN, 0 } };
	int64_t left_us = -1;

	if (source) {
		fds[1].fd = pl_key_source_fd(source);
		left_us = pl_key_source_due_us(source) - pl_mono_us();
		if (left_us <= 0)
			return;
	}
	poll(fds, 2, left_us < 0 ? -1 : (int)(left_us / 1000) + 1);
}

static struct pl_key_source *current(struct pl_key_fetcher *fetcher, bool *stop_r)
{
	pl_wake_drain(fetcher->changed);
	pthread_mutex_lock(&fetcher->lock);
	struct pl_key_source *source = pl_key_source_ref(fetcher->source);
	*stop_r = fetcher->stop;
	pthread_mutex_unlock(&fetcher->lock);
	return source;
}

static void *run(void *arg)
{
	struct pl_key_fetcher *fetcher = arg;
	bool stop = false;

	pl_log_set_thread("keys");
	while (!stop) {
		struct pl_key_source *source = current(fetcher, &stop);
		if (!stop)
			wait_until_due(fetcher, source);
		if (!stop && source && pl_mono_us() >= pl_key_source_due_us(source) &&
		    !is_over(fetcher, source))
			fetch_keys(fetcher, source);
		pl_key_source_unref(&source);
	}
	return NULL;
}

struct pl_key_fetcher *pl_key_fetcher_new(void)
{
	struct pl_key_fetcher *fetcher = pl_calloc(1, sizeof(*fetcher));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	fetcher->changed = pl_wake_new();
	pthread_mutex_init(&fetcher->lock, NULL);
	return fetcher;
}

int pl_key_fetcher_use(struct pl_key_fetcher *fetcher, struct pl_key_source *source, struct pl_error *err)
{
	pthread_mutex_lock(&fetcher->lock);
	struct pl_key_source *old = fetcher->source;
	fetcher->source = pl_key_source_ref(source);
	pthread_mutex_unlock(&fetcher->lock);
	pl_key_source_unref(&old);
	pl_wake_ring(fetcher->changed);
	if (fetcher->running || !source)
		return 0;
	int failed = pthread_create(&fetcher->thread, NULL, run, fetcher);
	fetcher->running = failed == 0;
	return failed ? pl_error_set(err, PL_EINTERNAL, "auth: pthread_create: %s", strerror(failed)) : 0;
}

void pl_key_fetcher_free(struct pl_key_fetcher **fetcher_p)
{
	struct pl_key_fetcher *fetcher = *fetcher_p;

	*fetcher_p = NULL;
	if (!fetcher)
		return;
	pthread_mutex_lock(&fetcher->lock);
	fetcher->stop = true;
	pthread_mutex_unlock(&fetcher->lock);
	pl_wake_ring(fetcher->changed);
	if (fetcher->running)
		pthread_join(fetcher->thread, NULL);
	pl_key_source_unref(&fetcher->source);
	pl_wake_free(&fetcher->changed);
	pthread_mutex_destroy(&fetcher->lock);
	free(fetcher);
}
