/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/actor.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

#define NOT_CONNECTED_MS 20u
#define ERROR_SIZE       128u
#define EXTRA_SIZE       256u

struct actor {
    struct stage *stage;
    const struct load *load;
    void *shared;
    size_t number;
    int64_t process;
    size_t slot; /* of the operation that is under way */
    uint64_t session;
    struct grpc_request request;
    struct buf message;
    struct buf answer;
    bool answered;
    actor_then then;
    struct env_timer timer; /* until the next step; or until a call is told that it was not made */
    bool not_made;
    uint64_t begun_ms;
    /* What is under way. */
    enum actor_kind kind;
    const char *workload;
    const char *f;
    struct buf value;
    char extra[EXTRA_SIZE];
    max_align_t own[];
};

uint64_t stage_below(struct stage *stage, uint64_t n)
{
    return mix64(stage->random++) % n;
}

bool stage_chance(struct stage *stage, unsigned percent)
{
    return stage_below(stage, 100) < percent;
}

struct stage *actor_stage(struct actor *actor)
{
    return actor->stage;
}

void *actor_shared(struct actor *actor)
{
    return actor->shared;
}

void *actor_own(struct actor *actor)
{
    return actor->own;
}

size_t actor_number(const struct actor *actor)
{
    return actor->number;
}

struct buf *actor_value(struct actor *actor)
{
    buf_clear(&actor->value);
    return &actor->value;
}

const char *actor_extra(struct actor *actor, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(actor->extra, sizeof actor->extra, format, args);
    va_end(args);
    ASSERT(len >= 0 && (size_t)len < sizeof actor->extra);
    return actor->extra;
}

void actor_answer_is_wrong(const struct actor *actor, const char *what)
{
    fatal("%s answered %s %s with what is no %s",
          client_slot_name(actor->stage->client, actor->slot), actor->workload, actor->f, what);
}

/* ---- steps ---- */

