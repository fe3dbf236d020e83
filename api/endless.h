/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ENDLESS_H
#define API_ENDLESS_H

#include "api/call.h"

/* Streams that go on until their client leaves. Two things end them from here: the member stops,
 * or nobody has led it for three election timeouts and the client said that it requires a leader
 * (metadata hasleader: true), so that it may go on at a member that has one. */

/* Embedded in the state of the call; all zero: none yet. */
struct endless {
    struct call *call;
    void (*end)(struct call *call, enum err why);
    struct queue link;        /* in endless_set.streams */
    struct queue leader_link; /* in endless_set.leader_streams */
};

/* Those of a service. */
struct endless_set {
    struct env *env; /* outlives the server */
    struct queue streams;
    struct queue leader_streams;
    struct env_timer leader_timer; /* while there are any of the latter */
};

void endless_init(struct service *service);
void endless_fini(struct service *service);

/* The stream has begun. END ends it, once, before it returns: answers its client with why and lets
 * go of what it holds. Not when the member is stopping: then the stream is refused here, and false
 * is returned. */
bool endless_open(struct endless *endless, struct call *call,
                  void (*end)(struct call *call, enum err why));
/* It is over, or its memory goes. Twice, or before endless_open: does nothing. */
void endless_close(struct endless *endless);

/* End all: the member is about to stop. */
void endless_drain(struct service *service);

#endif
