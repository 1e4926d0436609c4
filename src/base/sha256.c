// SHA-256, by OpenSSL's EVP.
//
// For fingerprints of requests and hashes of policies. The algorithm is fetched once:
// fetching it for each digest costs more than a small digest.
// Threads: any.
#include "base/sha256.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "base/error.h"

static EVP_MD *algorithm;
static pthread_once_t algorithm_once = PTHREAD_ONCE_INIT;

static void fetch_algorithm(void)
{
	algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
}

void pl_sha256(const void *data, size_t len, uint8_t digest[PL_SHA256_SIZE])
{
	pthread_once(&algorithm_once, fetch_algorithm);
	if (algorithm == NULL || EVP_Digest(data, len, digest, NULL, algorithm, NULL) != 1)
		pl_die("OpenSSL does not provide SHA-256");
}

char *pl_sha256_hex(const uint8_t digest[PL_SHA256_SIZE], char text[PL_SHA256_HEX])
{
	static const char hex[] = "0123456789abcdef";
	for (int i = 0; i < PL_SHA256_SIZE; i++) {
		text[2 * i] = hex[digest[i] >> 4];
		text[2 * i + 1] = hex[digest[i] & 15];
	}
	text[2 * PL_SHA256_SIZE] = '\0';
	return text;
}
