// The two contexts in which scripts run.
#pragma once

// One bit each, so that a table can name both.
enum pl_context {
	// require "plist.records", "plist.db", "plist.http", "plist.json", "plist.log",
	// "plist.decimal"
	PL_CONTEXT_HANDLER = 1,
	// require "plist.policy", "plist.decimal"; no clock, no randomness, no memory
	// between calls
	PL_CONTEXT_POLICY = 2,
};
