// Verifies a rule for violations: see verify.h.
//
// Its inputs are made from those of policies: rows that could be written are given the
// same values in the fields of a unique set, or stand alone for a reference. A rule is
// refused for the same reasons as a policy, and for two more: that the records still
// violate after its changes, and that it decides differently about two records when it
// sees others as well. Regions may see different records for a moment, and would undo
// each other's changes (integrity/resolution.h).
// Threads: any; nothing is shared.
#include <stdio.h>
#include <string.h>

#include "record/fields.h"
#include "script/rule.h"
#include "verify/verify.h"

#define CASES     1000 // for each set or reference
#define ROWS_MAX  PL_VERIFY_ROWS_MAX
#define TEXT_SIZE 2000
#define NTH_FRESH 50 // one in this many is asked again in a new VM
#define SHOWN     3  // lines of the table of decisions

struct rule_verification {
	struct pl_arena *arena, *scratch;
	const struct pl_verify_options *options;
	struct pl_verify_report *report;
	struct pl_verify_source source;
	struct pl_vm *vm;
	struct pl_rule *rule;
	struct pl_verify_case c;
	struct pl_violation_record records[ROWS_MAX];
	struct pl_violation violation;
	const int *fields; // that the records share; NULL: a reference
	int nfields;
};

struct rule_answer {
	int code;
	struct pl_rule_answer rule;
	struct pl_error err;
	char text[TEXT_SIZE];
};

static void refuse(struct rule_verification *v, enum pl_verify_fault fault, const char *sentence)
{
	v->report->fault = fault;
	v->report->sentence = sentence;
	v->report->smallest = pl_arena_alloc(v->arena, sizeof(v->c));
	*v->report->smallest = v->c;
}

// ---- asking

static void print_change(const struct rule_verification *v, struct pl_buf *text,
                         const struct pl_rule_change *change)
{
	const struct pl_resource *resource = v->violation.resource;
	bool any = false;

	pl_buf_printf(text, "record %lld ", (long long)v->violation.records[change->record].id);
	if (change->deleted) {
		pl_buf_adds(text, "is deleted");
		return;
	}
	pl_buf_adds(text, "gets");
	for (int i = 0; i < resource->nfields; i++)
		if (change->changes.set[i]) {
			const char *value = change->changes.values[i];

			pl_buf_printf(text, "%s %s %s", any ? "," : "", resource->fields[i].name,
			              value ? value : "null");
			any = true;
		}
}

static void ask(struct rule_verification *v, struct pl_rule *rule, int times, struct rule_answer *answer)
{
	struct pl_buf text = { 0 };

	memset(&answer->err, 0, sizeof(answer->err));
	answer->code = pl_rule_resolve(rule, &v->violation, times, v->scratch, &answer->rule, &answer->err);
	if (answer->code < 0)
		pl_buf_adds(&text, answer->err.text);
	for (int i = 0; answer->code == 0 && i < answer->rule.n; i++) {
		pl_buf_adds(&text, i ? "; " : "");
		print_change(v, &text, &answer->rule.changes[i]);
	}
	snprintf(answer->text, sizeof(answer->text), "%s", text.len ? text.data : "no record changes");
	pl_buf_fini(&text);
}

static bool has_answer(struct rule_verification *v, struct rule_answer *answer)
{
	static const char budget[] = "It exceeds its budget for some records: it may loop.";

	ask(v, v->rule, 1, answer);
	if (answer->code == PL_EBUDGET) // a busy machine may have used up the time
		ask(v, v->rule, 1, answer);
	if (answer->code == 0)
		return true;
	v->report->detail = pl_arena_strdup(v->arena, answer->err.text);
	if (answer->code == PL_EBUDGET)
		refuse(v, PL_VERIFY_OVER_BUDGET, budget);
	else if (answer->code == PL_EINVAL)
		refuse(v, PL_VERIFY_NOT_VALID,
		       "Its answer for some records is not a change that this resource could have.");
	else
		refuse(v, PL_VERIFY_NOT_TOTAL,
		       "It fails for some records. Their violation would stay open, with the error.");
	return false;
}

static bool is_repeated(struct rule_verification *v, struct pl_rule *rule, int times,
                        const struct rule_answer *first)
{
	struct rule_answer again;

	ask(v, rule, times, &again);
	if (again.code == PL_EBUDGET || strcmp(again.text, first->text) == 0)
		return true;
	v->report->first = pl_arena_strdup(v->arena, first->text);
	v->report->second = pl_arena_strdup(v->arena, again.text);
	refuse(v, PL_VERIFY_NOT_DETERMINISTIC,
	       "It gives different answers about the same records. Each region would do something else.");
	return false;
}