static void rest(struct actor *actor)
{
    struct stage *stage = actor->stage;
    if (stage->stopping) {
        if (--stage->busy == 0) {
            stage->on_idle(stage);
        }
        return;
    }
    uint64_t pause_ms = stage->gap_ms / 2 + stage_below(stage, stage->gap_ms + 1);
    uint64_t due_ms = actor->begun_ms + pause_ms;
    uint64_t now_ms = env_now_ms(stage->env);
    env_timer_start(stage->env, &actor->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

void actor_skip(struct actor *actor)
{
    actor->begun_ms = env_now_ms(actor->stage->env);
    rest(actor);
}

/* A number for each connection that was ever made. */
static uint64_t session_of(const struct actor *actor)
{
    const struct client *client = actor->stage->client;
    return client_slot_attempts(client, actor->slot) * CLIENT_SLOTS_MAX + actor->slot;
}

/* The actor's own member if it is connected, else the next one that is. */
static bool choose_slot(struct actor *actor)
{
    struct client *client = actor->stage->client;
    size_t count = client_slot_count(client);
    for (size_t i = 0; i < count; i++) {
        actor->slot = (actor->number + i) % count;
        if (client_is_connected(client, actor->slot)) {
            actor->session = session_of(actor);
            return true;
        }
    }
    return false;
}

static void step(struct actor *actor)
{
    struct stage *stage = actor->stage;
    if (stage->stopping) {
        rest(actor);
    } else if (!choose_slot(actor)) {
        env_timer_start(stage->env, &actor->timer, NOT_CONNECTED_MS);
    } else {
        actor->begun_ms = env_now_ms(stage->env);
        actor->load->step(actor);
    }
}

static void on_timer(struct env_timer *timer)
{
    struct actor *actor = CONTAINER_OF(timer, struct actor, timer);
    if (!actor->not_made) {
        step(actor);
        return;
    }
    actor->not_made = false;
    const struct reply reply = {
        .outcome = OUTCOME_DEFINITELY_NOT, .status = GRPC_UNAVAILABLE, .text = "not connected"};
    actor->then(actor, &reply);
}

/* ---- calls ---- */

static void on_message(struct grpc_request *request, struct bytes message)
{
    struct actor *actor = CONTAINER_OF(request, struct actor, request);
    buf_clear(&actor->answer);
    buf_append_bytes(&actor->answer, message);
    if (!buf_ok(&actor->answer)) {
        fatal("out of memory");
    }
    actor->answered = true;
}

/* What etcd's API refuses with these was looked at and not carried out; "too many requests"
 * promises the same, but not "database space exceeded", which is told of what was applied, too. All
 * else says nothing about what has become of it. */
static enum outcome outcome_of(const struct actor *actor, enum grpc_status status,
                               struct bytes text)
{
    static const char too_many[] = "too many requests";
    switch (status) {
    case GRPC_OK:
        return actor->answered ? OUTCOME_DONE : OUTCOME_UNKNOWN;
    case GRPC_INVALID_ARGUMENT:
    case GRPC_NOT_FOUND:
    case GRPC_FAILED_PRECONDITION:
    case GRPC_OUT_OF_RANGE:
    case GRPC_DATA_LOSS:
        return OUTCOME_DEFINITELY_NOT;
    case GRPC_RESOURCE_EXHAUSTED:
        return memmem(text.data, text.len, too_many, sizeof too_many - 1) != NULL
                   ? OUTCOME_DEFINITELY_NOT
                   : OUTCOME_UNKNOWN;
    default:
        return OUTCOME_UNKNOWN;
    }
}

static void on_end(struct grpc_request *request, enum grpc_status status, struct bytes text)
{
    struct actor *actor = CONTAINER_OF(request, struct actor, request);
    char why[ERROR_SIZE];
    snprintf(why, sizeof why, "%s: %.*s", grpc_status_name(status), (int)text.len,
             (const char *)text.data);
    const struct reply reply = {.outcome = outcome_of(actor, status, text),
                                .status = status,
                                .text = why,
                                .message = buf_bytes(&actor->answer)};
    actor->then(actor, &reply);
}

void actor_call(struct actor *actor, const char *path, const ProtobufCMessage *message,
                actor_then then)
{
    struct stage *stage = actor->stage;
    actor->then = then;
    actor->answered = false;
    buf_clear(&actor->answer);
    buf_clear(&actor->message);
    uint8_t *packed = buf_extend(&actor->message, protobuf_c_message_get_packed_size(message));
    if (packed == NULL && !buf_ok(&actor->message)) {
        fatal("out of memory");
    }
    if (packed != NULL) {
        protobuf_c_message_pack(message, packed);
    }
    if (!client_is_connected(stage->client, actor->slot)) {
        actor->not_made = true;
        env_timer_start(stage->env, &actor->timer, 0);
        return;
    }
    actor->session = session_of(actor);
    const struct grpc_request_options options = {.path = path, .timeout_ms = stage->timeout_ms};
    client_call(stage->client, actor->slot, &actor->request, &options, buf_bytes(&actor->message));
}

/* ---- what is written down ---- */

static void write_down(struct actor *actor, enum record_type type, int64_t revision,
                       const char *extra, const char *error)
{
    struct stage *stage = actor->stage;
    if (!buf_ok(&actor->value)) {
        fatal("out of memory");
    }
    const struct record record = {.process = actor->process,
                                  .type = type,
                                  .workload = actor->workload,
                                  .f = actor->f,
                                  .value = buf_bytes(&actor->value),
                                  .revision = revision,
                                  .extra = extra,
                                  .member = client_slot_name(stage->client, actor->slot),
                                  .session = actor->session,
                                  .error = error};
    recorder_write(stage->recorder, &record);
    stage->newest = revision > stage->newest ? revision : stage->newest;
}

void actor_invoke(struct actor *actor, enum actor_kind kind, const char *workload, const char *f,
                  const char *extra)
{
    actor->kind = kind;
    actor->workload = workload;
    actor->f = f;
    write_down(actor, RECORD_INVOKE, 0, extra, NULL);
}

void actor_ok(struct actor *actor, int64_t revision, const char *extra)
{
    write_down(actor, RECORD_OK, revision, extra, NULL);
    rest(actor);
}

void actor_fail(struct actor *actor, int64_t revision, const char *extra)
{
    write_down(actor, RECORD_FAIL, revision, extra, NULL);
    rest(actor);
}

void actor_end_badly(struct actor *actor, const struct reply *reply)
{
    ASSERT(reply->outcome != OUTCOME_DONE);
    bool is_open = actor->kind == ACTOR_WRITES && reply->outcome == OUTCOME_UNKNOWN;
    write_down(actor, is_open ? RECORD_INFO : RECORD_FAIL, 0, NULL, reply->text);
    if (is_open) {
        actor->process = actor->stage->next_process++;
    }
    rest(actor);
}

/* ---- life ---- */

struct actor *actor_new(struct stage *stage, const struct load *load, void *shared, size_t number)
{
    struct actor *actor = calloc(1, sizeof *actor + load->own_bytes);
    if (actor == NULL) {
        fatal("out of memory");
    }
    actor->stage = stage;
    actor->load = load;
    actor->shared = shared;
    actor->number = number;
    actor->process = stage->next_process++;
    actor->request = (struct grpc_request){.on_message = on_message, .on_end = on_end};
    env_timer_init(&actor->timer, on_timer);
    env_timer_start(stage->env, &actor->timer, stage_below(stage, stage->gap_ms + 1));
    stage->busy++;
    return actor;
}

void actor_free(struct actor *actor)
{
    if (actor == NULL) {
        return;
    }
    env_timer_stop(actor->stage->env, &actor->timer);
    grpc_request_cancel(&actor->request);
    buf_fini(&actor->message);
    buf_fini(&actor->answer);
    buf_fini(&actor->value);
    free(actor);
}
