/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVETD_MEMBER_H
#define CMD_TRIVETD_MEMBER_H

#include "cmd/trivetd/settings.h"

/* A member of this process: its loop, its files, its ports. */
struct member;

/* Open everything from the bottom up: data directory, log, store, peers, services, ports. On
 * failure nothing is left open that matters: the process ends. */
MUST_CHECK enum err member_start(const struct settings *settings, struct member **ret,
                                 struct why *why);

/* Serve until SIGTERM or SIGINT, then stop in order: no new requests, leadership handed over, what
 * is under way answered. ERR_REMOVED: stopped because the member was removed from its cluster.
 * Frees the member. */
MUST_CHECK enum err member_run(struct member *member);

#endif