static bool is_repeated_afresh(struct rule_verification *v, const struct rule_answer *first)
{
	struct pl_diagnostics ignored = { 0 };
	struct pl_vm *vm = pl_vm_new(v->options->config, PL_CONTEXT_POLICY, &ignored);
	struct pl_rule *rule = vm ? pl_rule_find(vm, v->scratch, v->options->resource->violations) : NULL;
	bool same = !rule || is_repeated(v, rule, 1, first);

	pl_diagnostics_fini(&ignored);
	pl_vm_free(&vm);
	return same;
}

// ---- what the changes do

static const struct pl_rule_change *change_of(const struct rule_answer *answer, int record)
{
	for (int i = 0; i < answer->rule.n; i++)
		if (answer->rule.changes[i].record == record)
			return &answer->rule.changes[i];
	return NULL;
}

static const char *value_after(const struct rule_verification *v, const struct rule_answer *answer,
                               int record, int field)
{
	const struct pl_rule_change *change = change_of(answer, record);

	return change && change->changes.set[field] ? change->changes.values[field]
	                                            : v->violation.records[record].values[field];
}

static bool share_after(const struct rule_verification *v, const struct rule_answer *answer, int a, int b)
{
	const struct pl_rule_change *x = change_of(answer, a), *y = change_of(answer, b);

	if ((x && x->deleted) || (y && y->deleted))
		return false;
	for (int i = 0; i < v->nfields; i++) {
		const char *p = value_after(v, answer, a, v->fields[i]),
			   *q = value_after(v, answer, b, v->fields[i]);

		if (!p || !q || strcmp(p, q) != 0)
			return false;
	}
	return true;
}

static bool ends_it(struct rule_verification *v, const struct rule_answer *answer)
{
	for (int a = 0; a < v->violation.n && answer->rule.n > 0 && v->fields; a++)
		for (int b = 0; b < a; b++)
			if (share_after(v, answer, a, b)) {
				v->report->detail = pl_arena_strdup(v->arena, answer->text);
				refuse(v, PL_VERIFY_NOT_VALID,
				       "After its changes, some records still have the same values.");
				return false;
			}
	return true;
}

// A record that stays as it is among all also stays among any two.
static bool decides_alike_about_two(struct rule_verification *v, const struct rule_answer *all)
{
	struct pl_violation whole = v->violation;
	struct pl_violation_record two[2];
	bool same = true;

	for (int a = 0; a < whole.n && all->rule.n > 0 && same; a++)
		for (int b = a + 1; b < whole.n && same; b++) {
			struct rule_answer answer;

			two[0] = whole.records[a];
			two[1] = whole.records[b];
			v->violation.records = two;
			v->violation.n = 2;
			ask(v, v->rule, 1, &answer);
			same = answer.code < 0 || !((!change_of(all, a) && change_of(&answer, 0)) ||
			                            (!change_of(all, b) && change_of(&answer, 1)));
			if (!same)
				v->report->second = pl_arena_strdup(v->arena, answer.text);
		}
	v->violation = whole;
	if (same)
		return true;
	v->report->first = pl_arena_strdup(v->arena, all->text);
	refuse(v, PL_VERIFY_NOT_VALID,
	       "It changes a record if it sees two of them that stays as it is if it sees all. Regions that "
	       "see different records for a moment would both change theirs. Order the records by something "
	       "that never changes, such as id, and change all but the first.");
	return false;
}

// ---- cases

// Rows of different records, with the values of the first in the fields that are shared.
static bool make_case(struct rule_verification *v)
{
	pl_verify_random(&v->source, &v->c);
	v->violation.n = v->fields ? v->c.n : 1;
	for (int i = 0; i < v->violation.n; i++) {
		struct pl_sibling *row = &v->c.rows[i];

		row->deleted = false;
		for (int k = 0; k < v->nfields; k++)
			row->values[v->fields[k]] = v->c.rows[0].values[v->fields[k]];
		v->records[i] = (struct pl_violation_record){ .id = v->c.id + i,
			                                      .values = row->values,
			                                      .origin = row->dot.region,
			                                      .updated_at_us = row->updated_at_us,
			                                      .vector = row->vector };
	}
	for (int k = 0; k < v->nfields; k++)
		if (!v->c.rows[0].values[v->fields[k]])
			return false; // null values violate nothing
	v->violation.records = v->records;
	return true;
}

