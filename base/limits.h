/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <assert.h>
#include <stdint.h>

/* Every cap on what comes from outside, in one place, with the relations between them. */

/* Client requests. */
#define REQUEST_BYTES_DEFAULT  (1536u * 1024)      /* --max-request-bytes */
#define REQUEST_BYTES_MAX      (64u * 1024 * 1024) /* the largest that may be configured */
#define GRPC_OVERHEAD_BYTES    (512u * 1024) /* a message may exceed the request limit by this */
#define GRPC_MESSAGE_BYTES_MAX (REQUEST_BYTES_MAX + GRPC_OVERHEAD_BYTES)
#define TXN_OPS_DEFAULT        128 /* --max-txn-ops */
#define TXN_OPS_MAX            65536
#define TXN_DEPTH_MAX          128 /* as deep as etcd's default of operations lets them nest */
#define LEASE_TTL_MAX          9000000000ll
#define SNAPSHOTS_MAX          4     /* handed out at once */
#define SNAPSHOT_STALL_MS      60000 /* without a piece taken: then it is the end of it */
#define SNAPSHOT_SPARE_BYTES   (64ull * 1024 * 1024) /* room that a copy leaves on the disk */
#define LEASE_ASK_MAX          16384 /* leases of one question to the leader's clock */

/* HTTP. */
#define HTTP_HEADER_LIST_BYTES_MAX (64u * 1024)
#define HTTP1_HEADER_BYTES_MAX     (64u * 1024)
#define CONNECTIONS_MAX            65536
/* Descriptors that peers' connections leave to the log and the database; those of clients leave
 * twice as many, so that peers still come through. */
#define FILES_KEPT                 128
#define STREAMS_PER_CONNECTION_MAX 65536
#define STREAM_SEND_BYTES_MAX \
    (4u * 1024 * 1024) /* unsent answer bytes before a stream is asked to wait */
#define CONNECTION_SEND_BYTES_MAX (64u * 1024 * 1024)
/* From here on the answer to a unary call is a large one. Large ones are bounded by themselves, so
 * that a client that lists all it has does not lose the answers to what else it asks meanwhile. */
#define LARGE_ANSWER_BYTES_MIN (1024u * 1024)
#define STREAM_TURN_BYTES      (256u * 1024) /* more to one socket goes in the next turn */
#define INPUT_TURN_BYTES       (256u * 1024) /* more of one client is read in the next turn */
#define FRAME_BYTES_MAX        (64u * 1024)  /* of HTTP/2, to who takes more than 16 KiB */
#define SERVER_SEND_BYTES_MAX                                                                      \
    (512u * 1024 * 1024) /* unsent answers, all connections; beyond, an equal part each; the large \
                            ones likewise */
#define CONNECTION_HELD_BYTES_MAX \
    (128u * 1024 * 1024) /* calls, requests, what is decoded of them */
#define SERVER_HELD_BYTES_MAX \
    (512u * 1024 * 1024) /* the same, all connections; beyond, an equal part each */
#define METADATA_BYTES_MAX      (16u * 1024)        /* kept of one call's headers */
#define STREAM_WINDOW_BYTES     (1024u * 1024)      /* a client may send without being asked */
#define CONNECTION_WINDOW_BYTES (16u * 1024 * 1024) /* the same, all its streams */

/* Our own client. */
#define CLIENT_STREAM_WINDOW_BYTES     (4u * 1024 * 1024)
#define CLIENT_CONNECTION_WINDOW_BYTES (64u * 1024 * 1024)
#define CLIENT_FRAME_BYTES_MAX         FRAME_BYTES_MAX
#define CLIENT_STREAMS_UNTIL_TOLD      100 /* at once, before the server's settings are here */

/* Floods: beyond these a connection is ended. */
#define RESETS_PER_CONNECTION_BURST   10000
#define RESETS_PER_CONNECTION_PER_SEC 2000
#define ACKS_PER_CONNECTION_MAX       1000 /* of settings and pings, not yet taken by the peer */
#define SWEEPS_PER_CONNECTION_BURST \
    32 /* settings, GOAWAYs, priorities: each may be a look at all streams */
#define SWEEPS_PER_CONNECTION_PER_SEC 1
#define CONTINUATIONS_MAX             8
#define QUEUED_FRAMES_MAX             4096 /* of a peer that does not read: then nothing more is heard */
#define INVALID_FRAMES_MAX            1000
#define PING_STRIKES_MAX              2

#define RESOLVED_ADDRESSES_MAX 8 /* of one host name */

/* The log and its entries. */
#define BATCH_BYTES_MAX       (4u * 1024 * 1024) /* an open batch is sealed at this size ... */
#define BATCH_COMMANDS_MAX    8192               /* ... or this many commands */
#define BATCHES_IN_FLIGHT_MAX 3
#define PENDING_BYTES_MAX \
    (256u * 1024 * 1024) /* commands waiting to be proposed: beyond, too many requests */
#define PENDING_COMMANDS_MAX 262144
#define ENTRY_BYTES_MAX      (BATCH_BYTES_MAX + REQUEST_BYTES_MAX + 65536u)
/* One file of the Raft log. A member that does nothing holds two of them, so they are small; a
 * switch to the next costs the log nothing, so they need not be large. */
