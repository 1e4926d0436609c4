// Probing a policy: the checks, in the order in which an author wants to hear of them.
//
// Stands before every policy that goes live (replicate/gate.c, plist-admin policy check). Everything runs in VMs of its own with the production
// limits; a policy that loops or eats memory ends like one in the applier does.
//
//   1. It loads: a VM with this one policy.
//   2. It answers every input with a valid verdict: the exhaustive sets, then random ones.
//   3. It answers the same again: the same inputs in another order, some twice, in a second VM (another hash seed, other addresses, a used
//      state), and some of them each in a VM that has seen nothing else.
//   4. It does so without a memory: asked again in one and the same world, it answers the same.
//   5. Simulated regions that use it end equal.
//
// Threads: any; nothing is shared.
#include "replicate/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replicate/simulate.h"

// A policy that uses up much of its budget each time is asked less often, so that a start does not take minutes: counted in instructions, which are
// the same in every region, and so is what is asked.
#define ALLOWANCE INT64_C(300000000)
#define RANDOM_LEAST 500
#define HISTORIES_LEAST 100

#define FRESH_VMS 60 // each a whole new Lua state for one call

struct probe {
	struct pl_arena *arena, *scratch;
	const struct pl_probe_options *options;
	struct pl_probe_source source;
	struct pl_probe_report *report;
	struct pl_vm *vm;
	struct pl_policy *policy;
	int64_t spent;     // instructions, on the first answer to each case
	uint64_t *answers; // a digest of each case's answer
	int ncases;
};

// One answer, whichever it was, as text: what is compared.
struct answer { int code; char text[1400]; struct pl_verdict verdict; struct pl_error err; };

const char *pl_probe_fault_name(enum pl_probe_fault fault)
{
	static const char *const names[] = {"accepted", "not_loadable", "not_total", "not_valid", "over_budget", "not_deterministic", "not_convergent"};

	return names[fault];
}

static uint64_t digest(const char *text)
{
	uint64_t h = UINT64_C(1469598103934665603); // FNV-1a

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return h;
}

static bool open_vm(struct probe *p, struct pl_vm **vm_r, struct pl_policy **policy_r, struct pl_problems *problems)
{
	struct pl_problems unheard = {0}; // what could be loaded once can be loaded again

	*vm_r = pl_vm_new(p->options->config, PL_WORLD_POLICY, problems ? problems : &unheard);
	pl_problems_fini(&unheard);
	*policy_r = *vm_r ? pl_policy_find(*vm_r, p->options->resource->policy) : NULL;
	return *policy_r != NULL;
}

static void ask_again(struct probe *p, struct pl_policy *policy, const struct pl_probe_case *c, int times, struct answer *answer)
{
	const struct pl_resource *resource = p->options->resource;

	memset(&answer->err, 0, sizeof answer->err);
	answer->code = pl_policy_resolve_again(policy, resource, c->id, c->rows, c->n, times, p->scratch, &answer->verdict, &answer->err);
	if (answer->code < 0) {
		snprintf(answer->text, sizeof answer->text, "%s: %s", pl_code_name(answer->code), answer->err.text);
	} else if (answer->verdict.take >= 0) {
		snprintf(answer->text, sizeof answer->text, "write %d is shown", answer->verdict.take + 1);
	} else {
		size_t len = (size_t)snprintf(answer->text, sizeof answer->text, "a new row is shown:");

		for (int f = 0; f < resource->nfields && len < sizeof answer->text; f++)
			len += (size_t)snprintf(answer->text + len, sizeof answer->text - len, "%s %s %s", f ? "," : "", resource->fields[f].name,
			                        answer->verdict.merged[f] ? answer->verdict.merged[f] : "null");
	}
}

static void ask(struct probe *p, struct pl_policy *policy, const struct pl_probe_case *c, struct answer *answer)
{
	ask_again(p, policy, c, 1, answer);
}

// --- what is wrong, told

static void refuse(struct probe *p, enum pl_probe_fault fault, const struct pl_probe_case *c, const char *sentence)
{
	p->report->fault = fault;
	p->report->sentence = sentence;
	if (c) {
		p->report->smallest = pl_arena_alloc(p->arena, sizeof *c);
		*p->report->smallest = *c;
	}
}

static enum pl_probe_fault fault_of(const struct answer *answer)
{
	switch (answer->code) {
	case 0:
		return PL_PROBE_ACCEPTED;
	case PL_EBUDGET:
		return PL_PROBE_OVER_BUDGET;
	case PL_EINVAL:
		return PL_PROBE_NOT_VALID;
	default:
		return PL_PROBE_NOT_TOTAL;
	}
}

