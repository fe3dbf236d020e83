/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define POLYNOMIAL_REVERSED 0x82f63b78u

/* Four bits a step, nibble[i] being the remainder of i. */
static uint32_t step_table(uint32_t crc, const uint8_t *at, size_t len)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    _Static_assert(POLYNOMIAL_REVERSED == 0x82f63b78u, "nibble[8] is the polynomial");
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return crc;
}

#if defined(__x86_64__)
#define TARGET __attribute__((target("sse4.2,pclmul")))

/* The instruction takes three cycles, and three of them may be under way: three lanes side by side
 * (V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel
 * 2011). To put bytes behind what was summed is to multiply it by a power of x: the constants are
 * x^(8 n - 33) modulo the polynomial, reflected, for n bytes; the instruction that reduces the
 * product multiplies it by the other x^33. */
#define LANE_BYTES       80u
#define BEHIND_ONE_LANE  0x39d3b296
#define BEHIND_TWO_LANES 0x878a92a7

static uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

TARGET static uint64_t times(uint64_t crc, int64_t power)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi64_si128(power), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

TARGET static uint32_t step_sse42(uint32_t crc, const uint8_t *at, size_t len)
{
    uint64_t sum = crc;
    for (; len >= 3 * LANE_BYTES; at += 3 * LANE_BYTES, len -= 3 * LANE_BYTES) {
        uint64_t second = 0;
        uint64_t third = 0;
        for (size_t i = 0; i < LANE_BYTES; i += sizeof(uint64_t)) {
            sum = _mm_crc32_u64(sum, word_at(at + i));
            second = _mm_crc32_u64(second, word_at(at + LANE_BYTES + i));
            third = _mm_crc32_u64(third, word_at(at + 2 * LANE_BYTES + i));
        }
        sum = times(sum, BEHIND_TWO_LANES) ^ times(second, BEHIND_ONE_LANE) ^ third;
    }
    for (; len >= sizeof(uint64_t); at += sizeof(uint64_t), len -= sizeof(uint64_t)) {
        sum = _mm_crc32_u64(sum, word_at(at));
    }
    crc = (uint32_t)sum;
    for (; len > 0; at++, len--) {
        crc = _mm_crc32_u8(crc, *at);
    }
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        return ~step_sse42(~crc, data, len);
    }
#endif
    return crc32c_portable(crc, data, len);
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    return ~step_table(~crc, data, len);
}
