// Claims: see claims.h.
//
// Beside the appliers (apply/applier), which read what this says. Kafka's consumer groups
// could share the partitions, too, but a group waits for a member that was killed until
// its session timeout has passed, and brokers refuse one below 6 s. The region's database
// knows at once: when a process is killed, its connection ends. So a daemon is a member
// while the session of this thread lives, rows of plist.partition_claims say who reads
// what, and the group only stores the offsets.
//
//   killed         the session ends with the process. The others notice within LOOK_US,
//                  and so does the same daemon when it has been started again.
//   frozen, or     the session would remain: PostgreSQL ends it after LEASE_US without a
//   cut off        statement. When the daemon wakes up, its claims have expired by its
//                  own clock, so it does not write what it holds. It could be in the
//                  middle of a transaction: the daemon that takes over ends the sessions
//                  of its appliers first, and that of its relay, so that another relay
//                  publishes (relay/relay.c).
//   new            it is a member as soon as it knows the topics. Each daemon plans
//                  with the same rows (apply/shares), so those that have too much give
//                  it up, and the new one takes it. A claim ends when the applier no
//                  longer reads the partition.
//   cut off from   others that reach a broker get its partitions. If none does, it keeps
//   Kafka          them, since there is nothing to read.
//
// Nothing depends on a partition being read by one applier only: vectors drop what is
// known, and applying an event twice changes nothing. Two readers would only cost work,
// and positions in the database could go back for a moment. So an expired claim is not
// checked again within the transaction.
//
// A database that cannot be written (frozen by an operator, a standby) has no new claims.
// Then the daemon acts as if it was alone: nothing can be applied, and its log says why.
#include "apply/claims.h"

#include "apply/claims_private.h"

#include <poll.h>

#include "base/random.h"

// How long an applier waits for others to give up partitions before it counts as having
// its share.
#define PATIENCE_US (10 * SECOND)

// ---- what the appliers report and ask

void pl_claims_topic(struct pl_claims *claims, const char *topic, int partitions)
{
	int i = 0;

	pthread_mutex_lock(&claims->mutex);
	while (i < claims->ntopics && strcmp(claims->topics[i].name, topic) != 0)
		i++;
	if (i == claims->ntopics) {
		claims->topics = pl_realloc(claims->topics, sizeof(claims->topics[0]) * (size_t)(i + 1));
		claims->topics[claims->ntopics++] = (struct claims_topic){ pl_strdup(topic), 0 };
	}
	if (claims->topics[i].partitions != partitions)
		pl_wake_ring(claims->wake);
	claims->topics[i].partitions = partitions;
	pthread_mutex_unlock(&claims->mutex);
}

void pl_claims_hears(struct pl_claims *claims, int lane, bool hears)
{
	pthread_mutex_lock(&claims->mutex);
	if (claims->lanes[lane].hears != hears)
		pl_wake_ring(claims->wake);
	claims->lanes[lane].hears = hears;
	pthread_mutex_unlock(&claims->mutex);
}

void pl_claims_relay(struct pl_claims *claims, const _Atomic int *process)
{
	pthread_mutex_lock(&claims->mutex);
	claims->relay = process;
	pthread_mutex_unlock(&claims->mutex);
}

void pl_claims_session(struct pl_claims *claims, int lane, int pid)
{
	pthread_mutex_lock(&claims->mutex);
	claims->lanes[lane].pid = pid;
	pthread_mutex_unlock(&claims->mutex);
}

static void replace(rd_kafka_topic_partition_list_t **list, const rd_kafka_topic_partition_list_t *with)
{
	rd_kafka_topic_partition_list_destroy(*list);
	*list = rd_kafka_topic_partition_list_copy(with);
}

void pl_claims_has(struct pl_claims *claims, int lane, const rd_kafka_topic_partition_list_t *partitions)
{
	pthread_mutex_lock(&claims->mutex);
	replace(&claims->lanes[lane].has, partitions);
	pthread_mutex_unlock(&claims->mutex);
	pl_wake_ring(claims->wake);
}

