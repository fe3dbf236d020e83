/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSM_COMMAND_H
#define FSM_COMMAND_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/codec.h"
#include "storage/store.h"

/* What the log carries. One entry holds many commands: those of one turn of the leader's loop, each
 * with the member and the number under which somebody waits for its result.
 *
 *   entry   = version u8, wall clock ms varint, command*          (until the end of the entry)
 *   command = kind u8, origin u64, op u64, body length u32, body
 *
 * Every member decodes the same bytes in the same order; a body that does not decode never got into
 * the log of a sane leader, so it ends the member (fatal) rather than letting copies diverge.
 * Bodies are written by command_encode and stay readable for ever: a new field or kind raises the
 * version. */
#define COMMAND_VERSION 1

enum command_kind {
    COMMAND_PUT = 1,
    COMMAND_DELETE_RANGE = 2,
    COMMAND_TXN = 3,
    COMMAND_COMPACT = 4,
    COMMAND_MEMBER_PUBLISH = 5,  /* a member's name and client URLs */
    COMMAND_CLUSTER_VERSION = 6, /* what the leader found all members to support */
    COMMAND_LEASE_GRANT = 7,
    COMMAND_LEASE_REVOKE = 8,     /* several, each a revision of its own */
    COMMAND_LEASE_CHECKPOINT = 9, /* what is left of several */
    COMMAND_ALARM = 10,
    COMMAND_MEMBER_INIT = 11, /* the members that the cluster begins with */
    COMMAND_MEMBER_ADD = 12,
    COMMAND_MEMBER_REMOVE = 13,
    COMMAND_MEMBER_UPDATE = 14, /* its peer URLs */
    COMMAND_MEMBER_PROMOTE = 15,
    COMMAND_KIND_COUNT
};

struct command_put {
    struct bytes key;
    struct bytes value;
    int64_t lease;
    bool prev_kv;
    bool ignore_value;
    bool ignore_lease;
};

struct command_delete_range {
    struct bytes key;
    struct bytes range_end;
    bool prev_kv;
};

enum compare_result { COMPARE_EQUAL, COMPARE_GREATER, COMPARE_LESS, COMPARE_NOT_EQUAL };
enum compare_target { COMPARE_VERSION, COMPARE_CREATE, COMPARE_MOD, COMPARE_VALUE, COMPARE_LEASE };

struct compare {
    uint32_t result; /* open enums: an unknown result holds, an unknown target compares nothing */
    uint32_t target;
    struct bytes key;
    struct bytes range_end;
    int64_t number;     /* what target_union gave, 0 when it was absent or of another kind */
    struct bytes value; /* for COMPARE_VALUE */
};

enum op_kind { OP_RANGE = 1, OP_PUT = 2, OP_DELETE_RANGE = 3, OP_TXN = 4 };

struct command_txn;
struct txn_op {
    enum op_kind kind;
    union {
        struct range_query range;
        struct command_put put;
        struct command_delete_range delete_range;
        struct command_txn *txn;
    };
};

struct command_txn {
    struct compare *compares;
    size_t compare_count;
    struct txn_op *success;
    size_t success_count;
    struct txn_op *failure;
    size_t failure_count;
};

struct command_compact {
    int64_t revision;
    bool physical; /* only the member that was asked waits for it */
};

struct command_member_publish {
    uint64_t member_id;
    struct bytes name;
    struct bytes *client_urls;
    size_t client_url_count;
};

/* A change of one member: each kind looks at the fields that it needs. */
struct command_member {
    uint64_t id;
    bool learner;
    bool strict;           /* refuse what could leave too few started voters */
    uint64_t learners_max; /* how many there may be then */
    struct bytes *peer_urls;
    size_t peer_url_count;
};

struct command_member_init {
    struct command_member *members;
    size_t count;
};

struct command_lease_grant {
    int64_t id;
    int64_t ttl_s;
};

/* What a leader's clock has counted holds in its term alone: in an entry of another term the
 * command does nothing, as the next leader has begun to count anew. 0: in any. */
struct command_lease_revoke {
    uint64_t term;
    int64_t *ids;
    size_t count;
};

struct lease_rest {
    int64_t id;
    int64_t remaining_s; /* 0: the whole TTL again */
};

struct command_lease_checkpoint {
    uint64_t term; /* as above */
    struct lease_rest *leases;
    size_t count;
};

struct command_alarm {
    uint32_t type; /* enum alarm_type, open */
    uint64_t member_id;
    bool is_clear; /* else it is raised */
};

struct command {
    enum command_kind kind;
    union {
        struct command_put put;
        struct command_delete_range delete_range;
        struct command_txn txn;
        struct command_compact compact;
        struct command_member_publish member_publish;
        struct bytes cluster_version; /* "3.7" */
        struct command_lease_grant lease_grant;
        struct command_lease_revoke lease_revoke;
        struct command_lease_checkpoint lease_checkpoint;
        struct command_alarm alarm;
        struct command_member member; /* added, removed, updated, promoted */
        struct command_member_init member_init;
    };
};

/* Who waits for the result. */
struct command_origin {
    uint64_t member_id;
    uint64_t op;
};

/* Append one command (envelope and body) to an entry or to a batch of commands on its way to the
 * leader. */
void command_encode(struct buf *buf, struct command_origin origin, const struct command *command);

/* The head of an entry; commands follow it. */
void entry_encode_head(struct buf *buf, uint64_t wall_ms);
MUST_CHECK enum err entry_decode_head(struct reader *r, uint64_t *wall_ms);

/* What the next commands from R on will look at, as far as a glance tells: the key of a put, the
 * first compared one of a txn. Walks over at most CAP commands and says how many in COMMANDS. The
 * keys are views into R's bytes; malformed ones end the walk and are command_decode's to refuse. */
size_t command_peek_keys(struct reader r, struct bytes *keys, size_t cap, size_t *commands);

/* The next command of an entry or batch: bytes are views into it, arrays are in ARENA.
 * reader_left() == 0 ends the loop. ERR_MALFORMED, ERR_VERSION, ERR_NOMEM. */
MUST_CHECK enum err command_decode(struct reader *r, struct arena *arena,
                                   struct command_origin *origin, struct command *ret);

/* Walk over one command without decoding its body, for a leader that only passes it on: kind and
 * origin, and its whole bytes. */
MUST_CHECK enum err command_skip(struct reader *r, enum command_kind *kind,
                                 struct command_origin *origin, struct bytes *whole);

#endif
