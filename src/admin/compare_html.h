// The result of a comparison as an HTML page.
// Threads: the tool has one.
#pragma once

#include "admin/comparison.h"

// Appends the whole page. It refers to no other resource.
void pl_compare_html_page(struct pl_buf *page, const struct pl_invocation *invocation,
                          const struct pl_comparison *comparisons, int n);
