/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of DATA, going on from CRC (0 to begin; the usual
 * inversions are inside, so that crc32c(crc32c(0, a), b) is the CRC of a then b). Uses the
 * processor's instruction where there is one. Any thread. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The same without the instruction, for machines that lack it, and for its test. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