rd_kafka_topic_partition_list_t *pl_claims_wanted(struct pl_claims *claims, int lane, unsigned *seen)
{
	rd_kafka_topic_partition_list_t *wanted = NULL;

	pthread_mutex_lock(&claims->mutex);
	if (claims->lanes[lane].changes != *seen)
		wanted = rd_kafka_topic_partition_list_copy(claims->lanes[lane].wanted);
	*seen = claims->lanes[lane].changes;
	pthread_mutex_unlock(&claims->mutex);
	return wanted;
}

bool pl_claims_settled(struct pl_claims *claims, int lane)
{
	bool settled;

	pthread_mutex_lock(&claims->mutex);
	settled = claims->lanes[lane].settled;
	pthread_mutex_unlock(&claims->mutex);
	return settled;
}

bool pl_claims_hold(struct pl_claims *claims)
{
	return pl_mono_us() < atomic_load(&claims->hold_until_us);
}

void pl_claims_trouble(struct pl_claims *claims, char text_r[PL_ERROR_TEXT_MAX])
{
	pthread_mutex_lock(&claims->mutex);
	memcpy(text_r, claims->trouble, sizeof(claims->trouble));
	pthread_mutex_unlock(&claims->mutex);
}

static void note_trouble(struct pl_claims *claims, const char *why)
{
	pthread_mutex_lock(&claims->mutex);
	snprintf(claims->trouble, sizeof(claims->trouble), "%s", why);
	pthread_mutex_unlock(&claims->mutex);
}

// ---- a look

static bool holds(const rd_kafka_topic_partition_list_t *list, const struct claims_partition *p)
{
	return rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)list, p->topic,
	                                          p->number) != NULL;
}

static bool still_read(struct pl_claims *claims, int lane, const struct claims_partition *p)
{
	bool reads;

	pthread_mutex_lock(&claims->mutex);
	reads = lane < claims->nlanes && holds(claims->lanes[lane].has, p);
	pthread_mutex_unlock(&claims->mutex);
	return reads;
}

// Ends the claims that an applier has given up for others.
static int release(struct pl_claims *claims, const struct claims_view *view, struct pl_error *err)
{
	int first = view->members[view->ours].first, code = 0;

	for (int i = 0; i < view->npartitions && code == 0; i++) {
		const struct claims_partition *p = &view->partitions[i];

		if (p->member == view->ours && p->to != p->lane && !still_read(claims, p->lane - first, p))
			code = pl_claims_release(claims, p, err);
	}
	return code;
}

static bool same(const rd_kafka_topic_partition_list_t *a, const rd_kafka_topic_partition_list_t *b)
{
	for (int i = 0; i < a->cnt; i++)
		if (!rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)b,
		                                        a->elems[i].topic, a->elems[i].partition))
			return false;
	return a->cnt == b->cnt;
}

// What a lane should read: what is claimed for it and stays with it.
static void publish_lane(struct pl_claims *claims, const struct claims_view *view, int number, bool patient)
{
	struct claims_lane *lane = &claims->lanes[number];
	rd_kafka_topic_partition_list_t *wanted = rd_kafka_topic_partition_list_new(view->npartitions);
	int at = view->members[view->ours].first + number;
	bool settled = claims->ntopics > 0;

	for (int i = 0; i < view->npartitions; i++) {
		const struct claims_partition *p = &view->partitions[i];

		if (p->to == at && p->lane == at)
			rd_kafka_topic_partition_list_add(wanted, p->topic, p->number);
		else if (p->to == at && patient)
			settled = false;
	}
	if (!same(wanted, lane->wanted)) {
		replace(&lane->wanted, wanted);
		lane->changes++;
	}
	if (lane->changes == 0) // the first look: it learns that it has nothing
		lane->changes = 1;
	lane->settled = settled;
	rd_kafka_topic_partition_list_destroy(wanted);
}

static void publish(struct pl_claims *claims, const struct claims_view *view)
{
	int64_t now_us = pl_mono_us();
	bool all = true;

	pthread_mutex_lock(&claims->mutex);
	for (int i = 0; i < claims->nlanes; i++) {
		publish_lane(claims, view, i,
		             claims->unsettled_us == 0 || now_us - claims->unsettled_us < PATIENCE_US);
		all &= claims->lanes[i].settled;
	}
	claims->trouble[0] = 0;
	pthread_mutex_unlock(&claims->mutex);
	if (all)
		claims->unsettled_us = 0;
	else if (claims->unsettled_us == 0)
		claims->unsettled_us = now_us;
}