static void add_decision(struct rule_verification *v, struct pl_verify_decision *decisions,
                         const struct rule_answer *answer)
{
	struct pl_verify_decision *d = &decisions[v->report->ndecisions++];

	d->situation = pl_arena_printf(
		v->arena, v->fields ? "%d records have the same %s" : "%d record refers by %s to none",
		v->violation.n, v->violation.fields);
	d->writes = pl_arena_strdup(v->arena, pl_verify_writes(v->scratch, v->violation.resource, &v->c));
	d->answer = pl_arena_strdup(v->arena, answer->text);
	v->report->decisions = decisions;
}

static bool check_kind(struct rule_verification *v, struct pl_verify_decision *decisions, int shown)
{
	int cases = v->options->cases > 0 ? v->options->cases : CASES, before = v->report->ndecisions;

	for (int i = 0; i < cases; i++) {
		struct rule_answer answer;

		if (i % 64 == 0)
			pl_arena_reset(v->scratch);
		if (!make_case(v))
			continue;
		v->report->random++;
		if (v->options->progress)
			v->options->progress(v->options->arg, v->report->random);
		if (!has_answer(v, &answer) || !is_repeated(v, v->rule, 2, &answer) ||
		    (i % NTH_FRESH == 0 && !is_repeated_afresh(v, &answer)) || !ends_it(v, &answer) ||
		    !decides_alike_about_two(v, &answer))
			return false;
		if (v->report->ndecisions < before + shown)
			add_decision(v, decisions, &answer);
	}
	return true;
}

static bool check_all(struct rule_verification *v)
{
	const struct pl_resource *resource = v->options->resource;
	struct pl_verify_decision *decisions =
		pl_arena_alloc(v->arena, sizeof(*decisions) * SHOWN * (PL_UNIQUES_MAX + PL_FIELDS_MAX));

	for (int i = 0; i < resource->nunique; i++) {
		v->fields = resource->uniques[i].fields;
		v->nfields = resource->uniques[i].n;
		v->violation = (struct pl_violation){ resource, "multiple_unique_conflicts",
			                              resource->unique[i], 0, NULL };
		if (!check_kind(v, decisions, SHOWN))
			return false;
	}
	v->fields = NULL;
	v->nfields = 0;
	for (int i = 0; i < resource->nfields; i++) {
		if (!resource->fields[i].references)
			continue;
		v->violation = (struct pl_violation){ resource, "reference_missing", resource->fields[i].name,
			                              0, NULL };
		if (!check_kind(v, decisions, SHOWN))
			return false;
	}
	return true;
}

static bool open_rule(struct rule_verification *v)
{
	struct pl_diagnostics diagnostics = { 0 };

	v->vm = pl_vm_new(v->options->config, PL_CONTEXT_POLICY, &diagnostics);
	v->rule = v->vm ? pl_rule_find(v->vm, v->arena, v->options->resource->violations) : NULL;
	if (v->rule) {
		v->report->name = pl_arena_strdup(v->arena, pl_rule_name(v->rule));
		v->report->doc = pl_arena_strdup(v->arena, pl_rule_doc(v->rule));
	} else {
		v->report->fault = PL_VERIFY_NOT_LOADABLE;
		v->report->sentence = "It cannot be loaded.";
		v->report->detail = pl_arena_strdup(v->arena, diagnostics.n ? diagnostics.lines[0].text : "");
	}
	pl_diagnostics_fini(&diagnostics);
	return v->rule != NULL;
}

void pl_verify_run_rule(struct pl_arena *arena, const struct pl_verify_options *options,
                        struct pl_verify_report *report_r)
{
	struct rule_verification v = {
		.arena = arena, .scratch = pl_arena_new(1 << 16), .options = options, .report = report_r
	};

	memset(report_r, 0, sizeof(*report_r));
	report_r->bounds = "nothing";
	if (open_rule(&v)) {
		pl_verify_source_init(&v.source, arena, options->config, options->resource, options->seed);
		v.source.rng = options->seed;
		check_all(&v);
		report_r->bounds = pl_arena_printf(
			arena, "%d random sets of up to %d records that violate unique or a reference",
			report_r->random, ROWS_MAX);
	}
	pl_vm_free(&v.vm);
	pl_arena_free(&v.scratch);
}
