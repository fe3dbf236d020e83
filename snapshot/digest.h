/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_DIGEST_H
#define SNAPSHOT_DIGEST_H

#include "base/bytes.h"

/* SHA-256 of bytes that come in pieces. */
#define DIGEST_BYTES    32
#define DIGEST_HEX_SIZE (2 * DIGEST_BYTES + 1)

struct digest;

struct digest *digest_new(void);         /* NULL: no memory */
void digest_free(struct digest *digest); /* NULL allowed */
void digest_freep(struct digest **digest);
void digest_add(struct digest *digest, struct bytes bytes);
void digest_end(struct digest *digest, uint8_t ret[DIGEST_BYTES]); /* once, at the end */

void digest_hex(const uint8_t digest[DIGEST_BYTES], char ret[DIGEST_HEX_SIZE]);

#endif