static const char *sentence_of(const struct probe *p, enum pl_probe_fault fault)
{
	const struct pl_script_limits *limits = &p->options->config->policy_limits;

	switch (fault) {
	case PL_PROBE_NOT_TOTAL:
		return "It fails for some writes. Such a record would be shown as last_writer_wins would have it, and the conflict marked policy_error.";
	case PL_PROBE_NOT_VALID:
		return "Its answer to some writes is no row that this resource could have.";
	case PL_PROBE_OVER_BUDGET:
		return pl_arena_printf(p->arena, "It uses more than its budget for some writes: it may loop. (lua.policies allows it %lld instructions, "
		                       "%zu KiB and, for what cannot be counted, %lld ms.)", (long long)limits->instructions, limits->memory / 1024,
		                       (long long)limits->wall_us / 1000);
	default:
		return NULL;
	}
}

struct predicate { struct probe *probe; struct pl_policy *policy; enum pl_probe_fault fault; };

static bool still_fails(void *arg, const struct pl_probe_case *c)
{
	struct predicate *predicate = arg;
	struct answer answer;

	ask(predicate->probe, predicate->policy, c, &answer);
	return fault_of(&answer) == predicate->fault;
}

static void refuse_case(struct probe *p, const struct pl_probe_case *found, enum pl_probe_fault fault)
{
	struct predicate predicate = {p, p->policy, fault};
	struct pl_probe_case c = *found;
	struct answer answer;

	pl_probe_shrink(&p->source, &c, still_fails, &predicate);
	ask(p, p->policy, &c, &answer);
	p->report->detail = pl_arena_strdup(p->arena, answer.err.text);
	p->report->by_the_clock = answer.err.retryable;
	refuse(p, fault, &c, sentence_of(p, fault));
}

static void refuse_differing(struct probe *p, const struct pl_probe_case *c, const char *first, const char *second, const char *sentence)
{
	p->report->first = pl_arena_strdup(p->arena, first);
	p->report->second = pl_arena_strdup(p->arena, second);
	refuse(p, PL_PROBE_NOT_DETERMINISTIC, c, sentence);
}

// --- the cases again: a source started anew gives the same ones

static bool nth_case(struct probe *p, struct pl_probe_source *source, int i, struct pl_probe_case *c)
{
	if (i < p->report->exhaustive)
		return pl_probe_exhaustive(source, i, c);
	source->rng = p->options->seed + (uint64_t)i * UINT64_C(0xd1342543de82ef95); // each random case stands by itself
	pl_probe_random(source, c);
	return true;
}

// Memory of cases and answers is dropped every now and then; what the report keeps is copied first.
static void tidy(struct probe *p, struct pl_probe_source *source)
{
	(void)source;
	pl_arena_reset(p->scratch);
}

// Of how many one is asked again, by what the first answers have taken.
static int every_nth(const struct probe *p)
{
	return 1 + (int)(2 * p->spent / ALLOWANCE);
}

static bool check_answers(struct probe *p)
{
	struct pl_probe_source source = p->source;
	struct pl_probe_case c;
	struct answer answer;

	source.arena = p->scratch;
	while (pl_probe_exhaustive(&source, p->report->exhaustive, &c)) {
		p->report->exhaustive++;
		if (p->report->exhaustive % 64 == 0)
			tidy(p, &source);
	}
	p->report->random = p->options->cases > 0 ? p->options->cases : 4000;
	p->ncases = p->report->exhaustive + p->report->random;
	p->answers = pl_arena_alloc(p->arena, sizeof p->answers[0] * (size_t)p->ncases);
	for (int i = 0; i < p->ncases; i++) {
		if (i % 64 == 0)
			tidy(p, &source);
		nth_case(p, &source, i, &c);
		ask(p, p->policy, &c, &answer);
		if (answer.code == PL_EBUDGET) // the wall clock may have been a busy machine's: once more
			ask(p, p->policy, &c, &answer);
		p->answers[i] = digest(answer.text);
		p->spent += pl_policy_instructions(p->policy);
		if (answer.code < 0) {
			p->source.arena = p->arena;
			nth_case(p, &p->source, i, &c);
			refuse_case(p, &c, fault_of(&answer));
			return false;
		}
		if (p->spent > ALLOWANCE && i + 1 >= p->report->exhaustive + RANDOM_LEAST)
			p->ncases = i + 1;
	}
	p->report->random = p->ncases - p->report->exhaustive;
	return true;
}

