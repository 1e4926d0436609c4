// The key fetcher: fetches the keys of a source when they are due.
//
// Threads: runs its own while there is a source. The functions are called by the thread
// that created it, or by one thread at a time.
#pragma once

#include "auth/key_source.h"
#include "base/error.h"

struct pl_key_fetcher;

struct pl_key_fetcher *pl_key_fetcher_new(void);
// From now on, fetches the keys of this source; NULL: of none. PL_EINTERNAL if no
// thread can be created.
int pl_key_fetcher_use(struct pl_key_fetcher *fetcher, struct pl_key_source *source, struct pl_error *err);
// For `config check`: fetches the keys of auth.jwt.jwks_url once, as the daemon does.
// Returns 0 and how many keys it would and would not use, or a code.
int pl_key_fetcher_try(const struct pl_config *config, int64_t timeout_us, int *used_r, int *passed_over_r,
                       struct pl_error *err);
void pl_key_fetcher_free(struct pl_key_fetcher **fetcher_p); // also of NULL; ends a fetch
