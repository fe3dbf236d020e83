/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_NODEADDRESS_H
#define RAFT_NODEADDRESS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A member's address in a configuration, "ID@HOST:PORT": it must be unique for good, and one that a
 * member had once may be another's later. */
#define NODE_ADDRESS_SIZE 256

/* False: too long. */
static inline bool node_address_format(uint64_t id, const char *listens_at,
                                       char ret[NODE_ADDRESS_SIZE])
{
    int n = snprintf(ret, NODE_ADDRESS_SIZE, "%" PRIx64 "@%s", id, listens_at);
    return n > 0 && n < NODE_ADDRESS_SIZE;
}

/* Where it listens: points into ADDRESS, which may also be without an id. */
static inline const char *node_address_host(const char *address)
{
    const char *at = strchr(address, '@');
    return at == NULL ? address : at + 1;
}

#endif