#define SEGMENT_BYTES      (16u * 1024 * 1024)
#define MANIFEST_BYTES_MAX (1024u * 1024) /* a Raft snapshot: manifest and configuration */

/* Peers. */
#define PEER_FRAME_BYTES_MAX (2u * ENTRY_BYTES_MAX)
/* What waits to be sent to one peer; of entries and other bulk much less, but always one frame. */
#define PEER_QUEUE_BYTES_MAX (256u * 1024 * 1024)
#define PEER_BULK_BYTES_MAX  (32u * 1024 * 1024)
#define PEER_REPLY_BYTES_MAX (64u * 1024) /* answers that wait for a peer that does not read */
#define PEER_STRANGERS_MAX   128          /* connections that have not yet said who they are */
/* Entries of one append message, but always at least one entry. */
#define APPEND_BYTES_MAX   (1024u * 1024)
#define APPEND_ENTRIES_MAX 1024
#define MEMBERS_MAX        64
/* What is known of a member: its name, and each of its URLs of one kind. */
#define MEMBER_TEXT_BYTES_MAX 1024
#define MEMBER_URLS_MAX       64
/* The answer to who asks who the members are. */
#define PEER_MEMBERS_BYTES_MAX     (16u * 1024 * 1024)
#define COMPACTOR_RETENTION_MS_MAX (3653ull * 24 * 60 * 60 * 1000) /* ten years */
#define ALARMS_MAX                 256 /* active at once: those of a client may name any member */

/* A database on its way to a member. */
#define STATE_CHUNK_BYTES  (256u * 1024)
#define STATE_WINDOW_BYTES (16u * STATE_CHUNK_BYTES) /* sent and not yet written */
#define STATE_BYTES_MAX    (1ull << 46)              /* SQLite has no larger ones */
#define STATE_RATE_BYTES   (128u * 1024)             /* a millisecond, of all members together */

/* The store. */
#define RING_BYTES_DEFAULT (16u * 1024 * 1024)  /* newest records kept in memory */
#define VALUE_CACHE_BYTES  (16u * 1024 * 1024)  /* older records that were read, kept in memory */
#define RING_BYTES_MAX     (256u * 1024 * 1024) /* not yet in SQLite: beyond, too many requests */
/* The same of a member whose disk is full while others lead, and do not hear of it: beyond, it
 * ends. */
#define RING_FULL_BYTES_MAX (1024u * 1024 * 1024)
#define KEY_BYTES_MAX       REQUEST_BYTES_MAX
#define REVISION_SUB_BITS   20

/* Watchers. etcd holds up to 128 responses, of any size, for a stream that does not read. */
#define WATCHERS_MAX            1048576 /* of a member */
#define WATCHERS_PER_STREAM_MAX 262144
#define WATCH_BYTES_MAX         (512u * 1024 * 1024) /* watchers, and the keys that they watch */
#define WATCH_STREAM_BYTES_MAX  (512u * 1024)        /* a stream with more unsent is full */
#define WATCH_SLICE_BYTES       (32u * 1024) /* history is read and told in such parts ... */
#define WATCH_SLICE_REVISIONS   1000         /* ... of at most so many revisions */

static_assert(WATCH_STREAM_BYTES_MAX < STREAM_SEND_BYTES_MAX, "a stream is full before it is read");
static_assert(WATCHERS_PER_STREAM_MAX <= WATCHERS_MAX, "a stream is one of many");
static_assert(RING_FULL_BYTES_MAX >= 2 * RING_BYTES_MAX, "who leads refuses, and does not end");
static_assert(4 * WATCH_SLICE_BYTES <= WATCH_STREAM_BYTES_MAX,
              "who is behind together shares slices");
static_assert(CONNECTION_SEND_BYTES_MAX > STREAM_SEND_BYTES_MAX, "a connection holds a stream");
static_assert(CONNECTION_SEND_BYTES_MAX > LARGE_ANSWER_BYTES_MIN, "a connection holds many others");
static_assert(CONNECTION_HELD_BYTES_MAX > GRPC_MESSAGE_BYTES_MAX, "a connection holds a request");
static_assert(GRPC_MESSAGE_BYTES_MAX > REQUEST_BYTES_MAX, "a message holds the largest request");
static_assert(ENTRY_BYTES_MAX > BATCH_BYTES_MAX + REQUEST_BYTES_MAX,
              "a batch ends with any request");
static_assert(PEER_FRAME_BYTES_MAX > 64 + 8 * LEASE_ASK_MAX, "a frame carries any question");
static_assert(PEER_MEMBERS_BYTES_MAX >
                  64 + MEMBERS_MAX * (32 + (1 + 2 * MEMBER_URLS_MAX) * (MEMBER_TEXT_BYTES_MAX + 4)),
              "a frame describes all members");
static_assert(PEER_FRAME_BYTES_MAX > 64 + STATE_CHUNK_BYTES, "a frame carries any chunk");
static_assert(PEER_BULK_BYTES_MAX > 2 * STATE_WINDOW_BYTES, "a window leaves room for entries");
static_assert(PEER_FRAME_BYTES_MAX > ENTRY_BYTES_MAX, "a frame carries any entry");
static_assert(PEER_QUEUE_BYTES_MAX > PEER_FRAME_BYTES_MAX, "a queue takes any frame");

#endif
