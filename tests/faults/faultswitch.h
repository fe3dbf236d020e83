/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_FAULTSWITCH_H
#define TESTS_FAULTS_FAULTSWITCH_H

#include "base/bytes.h"

/* A switch between up to 16 hosts whose every link, one for each direction, can be cut, slow, lossy
 * or repeat itself. It holds IPv4 packets and knows no time of its own: who moves the packets tells
 * it. What it drops and repeats follows from the seed and the order of the packets. */
struct faultswitch;

#define FAULTSWITCH_PORTS_MAX 16u
#define FAULTSWITCH_ANY       SIZE_MAX

struct faultlink {
    uint64_t delay_us;
    uint64_t jitter_us; /* up to this much more, at random: packets overtake each other */
    uint64_t loss_ppm;
    uint64_t repeat_ppm;
    bool cut;
};

struct faultswitch_counts {
    uint64_t carried;
    uint64_t cut;
    uint64_t lost;
    uint64_t repeated;
    uint64_t overflowed; /* more waited than FAULTSWITCH_BYTES_MAX */
};
#define FAULTSWITCH_BYTES_MAX (64u << 20)

MUST_CHECK enum err faultswitch_new(size_t ports, uint64_t seed, struct faultswitch **ret);
void faultswitch_free(struct faultswitch *sw);

/* From now on; what is under way arrives as it would have, unless the link is cut. */
void faultswitch_set(struct faultswitch *sw, size_t from, size_t to, const struct faultlink *link);

/* One line of the language that trivet-faults-switch reads:
 *
 *     link FROM TO DELAY_US JITTER_US LOSS_PPM REPEAT_PPM CUT       numbers; FROM and TO may be *
 */
MUST_CHECK enum err faultswitch_command(struct faultswitch *sw, const char *line, struct why *why);

/* A packet that PORT sent: host N has the address whose last byte is N + 1. It is copied; other
 * addresses and protocols are nobody's. */
void faultswitch_take(struct faultswitch *sw, size_t from, struct bytes packet, uint64_t now_us);

/* The next packet that has arrived by NOW, valid until the next call; false: none has. */
bool faultswitch_give(struct faultswitch *sw, uint64_t now_us, size_t *to, struct bytes *packet);

/* When the next one arrives; UINT64_MAX: nothing is under way. */
uint64_t faultswitch_next_us(const struct faultswitch *sw);

struct faultswitch_counts faultswitch_counts(const struct faultswitch *sw);

#endif
