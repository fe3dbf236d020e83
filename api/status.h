/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_STATUS_H
#define API_STATUS_H

#include "base/err.h"
#include "net/grpc.h"

/* What a client reads of an error: etcd's gRPC code and etcd's text, byte for byte, for clients
 * match on both. */
struct status {
    enum grpc_status code;
    const char *text;
};

struct status status_of(enum err err);

#endif