// The answer to case i differs: told with both answers, in words.
static bool differs(struct probe *p, int i, const char *second, const char *sentence)
{
	struct pl_probe_case c;
	struct answer first;

	p->source.arena = p->arena;
	nth_case(p, &p->source, i, &c);
	ask(p, p->policy, &c, &first);
	refuse_differing(p, &c, digest(first.text) == digest(second) ? "another one, the first time" : first.text, second, sentence);
	return false;
}

static bool check_used_state(struct probe *p)
{
	static const char sentence[] = "It answers the same writes differently at different times: it remembers something, or depends on what was "
	                               "asked before. Two regions would show different rows for ever.";
	struct pl_probe_source source = p->source;
	struct pl_vm *vm;
	struct pl_policy *policy;
	bool same = open_vm(p, &vm, &policy, NULL);

	source.arena = p->scratch;
	for (int k = 0; same && k < p->ncases; k += every_nth(p)) {
		int i = (int)((uint64_t)k * 7919 % (uint64_t)p->ncases); // another order (7919 is a prime larger than most counts divide by)
		struct pl_probe_case c;
		struct answer answer;

		if (k % 64 == 0)
			tidy(p, &source);
		nth_case(p, &source, i, &c);
		for (int times = k % 8 == 0 ? 2 : 1; same && times > 0; times--) { // once more now and then, at once
			ask(p, policy, &c, &answer);
			if (digest(answer.text) != p->answers[i] && answer.code != PL_EBUDGET)
				same = differs(p, i, answer.text, sentence);
		}
	}
	pl_vm_free(&vm);
	return same;
}

// The sandbox gives a policy no memory from call to call; one that relies on some is told so before it surprises its author.
static bool check_memory(struct probe *p)
{
	static const char sentence[] = "It counts on remembering something from one call to the next. Every call begins anew, so that all regions answer alike: "
	                               "what it keeps is gone.";
	struct pl_probe_source source = p->source;
	int step = every_nth(p) + (p->ncases > 8000); // many fields: a memory shows with one input as with its neighbour
	bool same = true;

	source.arena = p->scratch;
	for (int i = 0; same && i < p->ncases; i += step) {
		struct pl_probe_case c;
		struct answer answer;

		if (i % 64 == 0)
			tidy(p, &source);
		nth_case(p, &source, i, &c);
		ask_again(p, p->policy, &c, 2 + i / step % 2, &answer);
		if (digest(answer.text) != p->answers[i] && answer.code != PL_EBUDGET)
			same = differs(p, i, answer.text, sentence);
	}
	return same;
}

static bool check_fresh_states(struct probe *p)
{
	static const char sentence[] = "It answers the same writes differently in a program that has just started. Two regions would show different rows.";
	struct pl_probe_source source = p->source;
	bool same = true;

	source.arena = p->scratch;
	for (int k = 0; same && k < FRESH_VMS; k++) {
		int i = (int)((uint64_t)k * (uint64_t)p->ncases / FRESH_VMS);
		void *elsewhere = pl_malloc((size_t)(k + 1) * 977); // so that the state's addresses, which seed its hashes, are others
		struct pl_policy *policy;
		struct pl_probe_case c;
		struct answer answer;
		struct pl_vm *vm;

		tidy(p, &source);
		if (open_vm(p, &vm, &policy, NULL)) {
			nth_case(p, &source, i, &c);
			ask(p, policy, &c, &answer);
			p->report->fresh++;
			if (digest(answer.text) != p->answers[i] && answer.code != PL_EBUDGET)
				same = differs(p, i, answer.text, sentence);
		}
		pl_vm_free(&vm);
		free(elsewhere);
	}
	return same;
}

// --- simulated regions

static const char *simulated_value(const struct pl_sim_rules *rules, struct pl_arena *arena, int field, uint32_t n)
{
	const struct probe *p = rules->value_arg;
	const struct pl_probe_pool *pool = &p->source.large[field];

	return pool->values[n % (uint32_t)pool->n];
}

static int ask_for_simulation(void *arg, const struct pl_resource *resource, int64_t id, const struct pl_sibling *rows, int n,
                              struct pl_arena *arena, struct pl_verdict *verdict_r, struct pl_error *err)
{
	return pl_policy_resolve(arg, resource, id, rows, n, arena, verdict_r, err);
}

