/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/raft_talk.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "raft/confhist.h"

void talk_append_of(struct net_fake *net, uint64_t leader, uint64_t term, uint64_t prev,
                    uint64_t prev_term, uint64_t commit, struct raft_entry *entries, unsigned count)
{
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES};
    message.append_entries = (struct raft_append_entries){.term = term,
                                                          .prev_log_index = prev,
                                                          .prev_log_term = prev_term,
                                                          .leader_commit = commit,
                                                          .entries = entries,
                                                          .n_entries = count};
    net_fake_say(net, leader, &message, NULL);
}

void talk_append(struct net_fake *net, uint64_t leader, uint64_t term, uint64_t prev,
                 uint64_t prev_term, uint64_t commit, uint64_t entry_term, unsigned count)
{
    static char payload[] = "command";
    struct raft_entry entries[64];
    ASSERT(count <= ARRAY_LEN(entries));
    for (unsigned i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){
            .term = entry_term, .type = RAFT_COMMAND, .buf = {payload, sizeof payload}};
    }
    talk_append_of(net, leader, term, prev, prev_term, commit, entries, count);
}

static void say_result(struct net_fake *net, uint64_t peer,
                       struct raft_append_entries_result result, struct frame_notes notes)
{
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES_RESULT,
                                   .append_entries_result = result};
    net_fake_say(net, peer, &message, &notes);
}

void talk_result(struct net_fake *net, uint64_t peer, uint64_t term, uint64_t rejected,
                 uint64_t last)
{
    say_result(net, peer,
               (struct raft_append_entries_result){
                   .term = term, .rejected = rejected, .last_log_index = last},
               (struct frame_notes){.received_index = last});
}

void talk_received(struct net_fake *net, uint64_t peer, uint64_t term, uint64_t stored,
                   uint64_t received)
{
    say_result(net, peer,
               (struct raft_append_entries_result){.term = term, .last_log_index = stored},
               (struct frame_notes){.received_index = received});
}

void talk_refuse(struct net_fake *net, uint64_t peer, uint64_t term, uint64_t rejected,
                 uint64_t last, uint64_t last_term)
{
    say_result(net, peer,
               (struct raft_append_entries_result){
                   .term = term, .rejected = rejected, .last_log_index = last},
               (struct frame_notes){.last_term = last_term});
}

static void say_vote(struct net_fake *net, struct raft_request_vote vote)
{
    struct raft_message message = {.type = RAFT_IO_REQUEST_VOTE, .request_vote = vote};
    net_fake_say(net, vote.candidate_id, &message, NULL);
}

void talk_ask_vote(struct net_fake *net, uint64_t candidate, uint64_t term, uint64_t last,
                   uint64_t last_term, bool disrupt)
{
    say_vote(net, (struct raft_request_vote){.term = term,
                                             .candidate_id = candidate,
                                             .last_log_index = last,
                                             .last_log_term = last_term,
                                             .disrupt_leader = disrupt});
}

void talk_ask_pre_vote(struct net_fake *net, uint64_t candidate, uint64_t term, uint64_t last,
                       uint64_t last_term)
{
    say_vote(net, (struct raft_request_vote){.term = term,
                                             .candidate_id = candidate,
                                             .last_log_index = last,
                                             .last_log_term = last_term,
                                             .pre_vote = true});
}

static void say_vote_result(struct net_fake *net, uint64_t peer, uint64_t term, bool granted,
                            bool pre_vote)
{
    struct raft_message message = {.type = RAFT_IO_REQUEST_VOTE_RESULT};
    message.request_vote_result = (struct raft_request_vote_result){
        .term = term,
        .vote_granted = granted,
        .pre_vote = pre_vote ? raft_tribool_true : raft_tribool_false};
    net_fake_say(net, peer, &message, NULL);
}

void talk_grant(struct net_fake *net, uint64_t peer, uint64_t term, bool pre_vote)
{
    say_vote_result(net, peer, term, true, pre_vote);
}

void talk_refuse_pre_vote(struct net_fake *net, uint64_t peer, uint64_t term)
{
    say_vote_result(net, peer, term, false, true);
}

struct raft_buffer talk_configuration(const char *roles)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (unsigned i = 0; roles[i] != 0; i++) {
        static char address[] = "member-0";
        address[sizeof address - 2] = (char)('1' + i);
        int role = roles[i] == 'v' ? RAFT_VOTER : roles[i] == 'l' ? RAFT_STANDBY : RAFT_SPARE;
        int rv = raft_configuration_add(&configuration, i + 1, address, role);
        ASSERT(rv == 0);
    }
    struct raft_buffer encoded = configuration_encode(&configuration);
    raft_configuration_close(&configuration);
    return encoded;
}
