// Indexes for unique fields and for references, which each write is checked by.
#pragma once

#include "admin/schema_findings.h"

// Adds a finding for each index that the resources' tables lack.
void pl_schema_indexes_look(struct pl_schema_findings *findings, struct pl_region_session *region_session);
// Appends the statements that make them.
void pl_schema_indexes_sql(struct pl_buf *sql, const struct pl_resource *resource);
