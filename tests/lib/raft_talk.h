/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_RAFT_TALK_H
#define TESTS_LIB_RAFT_TALK_H

#include "tests/lib/raft_fakes.h"

/* What the other members say, in short. */

/* COUNT commands of ENTRY_TERM behind PREV. */
void talk_append(struct net_fake *net, uint64_t leader, uint64_t term, uint64_t prev,
                 uint64_t prev_term, uint64_t commit, uint64_t entry_term, unsigned count);
void talk_append_of(struct net_fake *net, uint64_t leader, uint64_t term, uint64_t prev,
                    uint64_t prev_term, uint64_t commit, struct raft_entry *entries,
                    unsigned count);
void talk_result(struct net_fake *net, uint64_t peer, uint64_t term, uint64_t rejected,
                 uint64_t last);
/* What it has up to RECEIVED matches, and is on its disk up to STORED. */
void talk_received(struct net_fake *net, uint64_t peer, uint64_t term, uint64_t stored,
                   uint64_t received);
/* The entry at REJECTED does not match; one at LAST, of LAST_TERM, may. */
void talk_refuse(struct net_fake *net, uint64_t peer, uint64_t term, uint64_t rejected,
                 uint64_t last, uint64_t last_term);
void talk_ask_vote(struct net_fake *net, uint64_t candidate, uint64_t term, uint64_t last,
                   uint64_t last_term, bool disrupt);
void talk_ask_pre_vote(struct net_fake *net, uint64_t candidate, uint64_t term, uint64_t last,
                       uint64_t last_term);
void talk_grant(struct net_fake *net, uint64_t peer, uint64_t term, bool pre_vote);
/* No voice for who asked beforehand. */
void talk_refuse_pre_vote(struct net_fake *net, uint64_t peer, uint64_t term);

/* Members from 1 on: 'v'oter, 'l'earner, 's'pare, as the core encodes a configuration. */
struct raft_buffer talk_configuration(const char *roles);

#endif
