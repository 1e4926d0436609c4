// Verifies a policy, in the order of checks that helps its author most.
//
// Called before a policy goes live (verify/admission.c) and by plist-admin policy
// check. Everything runs in VMs made for the purpose, with the production limits, so a
// policy that loops or uses too much memory is stopped as it would be in the applier.
//
// 1. It loads, as the only policy of a VM.
// 2. It gives a valid verdict for every input: first the exhaustive sets, then random
// ones.
// 3. It does not rely on memory: asked several times in the same environment, it gives
// the same answer.
// 4. It is deterministic: the same inputs in another order, some of them twice, in a
// second VM (another hash seed, other addresses, a used state), and a few of them each
// in a new VM.
//
// Convergence requires no more: decide/decide.c explains why regions that use any pure
// rule end with equal rows, and tests/unit/decide/test_simulate.c runs histories
// through it.
//
// Threads: any; nothing is shared.
#include "verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Budget for one pass over the inputs, so that an expensive policy does not delay the
// start by minutes. Counted in instructions, not in time: every region tries the same
// inputs.
#define ALLOWANCE    INT64_C(60000000)
#define RANDOM_LEAST 500
#define USED_NTH     2  // every second input is also tried in a used state
#define MEMORY_NTH   4  // every fourth one is checked for memory
#define FRESH_VMS    60 // each a new Lua state for a single call

struct verification {
	struct pl_arena *arena, *scratch;
	const struct pl_verify_options *options;
	struct pl_verify_source source;
	struct pl_verify_report *report;
	struct pl_vm *vm;
	struct pl_policy *policy;
	int64_t spent;     // instructions, for the first answer to each case
	uint64_t *answers; // a digest of the answer to each case
	int ncases;
	int steps; // number of inputs tried so far
};

// Any answer as text, for comparison.
struct answer {
	int code;
	char text[1400];
	struct pl_verdict verdict;
	struct pl_error err;
};

const char *pl_verify_fault_name(enum pl_verify_fault fault)
{
	static const char *const names[] = { "accepted",  "not_loadable", "not_total",
		                             "not_valid", "over_budget",  "not_deterministic" };

	return names[fault];
}

static uint64_t digest(const char *text)
{
	uint64_t h = UINT64_C(1469598103934665603); // FNV-1a

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return h;
}

static bool open_vm(struct verification *v, struct pl_vm **vm_r, struct pl_policy **policy_r,
                    struct pl_diagnostics *diagnostics)
{
	struct pl_diagnostics ignored = { 0 }; // its problems were reported before

	*vm_r = pl_vm_new(v->options->config, PL_CONTEXT_POLICY, diagnostics ? diagnostics : &ignored);
	pl_diagnostics_fini(&ignored);
	*policy_r = *vm_r ? pl_policy_find(*vm_r, v->options->resource->policy) : NULL;
	return *policy_r != NULL;
}

static void ask_again(struct verification *v, struct pl_policy *policy, const struct pl_verify_case *c,
                      int times, struct answer *answer)
{
	const struct pl_resource *resource = v->options->resource;
	struct pl_policy_question question = { resource, c->id, c->rows, c->n };

	memset(&answer->err, 0, sizeof(answer->err));
	answer->code =
		pl_policy_resolve(policy, &question, times, v->scratch, &answer->verdict, &answer->err);
	if (answer->code < 0) {
		snprintf(answer->text, sizeof(answer->text), "%s: %s", pl_error_code_name(answer->code),
		         answer->err.text);
	} else if (answer->verdict.take >= 0) {
		snprintf(answer->text, sizeof(answer->text), "write %d is shown", answer->verdict.take + 1);
	} else {
		size_t len = (size_t)snprintf(answer->text, sizeof(answer->text), "a new row is shown:");

		for (int f = 0; f < resource->nfields && len < sizeof(answer->text); f++)
			len += (size_t)snprintf(answer->text + len, sizeof(answer->text) - len, "%s %s %s",
			                        f ? "," : "", resource->fields[f].name,
			                        answer->verdict.merged[f] ? answer->verdict.merged[f]
			                                                  : "null");
	}
}