// The view of a daemon that knows no other.
static void see_alone(struct pl_claims *claims, struct claims_view *view)
{
	struct pl_buf topics = { 0 };

	pl_claims_view_fini(view);
	pthread_mutex_lock(&claims->mutex);
	for (int i = 0; i < claims->ntopics; i++)
		pl_buf_printf(&topics, "%s%s", i ? "," : "", claims->topics[i].name);
	pthread_mutex_unlock(&claims->mutex);
	pl_buf_adds(&topics, "");
	pl_claims_view_member(view, &(struct claims_member){ .name = claims->member,
	                                                     .topics = topics.data,
	                                                     .lanes = claims->nlanes,
	                                                     .lives = true,
	                                                     .hears = true,
	                                                     .ours = true });
	pl_buf_fini(&topics);
	pl_claims_view_plan(claims, view);
	for (int i = 0; i < view->npartitions; i++)
		view->partitions[i].lane = view->partitions[i].to;
}

static int look(struct pl_claims *claims, struct claims_view *view, struct pl_error *err)
{
	int code = pl_claims_register(claims, err);

	if (code == PL_EBUSY) { // not the region's database, or not yet
		atomic_store(&claims->hold_until_us, 0);
		note_trouble(claims, err->text);
		return code;
	}
	claims->alone = code < 0 && pl_db_error_read_only(err) && pl_session_connected(claims->session);
	if (claims->alone) {
		see_alone(claims, view);
		return 0;
	}
	if (code < 0 || (code = pl_claims_read(claims, view, err)) < 0 ||
	    (code = pl_claims_bury(claims, view, err)) < 0)
		return code;
	if (view->ours < 0) { // another daemon took us for dead, or the tables were emptied
		free(claims->registered);
		claims->registered = NULL;
		pl_wake_ring(claims->wake);
		return PL_EBUSY;
	}
	pl_claims_view_plan(claims, view);
	if ((code = pl_claims_take(claims, view, err)) < 0)
		return code;
	return release(claims, view, err);
}

static int turn(struct pl_claims *claims, struct pl_error *err)
{
	struct claims_view view = { .ours = 0 };
	int64_t now_us;
	int code;

	if (!pl_session_stands(claims->session)) {
		free(claims->registered);
		claims->registered = NULL;
		if ((code = pl_session_connect(claims->session, err)) < 0)
			return code;
	}
	// The server counts from its answer, which is later.
	now_us = pl_mono_us();
	code = look(claims, &view, err);
	if (code == 0) {
		publish(claims, &view);
		atomic_store(&claims->hold_until_us, now_us + LEASE_US);
	}
	pl_claims_view_fini(&view);
	return code == PL_EBUSY ? 0 : code;
}

// ---- the thread

static bool is_configured(const struct pl_config *config, const char *topic)
{
	return pl_config_resource_of_topic(config, topic) != NULL;
}

static void forget_topics(struct pl_claims *claims)
{
	int n = 0;

	for (int i = 0; i < claims->ntopics; i++)
		if (is_configured(claims->config, claims->topics[i].name))
			claims->topics[n++] = claims->topics[i];
		else
			free(claims->topics[i].name);
	claims->ntopics = n;
}

static void take_configuration(struct pl_claims *claims)
{
	struct pl_config *config;

	pthread_mutex_lock(&claims->mutex);
	config = claims->next_config;
	claims->next_config = NULL;
	if (config) {
		claims->region = claims->next_region;
		pl_config_unref(&claims->config);
		claims->config = config;
		forget_topics(claims);
	}
	pthread_mutex_unlock(&claims->mutex);
	if (config)
		pl_session_set_dsn(claims->session, claims->region->database, claims->region->database_file);
}

static void wait(struct pl_claims *claims, int64_t us)
{
	struct pollfd p[2] = { { .fd = pl_wake_fd(claims->halt), .events = POLLIN },
		               { .fd = pl_wake_fd(claims->wake), .events = POLLIN } };

	poll(p, 2, (int)(us / 1000) + 1);
	pl_wake_drain(claims->wake);
}

