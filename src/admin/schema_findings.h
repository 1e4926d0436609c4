// How the configuration, the tables of each region and the daemons of each region differ.
//
// Used by schema diff, status and config check. Threads: the tool has one.
#pragma once

#include "admin/region_sessions.h"

struct pl_schema_finding {
	const char *region;    // NULL: of no region
	const char *resource;  // NULL: of no resource
	const char *object;    // "column garage", "daemon host:8001", "trigger t"
	const char *text;      // what is wrong
	const char *run;       // what puts it right, or NULL
	bool unfit;            // daemons with this configuration cannot use the table
	bool elsewhere;        // it tolerates what only another region's table has: nothing is wrong
	bool decide;           // what puts it right takes something away: people decide
	const char *tolerates; // the name in tolerate that this table does not have, or NULL
};

struct pl_schema_findings {
	struct pl_arena *arena; // the call's
	const struct pl_config *config;
	int n, cap;
	struct pl_schema_finding *each;
};

void pl_schema_findings_fini(struct pl_schema_findings *findings);

// Adds what is wrong with the resources' tables in a region's database.
void pl_schema_findings_tables(struct pl_schema_findings *findings, struct pl_region_session *region_session);
// Adds where daemons know other fields, by what the databases have heard of each region
// lately; once for each daemon, whichever database says so.
void pl_schema_findings_daemons(struct pl_schema_findings *findings,
                                struct pl_region_session *region_session);

// After all regions: a name in tolerate that some of them lack is no difference if
// another one has it.
void pl_schema_findings_compare(struct pl_schema_findings *findings,
                                const struct pl_region_sessions *sessions);

void pl_schema_findings_add(struct pl_schema_findings *findings, const struct pl_schema_finding *finding);

// "NUMERIC(12,2)": the type of a field's column.
#define PL_SQL_TYPE_MAX 32
const char *pl_schema_findings_sql_type(const struct pl_field *field, char text[PL_SQL_TYPE_MAX]);