static void ask(struct verification *v, struct pl_policy *policy, const struct pl_verify_case *c,
                struct answer *answer)
{
	ask_again(v, policy, c, 1, answer);
}

// ---- refusing

static void refuse(struct verification *v, enum pl_verify_fault fault, const struct pl_verify_case *c,
                   const char *sentence)
{
	v->report->fault = fault;
	v->report->sentence = sentence;
	if (c) {
		v->report->smallest = pl_arena_alloc(v->arena, sizeof(*c));
		*v->report->smallest = *c;
	}
}

static enum pl_verify_fault fault_of(const struct answer *answer)
{
	switch (answer->code) {
	case 0: return PL_VERIFY_ACCEPTED;
	case PL_EBUDGET: return PL_VERIFY_OVER_BUDGET;
	case PL_EINVAL: return PL_VERIFY_NOT_VALID;
	default: return PL_VERIFY_NOT_TOTAL;
	}
}

static const char *sentence_of(const struct verification *v, enum pl_verify_fault fault)
{
	const struct pl_script_limits *limits = &v->options->config->policy_limits;

	switch (fault) {
	case PL_VERIFY_NOT_TOTAL:
		return "It fails for some writes. Such a record would show its latest write, as "
		       "last_writer_wins does, and the conflict would be marked policy_error.";
	case PL_VERIFY_NOT_VALID:
		return "Its answer to some writes is not a row that this resource could have.";
	case PL_VERIFY_OVER_BUDGET:
		return pl_arena_printf(
			v->arena,
			"It exceeds its budget for some writes: it may loop. (lua.policies allows %lld "
			"instructions, %zu KiB and, for what cannot be counted, %lld ms.)",
			(long long)limits->instructions, limits->memory / 1024,
			(long long)limits->wall_us / 1000);
	default: return NULL;
	}
}

struct predicate {
	struct verification *verification;
	struct pl_policy *policy;
	enum pl_verify_fault fault;
};

static bool still_fails(void *arg, const struct pl_verify_case *c)
{
	struct predicate *predicate = arg;
	struct answer answer;

	ask(predicate->verification, predicate->policy, c, &answer);
	return fault_of(&answer) == predicate->fault;
}

static void refuse_case(struct verification *v, const struct pl_verify_case *found,
                        enum pl_verify_fault fault)
{
	struct predicate predicate = { v, v->policy, fault };
	struct pl_verify_case c = *found;
	struct answer answer;

	pl_verify_shrink(&v->source, &c, still_fails, &predicate);
	ask(v, v->policy, &c, &answer);
	v->report->detail = pl_arena_strdup(v->arena, answer.err.text);
	refuse(v, fault, &c, sentence_of(v, fault));
}

static void refuse_differing(struct verification *v, const struct pl_verify_case *c, const char *first,
                             const char *second, const char *sentence)
{
	v->report->first = pl_arena_strdup(v->arena, first);
	v->report->second = pl_arena_strdup(v->arena, second);
	refuse(v, PL_VERIFY_NOT_DETERMINISTIC, c, sentence);
}

// ---- repeating the cases

static void count_step(struct verification *v)
{
	v->steps++;
	if (v->options->progress)
		v->options->progress(v->options->arg, v->steps);
}

// Returns the same case each time.
static void nth_case(struct verification *v, struct pl_verify_source *source, int i, struct pl_verify_case *c)
{
	count_step(v);
	if (i < v->report->exhaustive) {
		pl_verify_exhaustive(source, i, c);
		return;
	}
	// A separate seed for each case, so that it can be made without those before
	// it.
	source->rng = v->options->seed + (uint64_t)i * UINT64_C(0xd1342543de82ef95);
	pl_verify_random(source, c);
}

// Frees the memory of cases and answers from time to time; the report has copies.
static void tidy(struct verification *v, int i)
{
	if (i % 64 == 0)
		pl_arena_reset(v->scratch);
}

// Repeats only every n-th case if the first answers were expensive.
static int every_nth(const struct verification *v)
{
	return 1 + (int)(2 * v->spent / ALLOWANCE);
}

static struct pl_verify_source scratch_source(struct verification *v)
{
	struct pl_verify_source source = v->source;

