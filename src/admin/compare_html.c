// The result of a comparison as a page for people: a summary, and each difference with
// the regions' copies side by side. Cells that differ are marked.
//
// The page is one file without scripts or external resources, so it can be attached to
// a ticket.
// Threads: the tool has one.
#include "admin/compare_html.h"

#include <string.h>

#include "admin/compare_report.h"
#include "admin/format.h"
#include "base/clock.h"

static const char head[] =
	"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>plist: comparison of "
	"regions</title>\n"
	"<meta name=\"viewport\" content=\"width=device-width\"><style>\n"
	":root{color-scheme:light dark;--line:#8884;--bad:#c62828;--good:#2e7d32;--mark:#ffb30033}\n"
	"body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\n"
	"h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem}\n"
	"table{border-collapse:collapse;width:100%;margin:.5rem 0}\n"
	"th,td{border-bottom:1px solid var(--line);padding:.3rem "
	".6rem;text-align:left;vertical-align:top}\n"
	"td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\n"
	"code,td.v{font-family:ui-monospace,monospace;font-size:.9em}\n"
	"td.v{overflow-wrap:anywhere}td.d{background:var(--mark)}td.none{color:#888;font-style:italic}\n"
	".bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}\n"
	"section{border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;margin:1rem 0}\n"
	"section h3{font-size:1rem;margin:.2rem 0}.kind{border:1px solid "
	"currentColor;border-radius:99px;padding:0 .6em;"
	"font-size:.85em;margin-left:.6em}.muted{color:#888}\n"
	"@media print{section{break-inside:avoid}}\n</style></head><body>\n";

static const char *const explained[PL_DIFFERENCES] = {
	[PL_DIFFERENCE_MISSING] = "A region does not have the record. Republishing adds it.",
	[PL_DIFFERENCE_BEHIND] =
		"A copy has not seen all writes that another one has. Republishing brings them.",
	[PL_DIFFERENCE_CONCURRENT] =
		"Each copy has writes that another one has not seen. When both are republished, the "
		"policy resolves the conflict.",
	[PL_DIFFERENCE_SIBLINGS] = "The copies have seen the same writes but have different siblings. "
				   "One copy has to be chosen.",
	[PL_DIFFERENCE_CONTENT] =
		"The copies have seen the same writes but differ: something other than plist changed a row. "
		"One copy has to be chosen.",
};

static void add_text(struct pl_buf *page, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&': pl_buf_adds(page, "&amp;"); break;
		case '<': pl_buf_adds(page, "&lt;"); break;
		case '>': pl_buf_adds(page, "&gt;"); break;
		case '"': pl_buf_adds(page, "&quot;"); break;
		default: pl_buf_addc(page, *text);
		}
}

static int64_t differences_of(const struct pl_comparison *comparisons, int n)
{
	int64_t sum = 0;
	for (int i = 0; i < n; i++)
		sum += comparisons[i].nfound;
	return sum;
}

// ---- the summary

static void add_count(struct pl_buf *page, int64_t count, bool bad)
{
	char text[PL_COUNT_MAX];
	pl_buf_printf(page, "<td class=\"n%s\">%s</td>", bad && count ? " bad" : "",
	              pl_format_count(count, text));
}

static void add_summary(struct pl_buf *page, const struct pl_comparison *comparisons, int n)
{
	pl_buf_adds(page, "<table><thead><tr><th>Resource</th>");
	for (int r = 0; r < comparisons[0].scan.n; r++)
		pl_buf_printf(page, "<th class=\"n\">Records in %s</th>",
		              comparisons[0].sessions->each[r].region->name);
	for (int d = PL_DIFFERENCE_MISSING; d < PL_DIFFERENCES; d++)
		pl_buf_printf(page, "<th class=\"n\">%s</th>", pl_classify_name((enum pl_difference)d));
	pl_buf_adds(page, "<th class=\"n\">unsettled</th></tr></thead><tbody>\n");
	for (int i = 0; i < n; i++) {
		pl_buf_printf(page, "<tr><td><a href=\"#%s\">%s</a></td>", comparisons[i].resource->name,
		              comparisons[i].resource->name);
		for (int r = 0; r < comparisons[i].scan.n; r++)
			add_count(page, comparisons[i].scan.rows[r], false);
		for (int d = PL_DIFFERENCE_MISSING; d < PL_DIFFERENCES; d++)
			add_count(page, comparisons[i].counts[d], true);
		add_count(page, comparisons[i].unsettled, true);
		pl_buf_adds(page, "</tr>\n");
	}
	pl_buf_adds(page, "</tbody></table>\n");
}

static void add_meanings(struct pl_buf *page, const struct pl_comparison *comparisons, int n)
{
	pl_buf_adds(page, "<dl>");
	for (int d = PL_DIFFERENCE_MISSING; d < PL_DIFFERENCES; d++) {
		int64_t count = 0;
		for (int i = 0; i < n; i++)
			count += comparisons[i].counts[d];
		if (count)
			pl_buf_printf(page, "<dt><b>%s</b></dt><dd>%s</dd>",
			              pl_classify_name((enum pl_difference)d), explained[d]);
	}
	pl_buf_adds(page, "</dl>\n");
}