static void failed(struct pl_claims *claims, const struct pl_error *err)
{
	if (err->code == PL_ESTOPPED)
		return;
	if (!pl_session_connected(claims->session))
		atomic_store(&claims->hold_until_us, 0);
	note_trouble(claims, err->text);
	if (pl_log_limit_ok(&claims->limit, 10 * SECOND))
		pl_warning("claims: %s; trying again%s", err->text,
		           strcmp(err->sqlstate, "42P01") == 0 ? "; has plist-admin migrate been run?" : "");
	if (pl_db_error_stale(err))
		pl_session_drop(claims->session);
}

static void *run(void *arg)
{
	struct pl_claims *claims = arg;
	struct pl_error err = { 0 };

	pl_log_set_thread("claims");
	while (!pl_kafka_client_stopping(pl_wake_fd(claims->halt))) {
		take_configuration(claims);
		if (turn(claims, &err) < 0)
			failed(claims, &err);
		wait(claims, LOOK_US);
	}
	return NULL;
}

static void free_claims(struct pl_claims *claims)
{
	for (int i = 0; i < claims->ntopics; i++)
		free(claims->topics[i].name);
	for (int i = 0; i < claims->nlanes; i++) {
		rd_kafka_topic_partition_list_destroy(claims->lanes[i].wanted);
		rd_kafka_topic_partition_list_destroy(claims->lanes[i].has);
	}
	free(claims->topics);
	free(claims->registered);
	pl_session_free(&claims->session);
	if (claims->next_config)
		pl_config_unref(&claims->next_config);
	pl_config_unref(&claims->config);
	pthread_mutex_destroy(&claims->mutex);
	pl_wake_free(&claims->wake);
	pl_wake_free(&claims->halt);
	free(claims);
}

static struct pl_session *session_of(const struct pl_claims *claims)
{
	// After a crash of the server no session lives, so no claim counts.
	static const char *const setup[] = { "SET synchronous_commit = off", NULL };
	const struct pl_config *config = claims->config;
	char name[PL_REGION_MAX + 16];

	snprintf(name, sizeof(name), "plistd %s claims", claims->region->name);
	return pl_session_new(&(struct pl_session_options){
		.dsn = claims->region->database,
		.dsn_file = claims->region->database_file,
		.application_name = name,
		.connect_timeout_us = config->database.connect_timeout_us,
		.statement_timeout_us = config->database.statement_timeout_us,
		.lock_timeout_us = config->database.lock_timeout_us,
		.stop_fd = pl_wake_fd(claims->halt),
		.setup = setup,
	});
}

struct pl_claims *pl_claims_start(const struct pl_config *config, const struct pl_region *region, int nlanes,
                                  struct pl_error *err)
{
	struct pl_claims *claims = pl_calloc(1, sizeof(*claims));

	claims->wake = pl_wake_new();
	claims->halt = pl_wake_new();
	pthread_mutex_init(&claims->mutex, NULL);
	claims->config = pl_config_ref(config);
	claims->region = region;
	claims->nlanes = nlanes;
	for (int i = 0; i < nlanes; i++) {
		claims->lanes[i].wanted = rd_kafka_topic_partition_list_new(0);
		claims->lanes[i].has = rd_kafka_topic_partition_list_new(0);
	}
	snprintf(claims->member, sizeof(claims->member), "%016llx%016llx", (unsigned long long)pl_random(),
	         (unsigned long long)pl_random());
	claims->session = session_of(claims);
	claims->running = pthread_create(&claims->thread, NULL, run, claims) == 0;
	if (claims->running)
		return claims;
	pl_error_set(err, PL_EINTERNAL, "the thread of the claims cannot be started");
	free_claims(claims);
	return NULL;
}

void pl_claims_reconfigure(struct pl_claims *claims, const struct pl_config *config,
                           const struct pl_region *region)
{
	pthread_mutex_lock(&claims->mutex);
	if (claims->next_config)
		pl_config_unref(&claims->next_config);
	claims->next_config = pl_config_ref(config);
	claims->next_region = region;
	pthread_mutex_unlock(&claims->mutex);
	pl_wake_ring(claims->wake);
}

void pl_claims_stop(struct pl_claims **claims_p)
{
	struct pl_claims *claims = *claims_p;

	if (!claims)
		return;
	*claims_p = NULL;
	pl_wake_ring(claims->halt);
	pthread_join(claims->thread, NULL);
	free_claims(claims);
}