	source.arena = v->scratch;
	return source;
}

static int count_exhaustive(struct verification *v)
{
	struct pl_verify_source source = scratch_source(v);
	struct pl_verify_case c;
	int n = 0;

	for (; pl_verify_exhaustive(&source, n, &c); n++)
		tidy(v, n);
	return n;
}

// ---- 2. it has an answer

static bool check_answers(struct verification *v)
{
	struct pl_verify_source source = scratch_source(v);

	v->report->exhaustive = count_exhaustive(v);
	v->ncases = v->report->exhaustive + (v->options->cases > 0 ? v->options->cases : 4000);
	v->answers = pl_arena_alloc(v->arena, sizeof(v->answers[0]) * (size_t)v->ncases);
	for (int i = 0; i < v->ncases; i++) {
		struct pl_verify_case c;
		struct answer answer;

		tidy(v, i);
		nth_case(v, &source, i, &c);
		ask(v, v->policy, &c, &answer);
		// a busy machine may have used up the time: try again
		if (answer.code == PL_EBUDGET)
			ask(v, v->policy, &c, &answer);
		v->answers[i] = digest(answer.text);
		v->spent += pl_policy_instructions(v->policy);
		if (answer.code < 0) {
			v->source.arena = v->arena;
			nth_case(v, &v->source, i, &c);
			refuse_case(v, &c, fault_of(&answer));
			return false;
		}
		if (v->spent > ALLOWANCE && i + 1 >= v->report->exhaustive + RANDOM_LEAST)
			v->ncases = i + 1;
	}
	v->report->random = v->ncases - v->report->exhaustive;
	return true;
}

// ---- 3. and 4. it repeats its answer

static void refuse_nth(struct verification *v, int i, const char *second, const char *sentence)
{
	struct pl_verify_case c;
	struct answer first;

	v->source.arena = v->arena;
	nth_case(v, &v->source, i, &c);
	ask(v, v->policy, &c, &first);
	refuse_differing(
		v, &c, digest(first.text) == digest(second) ? "a different one, the first time" : first.text,
		second, sentence);
}

// Asks about case i again. False, and the policy is refused, if the answer differs. A
// call that ran out of time does not count as an answer.
static bool answers_alike(struct verification *v, struct pl_policy *policy, struct pl_verify_source *source,
                          int i, int times, const char *sentence)
{
	struct pl_verify_case c;
	struct answer answer;

	nth_case(v, source, i, &c);
	ask_again(v, policy, &c, times, &answer);
	if (digest(answer.text) == v->answers[i] || answer.code == PL_EBUDGET)
		return true;
	refuse_nth(v, i, answer.text, sentence);
	return false;
}

// In production, every call gets a new environment, so nothing is remembered. A policy
// that relies on memory would surprise its author, so it is refused.
static bool check_memory(struct verification *v)
{
	static const char sentence[] =
		"It relies on remembering something between calls. Every call gets a new environment, so "
		"that all regions give the same answer; what the policy keeps is lost.";
	struct pl_verify_source source = scratch_source(v);
	int step = MEMORY_NTH * every_nth(v);
	bool same = true;

	for (int i = 0; same && i < v->ncases; i += step) {
		tidy(v, i);
		same = answers_alike(v, v->policy, &source, i, 2 + i / step % 2, sentence);
	}
	return same;
}

static bool check_used_state(struct verification *v)
{
	static const char sentence[] =
		"It answers the same writes differently at different times: it remembers something, or "
		"depends on what it was asked before. Two regions could show different rows permanently.";
	struct pl_verify_source source = scratch_source(v);
	struct pl_vm *vm;
	struct pl_policy *policy;
	bool same = open_vm(v, &vm, &policy, NULL);

	for (int k = 0; same && k < v->ncases; k += USED_NTH * every_nth(v)) {
		// Another order: 7919 is a prime that divides hardly any count.
		int i = (int)((uint64_t)k * 7919 % (uint64_t)v->ncases);

		tidy(v, k);
		same = answers_alike(v, policy, &source, i, 1, sentence);
		if (same && k % 8 == 0)
			same = answers_alike(v, policy, &source, i, 1, sentence);
	}
	pl_vm_free(&vm);
	return same;
}