// ---- a difference

static const char *meta(const struct pl_scan_copy *copy, int row)
{
	const char *const values[] = { copy->vector,
		                       copy->version,
		                       copy->updated_at,
		                       copy->origin,
		                       copy->deleted ? "yes" : "no",
		                       copy->siblings ? copy->siblings : "none" };
	return copy->copy.exists || row == 5 ? values[row] : NULL;
}

static void add_cells(struct pl_buf *page, const struct pl_found *found, int n,
                      const char *(*value)(void *arg, const struct pl_scan_copy *copy), void *arg)
{
	bool differs = false;
	const char *first = NULL;
	for (int i = 0; i < n; i++) {
		const char *text = value(arg, &found->copies[i]);
		differs |= text && first && strcmp(text, first) != 0;
		first = text ? text : first;
	}
	for (int i = 0; i < n; i++) {
		const char *text = value(arg, &found->copies[i]);
		pl_buf_printf(page, "<td class=\"%s\">", !text ? "none" : differs ? "v d" : "v");
		add_text(page, text ? text : "no record");
		pl_buf_adds(page, "</td>");
	}
}

struct field_of {
	struct pl_arena *arena;
	const char *name;
};

static const char *field_value(void *arg, const struct pl_scan_copy *copy)
{
	const struct field_of *of = arg;
	return pl_compare_report_value(of->arena, copy, of->name);
}

static const char *meta_value(void *arg, const struct pl_scan_copy *copy)
{
	return meta(copy, *(const int *)arg);
}

static void add_difference(struct pl_buf *page, const struct pl_comparison *c, const struct pl_found *found)
{
	static const char *const rows[] = { "vector",        "version", "updated_at",
		                            "region_origin", "deleted", "siblings" };
	pl_buf_printf(
		page,
		"<section><h3>%s/%lld<span class=\"kind bad\">%s</span></h3><table><thead><tr><th></th>",
		c->resource->name, (long long)found->id, pl_classify_name(found->is.difference));
	for (int i = 0; i < c->scan.n; i++)
		pl_buf_printf(page, "<th>%s <span class=\"muted\">%s</span></th>",
		              c->sessions->each[i].region->name, pl_classify_state_name(found->is.state[i]));
	pl_buf_adds(page, "</tr></thead><tbody>\n");
	if (!found->copies)
		pl_buf_printf(page,
		              "<tr><th></th><td class=\"none\" colspan=\"%d\">The copies are not shown: "
		              "those of all differences together are too large for this page.</td></tr>\n",
		              c->scan.n);
	for (int f = 0; f < c->resource->nfields && found->copies; f++) {
		struct field_of of = { c->arena, c->resource->fields[f].name };
		pl_buf_printf(page, "<tr><th>%s</th>", of.name);
		add_cells(page, found, c->scan.n, field_value, &of);
		pl_buf_adds(page, "</tr>\n");
	}
	for (int row = 0; row < (int)(sizeof(rows) / sizeof(rows[0])) && found->copies; row++) {
		pl_buf_printf(page, "<tr><th class=\"muted\">%s</th>", rows[row]);
		add_cells(page, found, c->scan.n, meta_value, &row);
		pl_buf_adds(page, "</tr>\n");
	}
	pl_buf_adds(page, "</tbody></table></section>\n");
}

void pl_compare_html_page(struct pl_buf *page, const struct pl_invocation *invocation,
                          const struct pl_comparison *comparisons, int n)
{
	char at[PL_TIME_TEXT_MAX], count[PL_COUNT_MAX];
	int64_t differences = differences_of(comparisons, n);
	pl_buf_adds(page, head);
	pl_buf_printf(page, "<h1>Comparison of regions</h1><p class=\"muted\">%s, by ",
	              pl_clock_format_time(pl_now_us(), at));
	add_text(page, invocation->config->file);
	pl_buf_printf(page, "</p><p class=\"%s\">%s</p>\n", differences ? "bad" : "good",
	              differences ? pl_arena_printf(invocation->arena, "%s records differ.",
	                                            pl_format_count(differences, count))
	                          : "No record differs.");
	add_summary(page, comparisons, n);
	add_meanings(page, comparisons, n);
	for (int i = 0; i < n; i++) {
		const struct pl_comparison *c = &comparisons[i];
		pl_buf_printf(page, "<h2 id=\"%s\">%s</h2>\n", c->resource->name, c->resource->name);
		if (c->nfound == 0)
			pl_buf_adds(page, "<p class=\"good\">All regions are equal.</p>\n");
		if (c->nfound > c->limit)
			pl_buf_printf(page, "<p>The first %d of %s differences are shown.</p>\n", c->limit,
			              pl_format_count(c->nfound, count));
		for (int d = 0; d < c->nfound && d < c->limit; d++)
			add_difference(page, c, &c->found[d]);
	}
	pl_buf_adds(page, "</body></html>\n");
}
