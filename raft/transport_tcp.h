/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_TRANSPORT_TCP_H
#define RAFT_TRANSPORT_TCP_H

#include "base/addr.h"
#include "base/logger.h"
#include "base/metrics.h"
#include "net/stream.h"
#include "raft/transport.h"

/* The way to the peers over TCP. To each peer go two connections, one for each lane, since nothing
 * overtakes what the system has in its buffers: on one connection a heartbeat would wait behind
 * megabytes of entries, and the follower would call an election. Each member connects to each, so
 * that there is never a question whose connection counts: frames go from who connected to who
 * accepted.
 *
 *   member A    urgent ───────────▶     member B            peerlink.h    what A does to send
 *               bulk   ───────────▶                         peerconn.h    what B does to receive
 *                      ◀─────────── urgent                  peerframe.h   the bytes
 *                      ◀─────────── bulk
 *
 * What is sent waits in the connection's queue, bounded per peer: bulk is refused long before
 * urgent frames are. Who has not said in time that it is a member of this cluster is cut off; a
 * newer connection of the same member and lane takes the older one's place. Whatever is malformed
 * ends that connection and nothing else. */
struct transport_tcp_config {
    struct env *env;
    uv_loop_t *loop;
    struct logger *log;
    struct metrics *metrics; /* may be NULL */
    uint64_t cluster_id;
    uint64_t member_id;
    const struct addr *listen; /* copied */
    size_t listen_count;
};

/* Listens when it is started. */
MUST_CHECK enum err transport_tcp_open(const struct transport_tcp_config *config,
                                       struct transport **ret, struct why *why);

/* The port of the I-th listen address, once started. */
uint16_t transport_tcp_port(const struct transport *transport, size_t i);

#endif
