/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_ANNOUNCE_H
#define SERVER_ANNOUNCE_H

#include "server/server.h"

/* What a member tells the cluster about itself: its name and client URLs, once, when somebody leads
 * and it votes, if it shall; and as the leader, who the first members are and the cluster version,
 * when that is not in the log yet. Tried until it works. */
struct announce {
    struct server *server;
    struct env *env;
    struct logger *log;
    struct command_member_publish member; /* owned: name and URLs */
    struct op member_op;
    struct op version_op;
    struct op init_op;
    bool publishing;
    bool published;
    bool setting_version;
    bool beginning;
    bool version_logged;
    bool stopped;
    struct env_timer timer;
    void (*on_ready)(void *ctx); /* published: once; may be NULL */
    void *ctx;
};

/* Copies what it needs of CONFIG. ERR_LIMIT: a name or URLs that no member could decode. The caller
 * calls announce_fini also after a failure. */
MUST_CHECK enum err announce_init(struct announce *announce, struct server *server,
                                  const struct server_config *config);
void announce_fini(struct announce *announce);

/* Somebody leads, or the member has just started: look now, and every half second from then on. */
void announce_kick(struct announce *announce);
/* Nothing is announced any more. */
void announce_stop(struct announce *announce);

#endif
