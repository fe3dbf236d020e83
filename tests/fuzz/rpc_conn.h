/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_RPC_CONN_H
#define TESTS_FUZZ_RPC_CONN_H

#include "net/grpc.h"
#include "tests/fuzz/onemember.h"
#include "tests/fuzz/stream_fake.h"

/* A client's HTTP/2 connection to a member that serves all of its API. */
struct rpc_conn {
    struct fuzz_member member;
    struct stream *stream;
    struct grpc_conn *conn;
    bool closed;
};

void rpc_conn_start(struct rpc_conn *conn);
/* Hangs up if the member has not, and claims that nothing is left of it. */
void rpc_conn_stop(struct rpc_conn *conn);

/* The preface, settings, and their acknowledgement: what every client says first. */
void rpc_conn_greet(struct rpc_conn *conn);

/* A frame as RFC 9113 4.1 has it. */
enum { H2_DATA = 0, H2_HEADERS = 1, H2_RST_STREAM = 3, H2_SETTINGS = 4, H2_PING = 6 };
enum { H2_WINDOW_UPDATE = 8, H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4 };
void rpc_conn_frame(struct rpc_conn *conn, uint8_t type, uint8_t flags, uint32_t stream_id,
                    struct bytes payload);

#endif