static bool check_convergence(struct probe *p)
{
	struct pl_sim_rules rules = {.resource = p->options->resource, .value = simulated_value, .value_arg = p, .regions = p->source.regions,
	                             .take = pl_sim_take, .ask = ask_for_simulation, .ask_arg = p->policy};
	int histories = p->options->histories > 0 ? p->options->histories : 1500, fewer = histories / every_nth(p);

	histories = fewer > HISTORIES_LEAST ? fewer : HISTORIES_LEAST < histories ? HISTORIES_LEAST : histories;

	for (int i = 0; i < histories; i++, p->report->histories++) {
		struct pl_sim_history history;
		struct pl_sim_outcome outcome;
		struct pl_buf buf = {0};

		pl_sim_history_make(&history, p->options->seed + (uint64_t)i);
		pl_sim_run(&history, &rules, &outcome);
		if (!outcome.failed)
			continue;
		pl_sim_shrink(&history, &rules);
		pl_sim_run(&history, &rules, &outcome);
		pl_sim_print(&buf, &history, &rules);
		pl_buf_printf(&buf, "%s", outcome.why);
		p->report->detail = pl_arena_strndup(p->arena, buf.data, buf.len);
		pl_buf_fini(&buf);
		refuse(p, PL_PROBE_NOT_CONVERGENT, NULL, "Simulated regions that had all heard of the same writes showed different rows.");
		return false;
	}
	return true;
}

// --- the decision table

static void tabulate(struct probe *p)
{
	enum { MAX = 16 };
	const char *titles[MAX];
	struct pl_probe_case *cases = pl_arena_alloc(p->arena, sizeof cases[0] * MAX);
	int n;

	p->source.arena = p->arena;
	n = pl_probe_situations(&p->source, titles, cases, MAX);
	struct pl_probe_decision *decisions = pl_arena_alloc(p->arena, sizeof decisions[0] * (size_t)n);
	for (int i = 0; i < n; i++) {
		struct answer answer;

		ask(p, p->policy, &cases[i], &answer);
		decisions[i].situation = titles[i];
		decisions[i].writes = pl_probe_writes(p->arena, p->options->resource, &cases[i]);
		decisions[i].answer = answer.code == 0 ? pl_probe_answer(p->arena, p->options->resource, &cases[i], &answer.verdict) : "fails";
	}
	p->report->decisions = decisions;
	p->report->ndecisions = n;
}

static void tell_bounds(struct probe *p)
{
	const struct pl_probe_source *s = &p->source;

	p->report->bounds = pl_arena_printf(p->arena,
		"every pair of writes over %d states of a row (%d of %d fields varied) and a delete, at the same time and one after the other, by either "
		"region, and every order of three (former-1, … stand for regions that the configuration no longer has); then random sets of two to five writes of %d "
		"records, with the numbers and texts that the file names among their values, seed %llu; %d answers in a state of their own; "
		"%d simulated histories of three to five regions",
		s->states, s->varied, s->resource->nfields, s->nids, (unsigned long long)p->options->seed, p->report->fresh, p->report->histories);
}

static bool load(struct probe *p)
{
	struct pl_problems problems = {0};
	bool loaded = open_vm(p, &p->vm, &p->policy, &problems);

	if (!loaded) {
		p->report->detail = problems.n > 0 ? pl_arena_strdup(p->arena, problems.lines[0].text) : "the file is not there";
		refuse(p, PL_PROBE_NOT_LOADABLE, NULL, "It cannot be loaded.");
	} else {
		p->report->name = pl_arena_strdup(p->arena, pl_policy_name(p->policy));
		p->report->doc = pl_policy_doc(p->policy) ? pl_arena_strdup(p->arena, pl_policy_doc(p->policy)) : NULL;
	}
	pl_problems_fini(&problems);
	return loaded;
}

void pl_probe_run(struct pl_arena *arena, const struct pl_probe_options *options, struct pl_probe_report *report_r)
{
	struct probe p = {.arena = arena, .scratch = pl_arena_new(1 << 16), .options = options, .report = report_r};

	memset(report_r, 0, sizeof *report_r);
	pl_probe_source_init(&p.source, arena, options->config, options->resource, options->seed);
	if (load(&p) && check_answers(&p) && check_memory(&p) && check_used_state(&p) && check_fresh_states(&p) && check_convergence(&p))
		tabulate(&p);
	tell_bounds(&p);
	pl_vm_free(&p.vm);
	pl_arena_free(&p.scratch);
}
