// The certificates that a configuration names, and when they expire.
//
// Threads: any; no state.
#pragma once

#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"

#define PL_CERTIFICATES_MAX (5 * PL_REGIONS_MAX + 3 + 2 + 4)

struct pl_certificate {
	const char *use;             // the key of the configuration that names it
	const char *file;            // absolute
	char subject[256];           // of the certificate that expires first, if the file has several
	int64_t starts_us;           // of the same; pl_now_us
	int64_t expires_us;          // 0: the file could not be read
	char why[PL_ERROR_TEXT_MAX]; // why it could not be read
	bool broken;                 // because there is something else in the file
};

// Reads a file of one or more certificates, in PEM form.
int pl_certificate_read(const char *file, struct pl_certificate *certificate_r, struct pl_error *err);

// Prints the subject of a certificate, such as "CN=plistd". Checks whether a
// certificate is valid now: PL_EINVAL with a sentence if it is not yet, or no longer.
void pl_certificate_subject(gnutls_x509_crt_t crt, char *text, size_t size);
int pl_certificate_is_current(const struct pl_certificate *certificate, struct pl_error *err);

// Lists all certificates that the daemon of a region uses, or (region NULL) that any
// part of the deployment uses. Fills at most PL_CERTIFICATES_MAX; `use` and `file` are
// in `arena`. Returns their number.
int pl_certificate_list(const struct pl_config *config, const struct pl_region *region,
                        struct pl_arena *arena, struct pl_certificate *list_r);

// Reads a file with a private key, under the rules of pl_file_read_private. The caller
// must clear and free the text.
int pl_certificate_read_key(const char *file, struct pl_buf *text, struct pl_error *err);
