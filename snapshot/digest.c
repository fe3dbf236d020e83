/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "base/assert.h"

struct digest {
    EVP_MD_CTX *ctx;
};

struct digest *digest_new(void)
{
    struct digest *digest = calloc(1, sizeof *digest);
    if (digest == NULL) {
        return NULL;
    }
    digest->ctx = EVP_MD_CTX_new();
    if (digest->ctx == NULL || EVP_DigestInit_ex(digest->ctx, EVP_sha256(), NULL) != 1) {
        digest_free(digest);
        return NULL;
    }
    return digest;
}

void digest_free(struct digest *digest)
{
    if (digest != NULL) {
        EVP_MD_CTX_free(digest->ctx);
        free(digest);
    }
}

void digest_freep(struct digest **digest)
{
    digest_free(*digest);
}

void digest_add(struct digest *digest, struct bytes bytes)
{
    int done = EVP_DigestUpdate(digest->ctx, bytes.data, bytes.len);
    ASSERT(done == 1);
}

void digest_end(struct digest *digest, uint8_t ret[DIGEST_BYTES])
{
    unsigned size = DIGEST_BYTES;
    int done = EVP_DigestFinal_ex(digest->ctx, ret, &size);
    ASSERT(done == 1 && size == DIGEST_BYTES);
}

void digest_hex(const uint8_t digest[DIGEST_BYTES], char ret[DIGEST_HEX_SIZE])
{
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    }
}
