// Core dumps: a process that knows secrets leaves none.
//
// Threads: called at start, before there are others.
#pragma once

// From now on the kernel writes no core dump of this process or its children, neither to
// a file nor to a program such as systemd-coredump. Failure is logged.
void pl_core_dump_prevent(void);
