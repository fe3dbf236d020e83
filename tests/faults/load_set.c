/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "tests/faults/actor.h"
#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"

/* Elements are added, each a key under the set's name, and the whole set is read at one revision.
 * A set is full after so many attempts; then comes the next one. */

#define ATTEMPTS_MAX 400u
#define READ_PERCENT 8u

struct sets {
    unsigned number;
    unsigned attempts;
};

struct own {
    struct text name;
};

static void on_put(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__PutResponse *answer = answer_to_put(actor, reply);
    if (answer == NULL) {
        return;
    }
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, NULL);
}

static void add(struct actor *actor)
{
    const struct own *own = actor_own(actor);
    int64_t element = ++actor_stage(actor)->next_unique;
    struct text key = text_of("%s/%" PRId64, own->name.text, element);
    struct text value = text_of("%" PRId64, element);
    Etcdserverpb__PutRequest put;
    etcdserverpb__put_request__init(&put);
    put.key = msg_bytes(text_bytes(&key));
    put.value = msg_bytes(text_bytes(&value));
    buf_printf(actor_value(actor), "[\"%s\",%" PRId64 "]", own->name.text, element);
    actor_invoke(actor, ACTOR_WRITES, "set", "add", NULL);
    actor_call(actor, PATH_PUT, &put.base, on_put);
}

static void on_read(struct actor *actor, const struct reply *reply)
{
    const struct own *own = actor_own(actor);
    Etcdserverpb__RangeResponse *answer = answer_to_range(actor, reply);
    if (answer == NULL) {
        return;
    }
    struct buf *value = actor_value(actor);
    buf_printf(value, "[\"%s\",[", own->name.text);
    for (size_t i = 0; i < answer->n_kvs; i++) {
        buf_append_str(value, i == 0 ? "" : ",");
        json_value(value, msg_view(answer->kvs[i]->value));
    }
    buf_append_str(value, "]]");
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, NULL);
}

static void read_all(struct actor *actor)
{
    const struct own *own = actor_own(actor);
    struct text first = text_of("%s/", own->name.text);
    struct text end = text_of("%s0", own->name.text); /* '0' comes after '/' */
    Etcdserverpb__RangeRequest range;
    etcdserverpb__range_request__init(&range);
    range.key = msg_bytes(text_bytes(&first));
    range.range_end = msg_bytes(text_bytes(&end));
    buf_printf(actor_value(actor), "[\"%s\",null]", own->name.text);
    actor_invoke(actor, ACTOR_READS, "set", "read", NULL);
    actor_call(actor, PATH_RANGE, &range.base, on_read);
}

static void step(struct actor *actor)
{
    struct sets *sets = actor_shared(actor);
    struct own *own = actor_own(actor);
    if (sets->number == 0 || sets->attempts++ == ATTEMPTS_MAX) {
        sets->number++;
        sets->attempts = 0;
    }
    own->name = text_of("s%u", sets->number);
    if (stage_chance(actor_stage(actor), READ_PERCENT)) {
        read_all(actor);
    } else {
        add(actor);
    }
}

const struct load load_set = {.name = "set",
                              .shared_bytes = sizeof(struct sets),
                              .own_bytes = sizeof(struct own),
                              .step = step};
