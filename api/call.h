/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CALL_H
#define API_CALL_H

#include <protobuf-c/protobuf-c.h>

#include "api/answer.h"
#include "api/status.h"
#include "net/grpc.h"
#include "server/server.h"

/* One RPC on its way through the member, whatever its method: it waits for one thing at a time, and
 * when its client goes away meanwhile, the waiting ends and nothing more is done.
 *
 *   service_dispatch ─▶ handle ─▶ answered at once
 *                         │
 *                         ▼ call_propose, call_read, call_range ...
 *                      waiting ──▶ failed: answered with etcd's text for the error
 *                         │  └───▶ the client is gone: cancelled
 *                         ▼
 *                      done(call) ─▶ waiting again, or answered
 *
 * Lives in the gRPC call's state, first in the state of its method. While it waits it holds a count
 * of the gRPC call. */
struct call;
typedef void (*call_cb)(struct call *call);

enum call_wait {
    CALL_IDLE,
    CALL_OP,         /* a command to be applied */
    CALL_READ,       /* a read to be linearizable */
    CALL_LEASE,      /* the leader's clock of leases to answer */
    CALL_RANGE,      /* ranges in slices */
    CALL_ENCODE,     /* its answer to be encoded, by a worker */
    CALL_COMPACTION, /* compacted revisions to be gone from disk */
    CALL_LEAVE,      /* a member to have left the configuration */
    CALL_HASH,
    CALL_CALLBACK, /* something that calls back, whatever happens */
    CALL_WRITABLE  /* the client to read */
};

/* One of the ranges that a call reads at one moment. */
struct range_part {
    struct store_range_request request;
    struct range_result *ret;
    struct call *call; /* private */
};

struct call_range {
    struct range_result result; /* of call_range */
    struct range_part only;     /* likewise */
    struct range_part *parts;
    size_t count;
    size_t running;
    enum err status; /* why they all end: of the first that failed */
};

/* A large answer on its way through the encoder. */
struct call_encoding {
    struct job job;
    struct answer_header header;
    bool is_txn;
    union {
        struct range_result range;
        struct txn_result txn;
    };
    struct blob *blob; /* NULL: no memory */
};

struct call {
    struct service *service;
    struct server *server;
    size_t request_bytes; /* of the message */
    call_cb done;
    enum call_wait wait;
    union { /* by wait; also what done reads */
        struct op op;
        struct read_op read;
        struct lease_ask lease;
        struct call_range range;
        struct call_encoding encoding;
        struct store_wait compaction;
        struct leave_wait leave;
        struct store_hash_request hash;
    };
};

/* A row of the table of methods. */
struct method {
    const char *path;                          /* "/etcdserverpb.KV/Put" */
    const ProtobufCMessageDescriptor *request; /* NULL: known, but not served in this version */
    size_t state_bytes;                        /* 0: a struct call alone */
    bool client_stream;
    bool server_stream;
    /* etcd serves it through a client of its own, which keeps the texts of its errors and loses the
     * codes: they are UNKNOWN. */
    bool loses_codes;
    bool learner_serves; /* also a member that is a learner; some only if they ask for little */
    /* A client stream has begun, its messages come later (may be NULL). */
    void (*open)(struct call *call);
    /* There is room again, see grpc_call_has_room: for who does not use call_writable (may be
     * NULL). */
    void (*writable)(struct call *call);
    /* Look at the bytes before they are decoded (may be NULL). */
    enum err (*check)(const struct call *call, struct bytes message);
    /* The decoded request is in the call's arena, and lives as long as the call; that of a client
     * stream until this returns. */
    void (*handle)(struct call *call, const void *request);
    void (*half_close)(struct call *call); /* the client sends no more (may be NULL) */
    void (*closed)(
        struct call *call); /* over without an answer; nothing is waited for (may be NULL) */
    void (*release)(struct call *call); /* its memory is used again (may be NULL) */
};

struct method_table {
    const struct method *rows;
    size_t count;
};
extern const struct method_table rpc_kv;
extern const struct method_table rpc_range;
extern const struct method_table rpc_lease;
extern const struct method_table rpc_maintenance;
extern const struct method_table rpc_snapshot;
extern const struct method_table rpc_cluster;
extern const struct method_table rpc_health;
extern const struct method_table rpc_watch;
extern const struct method_table rpc_lock;
extern const struct method_table rpc_election;
extern const struct method_table rpc_auth;
extern const struct method_table rpc_unserved;

static inline struct grpc_call *call_grpc(struct call *call)
{
    return grpc_call_of_state(call);
}

static inline struct arena *call_arena(struct call *call)
{
    return grpc_call_arena(call_grpc(call));
}

/* Does its client want to hear when there is no leader, instead of waiting for one? */
bool call_requires_leader(struct call *call);

/* ---- waiting: DONE comes later, once, unless it fails or the client goes away ---- */

/* For COMMAND to be applied: its result is in call->op.result, whose status is OK. Refused when the
 * request is larger than etcd would propose. */
void call_propose(struct call *call, const struct command *command, call_cb done);

/* Until a read of this member's state is linearizable. */
void call_read(struct call *call, call_cb done);

/* For the answers to call->lease, whose ids, answers and count are set: to a renewal, or how much
 * is left. */
void call_lease(struct call *call, bool renew, call_cb done);

/* For QUERY, whose bytes live as long as the call: the result is in call->range.result, and DONE's
 * to fini. What is cheap comes before this returns. */
void call_range(struct call *call, const struct range_query *query, call_cb done);

/* The same for COUNT of them, all of this moment; while the database is replaced, all of a later
 * one. Their results are where RET of each says, DONE's to fini; nothing is there when DONE does
 * not come. The parts, zero but for query and ret, are the caller's, and live as long as the call.
 */
void call_ranges(struct call *call, struct range_part *parts, size_t count, call_cb done);

void call_compaction(struct call *call, call_cb done);
void call_leave(struct call *call, uint64_t member_id, call_cb done);
void call_hash(struct call *call, int64_t revision, call_cb done);

/* For anything else that calls back exactly once, whatever happens, and then calls call_wake; what
 * it needs meanwhile is in the state of the method. */
void call_sleep(struct call *call, call_cb done);
void call_wake(struct call *call, enum err status);

/* Until the client of a stream has read most of what was sent, at least until the next turn. */
void call_writable(struct call *call, call_cb done);

/* ---- answering ---- */

void call_fail(struct call *call, enum err err);
void call_fail_malformed(struct call *call); /* its message does not decode */

/* Refuse a request that is wrong. etcd looks first whether what it costs (quota_cost) still fits
 * into the database: if not, that is what the client hears, and the alarm is raised. */
void call_refuse(struct call *call, enum err err, size_t cost);

/* This member's header, now. */
struct answer_header call_header(const struct call *call, int64_t revision);

/* Memory to build an answer in, empty; the service's, until this is called again. */
struct buf *call_scratch(struct call *call);
/* Answer a unary call with what is in the scratch. */
void call_answer(struct call *call);

/* Answer with a range's or a txn's result, which is taken over: a large one is encoded by a worker.
 */
void call_answer_range(struct call *call, struct range_result *result);
void call_answer_txn(struct call *call, int64_t revision, struct txn_result *result);

/* Answer a unary call, or send on a stream. */
void call_answer_message(struct call *call, const ProtobufCMessage *message);
void call_send_message(struct call *call, const ProtobufCMessage *message);

/* ---- for the service ---- */

/* The gRPC call is over without an answer. */
void call_closed(struct call *call);
/* What call_writable waits for. */
void call_is_writable(struct call *call);

#endif
