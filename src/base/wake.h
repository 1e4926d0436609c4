// A bell: one thread rings it, others see it in poll(2) as a readable descriptor. For stopping and for waking threads that wait.
//
// Threads: all functions but _new and _free may be called from any; ringing is safe in a signal handler.
#pragma once

struct pl_wake;

struct pl_wake *pl_wake_new(void);
void pl_wake_free(struct pl_wake **wake);
void pl_wake_ring(struct pl_wake *wake);  // the descriptor is readable until drained, however often it was rung
void pl_wake_drain(struct pl_wake *wake); // not readable any more, until it is rung again
int pl_wake_fd(const struct pl_wake *wake);