static bool check_fresh_states(struct verification *v)
{
	static const char sentence[] =
		"It answers the same writes differently in a daemon that has just started. Two regions "
		"would show different rows.";
	struct pl_verify_source source = scratch_source(v);
	bool same = true;

	for (int k = 0; same && k < FRESH_VMS; k++) {
		int i = (int)((uint64_t)k * (uint64_t)v->ncases / FRESH_VMS);
		// Moves the Lua state to other addresses, which are part of its hash
		// seed.
		void *padding = pl_malloc((size_t)(k + 1) * 977);
		struct pl_policy *policy;
		struct pl_vm *vm;

		tidy(v, 0);
		if (open_vm(v, &vm, &policy, NULL)) {
			v->report->fresh++;
			same = answers_alike(v, policy, &source, i, 1, sentence);
		}
		pl_vm_free(&vm);
		free(padding);
	}
	return same;
}

// ---- the decision table

static void tabulate(struct verification *v)
{
	enum { MAX = 32 };
	const char *titles[MAX];
	struct pl_verify_case *cases = pl_arena_alloc(v->arena, sizeof(cases[0]) * MAX);
	struct pl_verify_decision *decisions;
	int n;

	v->source.arena = v->arena;
	n = pl_verify_situations(&v->source, titles, cases, MAX);
	decisions = pl_arena_alloc(v->arena, sizeof(decisions[0]) * (size_t)n);
	for (int i = 0; i < n; i++) {
		struct answer answer;

		ask(v, v->policy, &cases[i], &answer);
		decisions[i].situation = titles[i];
		decisions[i].writes = pl_verify_writes(v->arena, v->options->resource, &cases[i]);
		decisions[i].answer = answer.code == 0 ? pl_verify_answer(v->arena, v->options->resource,
		                                                          &cases[i], &answer.verdict)
		                                       : "fails";
	}
	v->report->decisions = decisions;
	v->report->ndecisions = n;
}

static void describe_bounds(struct verification *v)
{
	const struct pl_verify_source *s = &v->source;

	v->report->bounds = pl_arena_printf(
		v->arena,
		"every pair of writes over %d states of a row (%d of %d fields varied) and a delete, at "
		"the same time and one after the other, by either region, and every order of three "
		"(former-1, … are regions that the configuration "
		"no longer has); then random sets of two to five writes of %d records, with the numbers "
		"and texts in the policy's file among their values, seed %llu; %d answers in a Lua state "
		"of their own",
		s->states, s->varied, s->resource->nfields, s->nids, (unsigned long long)v->options->seed,
		v->report->fresh);
}

// ---- 1. it loads

static bool load(struct verification *v)
{
	struct pl_diagnostics diagnostics = { 0 };
	bool loaded = open_vm(v, &v->vm, &v->policy, &diagnostics);

	if (!loaded) {
		v->report->detail = diagnostics.n > 0 ? pl_arena_strdup(v->arena, diagnostics.lines[0].text)
		                                      : "the file does not exist";
		refuse(v, PL_VERIFY_NOT_LOADABLE, NULL, "It cannot be loaded.");
	} else {
		v->report->name = pl_arena_strdup(v->arena, pl_policy_name(v->policy));
		v->report->doc =
			pl_policy_doc(v->policy) ? pl_arena_strdup(v->arena, pl_policy_doc(v->policy)) : NULL;
	}
	pl_diagnostics_fini(&diagnostics);
	return loaded;
}

void pl_verify_run(struct pl_arena *arena, const struct pl_verify_options *options,
                   struct pl_verify_report *report_r)
{
	struct verification v = {
		.arena = arena, .scratch = pl_arena_new(1 << 16), .options = options, .report = report_r
	};

	memset(report_r, 0, sizeof(*report_r));
	pl_verify_source_init(&v.source, arena, options->config, options->resource, options->seed);
	if (load(&v) && check_answers(&v) && check_memory(&v) && check_used_state(&v) &&
	    check_fresh_states(&v))
		tabulate(&v);
	describe_bounds(&v);
	pl_vm_free(&v.vm);
	pl_arena_free(&v.scratch);
}
