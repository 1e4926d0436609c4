// See pages.h. Threads: the tool has one.
#include "admin/pages.h"

#include "admin/cell.h"
#include "base/buf.h"

static bool read_page(struct pl_region_session *session, const struct pl_pages *pages, struct pl_buf *numbers)
{
	const char *params[1];
	PGresult *page;

	pl_buf_addc(numbers, '}');
	params[0] = numbers->data;
	page = pl_region_sessions_query(session, pages->rows, 1, params);
	if (page)
		pages->add(pages->arg, page);
	pl_buf_reset(numbers);
	PQclear(page);
	return page != NULL;
}

int64_t pl_pages_read(struct pl_region_session *session, const struct pl_pages *pages)
{
	PGresult *order = pl_region_sessions_query(session, pages->order, pages->nparams, pages->params);
	struct pl_buf numbers = { 0 };
	int64_t bytes = 0, last = 0;
	int n = order ? PQntuples(order) : 0;

	for (int i = 0; i < n; i++) {
		pl_buf_addc(&numbers, numbers.len ? ',' : '{');
		pl_buf_adds(&numbers, pl_cell(order, i, 0));
		bytes += pl_cell_int(order, i, 1, 0);
		if (i < n - 1 && bytes < PL_PAGES_BYTES)
			continue;
		if (!read_page(session, pages, &numbers))
			break;
		bytes = 0;
		last = pl_cell_int(order, i, 0, 0);
	}
	pl_buf_fini(&numbers);
	PQclear(order);
	return last;
}
