// A wake-up: one thread signals it, others see a readable descriptor in poll(2). For
// stopping and waking threads that wait.
//
// Threads: all functions except _new and _free may be called from any; pl_wake_ring is
// safe in a signal handler.
#pragma once

struct pl_wake;

struct pl_wake *pl_wake_new(void);
void pl_wake_free(struct pl_wake **wake_p);
void pl_wake_ring(
	struct pl_wake *wake); // the descriptor stays readable until drained, however often it is signalled
void pl_wake_drain(struct pl_wake *wake); // until the next signal
int pl_wake_fd(const struct pl_wake *wake);
