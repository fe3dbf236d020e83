/* SPDX-License-Identifier: Apache-2.0 */
#include "api/endless.h"

#include "api/service_private.h"
#include "base/assert.h"

#define LEADER_CHECK_MS 100

static void end(struct endless *endless, enum err why)
{
    endless_close(endless);
    endless->end(endless->call, why);
}

static void on_leader_check(struct env_timer *timer)
{
    struct endless_set *set = CONTAINER_OF(timer, struct endless_set, leader_timer);
    const struct service *service = CONTAINER_OF(set, struct service, endless);
    while (!queue_empty(&set->leader_streams) && !server_has_leader(service->server)) {
        end(QUEUE_ELEM(set->leader_streams.next, struct endless, leader_link), ERR_NO_LEADER);
    }
    if (!queue_empty(&set->leader_streams)) {
        env_timer_start(set->env, timer, LEADER_CHECK_MS);
    }
}

void endless_init(struct service *service)
{
    struct endless_set *set = &service->endless;
    set->env = server_env(service->server);
    queue_init(&set->streams);
    queue_init(&set->leader_streams);
    env_timer_init(&set->leader_timer, on_leader_check);
}

void endless_fini(struct service *service)
{
    env_timer_stop(service->endless.env, &service->endless.leader_timer);
    ASSERT(queue_empty(&service->endless.streams));
}

bool endless_open(struct endless *endless, struct call *call,
                  void (*end_stream)(struct call *call, enum err why))
{
    struct endless_set *set = &call->service->endless;
    if (call->service->draining) {
        call_fail(call, ERR_STOPPED);
        return false;
    }
    *endless = (struct endless){.call = call, .end = end_stream};
    queue_push_back(&set->streams, &endless->link);
    queue_init(&endless->leader_link);
    if (call_requires_leader(call)) {
        queue_push_back(&set->leader_streams, &endless->leader_link);
        if (!env_timer_active(&set->leader_timer)) {
            env_timer_start(set->env, &set->leader_timer, LEADER_CHECK_MS);
        }
    }
    return true;
}

void endless_close(struct endless *endless)
{
    if (endless->call != NULL) {
        queue_remove(&endless->link);
        queue_remove(&endless->leader_link);
    }
}

void endless_drain(struct service *service)
{
    struct queue *streams = &service->endless.streams;
    while (!queue_empty(streams)) {
        end(QUEUE_ELEM(streams->next, struct endless, link), ERR_STOPPED);
    }
}
