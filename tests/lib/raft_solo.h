/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_RAFT_SOLO_H
#define TESTS_LIB_RAFT_SOLO_H

#include "raft/node.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/raft_talk.h"

/* Member 1 behind its door, alone with a test that plays its disk and the other members. One at a
 * time; setup and teardown fit tcase_add_checked_fixture. */

#define SOLO_HEARTBEAT_MS 100
#define SOLO_ELECTION_MS  1000
#define SOLO_PUTS_MAX     64

struct raft_solo {
    struct env_fake *env;
    struct log_fake *log;
    struct net_fake *net;
    struct node *node; /* NULL: closed */

    struct metrics *metrics;   /* what it is opened with; NULL: none */
    uint64_t manifest_ns;      /* that making one takes */
    uint64_t snapshot_entries; /* what it is opened with; never, at first */
    uint64_t held_bytes;       /* likewise; none */
    uint64_t durable_index;    /* what its store answers */
    enum err restore_status;
    enum err may_restore_status;
    bool sends_state; /* the layer above has want_state */
    bool head_start;

    uint64_t applied_index; /* what it was told */
    uint64_t applied_count;
    uint64_t restored_index;
    unsigned states;
    unsigned wants; /* states that were wanted, and for whom last */
    uint64_t wanted_by;
    enum node_role role;
    uint64_t term;
    uint64_t leader_id;
    uint64_t frame_peer; /* of the last frame for the layers above */
    uint8_t frame_byte;

    struct proposal puts[SOLO_PUTS_MAX]; /* of solo_put_many */
    size_t put_count;
};
extern struct raft_solo solo;

void solo_setup(void);
void solo_teardown(void);

/* Three voters, "member-1" to "member-3". */
extern const struct node_member solo_three[3];

struct node_config solo_config(const struct node_member *members, size_t count);
enum err solo_try_open(const struct node_member *members, size_t count, struct why *why);
void solo_open(const struct node_member *members, size_t count);
void solo_close(void);

/* The disk finishes what it has, and the turns go on until nothing happens. */
void solo_settle(void);

/* Elected by 2 (which must be a voter); its barrier is on its own disk, and applied when COMMITTED.
 * What was sent until then is skipped. */
void solo_lead(bool committed);

/* As the leader: COUNT entries, which 2 has stored as well. */
void solo_put_many(unsigned count);

/* Who leads says so, with nothing but the first entry. */
void solo_follow(uint64_t leader, uint64_t term);

#endif
