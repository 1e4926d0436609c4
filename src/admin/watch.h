// Lua calls that never return, in the tool: the command ends with a message instead of
// hanging.
//
// Threads: one more besides the tool's, from pl_admin_watch_start on.
#pragma once

void pl_admin_watch_start(void);
// Called before the tool ends: prints what the command has found so far. `text` says
// what hangs and where. If `say` is NULL, the text is printed as an error.
void pl_admin_watch_say(void (*say)(const char *text, void *arg), void *arg);
