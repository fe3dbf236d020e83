/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVETD_IDENTITY_H
#define CMD_TRIVETD_IDENTITY_H

#include <uv.h>

#include "base/env.h"
#include "cmd/trivetd/settings.h"

/* Which member of which cluster this process is:
 *
 *   data of a removed member: nobody; it does not start
 *
 *   etcd's data, or a restore that was not finished, and no log: nobody
 *
 *   data: who it says; flags that contradict it are an error, unless the state is 'existing', or
 *   other members came or went
 *
 *   none, and the state 'new': computed from the flags, unless the others know that a member with
 *   this id has run before: without its data it must not vote
 *
 *   none, and the state 'existing': the member with its peer URLs, by what the others say */
struct identity {
    uint64_t cluster_id;
    uint64_t member_id;
    bool is_founder; /* of a new cluster, with all members of --initial-cluster */
    bool is_new;     /* there is no data yet */
};

/* May run LOOP for as long as the others take to answer. ERR_REMOVED, ERR_FOREIGN, ERR_INVALID ...
 */
MUST_CHECK enum err identity_find(const struct settings *settings, struct env *env, uv_loop_t *loop,
                                  struct identity *ret, struct why *why);

/* The member was removed: its data will not be used again. */
MUST_CHECK enum err identity_remember_removed(const struct settings *settings, struct why *why);

#endif
