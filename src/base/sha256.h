// SHA-256, with the EVP interface of OpenSSL.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PL_SHA256_SIZE 32
#define PL_SHA256_HEX  65 // with the NUL

void pl_sha256(const void *data, size_t len, uint8_t digest[PL_SHA256_SIZE]);
char *pl_sha256_hex(const uint8_t digest[PL_SHA256_SIZE], char text[PL_SHA256_HEX]);
