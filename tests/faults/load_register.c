/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "tests/faults/actor.h"
#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"

/* Reads, writes, deletes and compare-and-swaps of single keys. A key is used so often and never
 * again, so that what a checker without revisions has to search stays small. */

#define KEYS     5u
#define KEY_USES 200u
#define AGE_MAX  100 /* revisions: of reads that ask for an old one */

/* Register and watch differ in what they do how often, and in the names of the keys. */
struct mix {
    const char *prefix;
    unsigned read_percent;
    unsigned delete_percent;
    unsigned swap_percent; /* and the rest are writes */
    unsigned uses;
};
static const struct mix register_mix = {"r", 40, 5, 25, KEY_USES};
static const struct mix watch_mix = {"v", 4, 22, 10, UINT32_MAX};

struct registers {
    struct register_key {
        unsigned number; /* 0: not used yet */
        unsigned uses;
        int64_t seen; /* the value that somebody saw last; 0: none */
    } keys[KEYS];
    unsigned count; /* of numbers */
};

struct own {
    struct text key;
    size_t which;
    unsigned number;
    int64_t old; /* 0: not there */
    int64_t new;
};

static void choose_key(struct actor *actor, const struct mix *mix)
{
    struct registers *registers = actor_shared(actor);
    struct own *own = actor_own(actor);
    own->which = stage_below(actor_stage(actor), KEYS);
    struct register_key *key = &registers->keys[own->which];
    if (key->number == 0 || key->uses == mix->uses) {
        *key = (struct register_key){.number = ++registers->count};
    }
    key->uses++;
    own->number = key->number;
    own->key = text_of("%s%u", mix->prefix, key->number);
    own->old = key->seen;
    own->new = ++actor_stage(actor)->next_unique;
}

/* What others may compare with. */
static void note(struct actor *actor, int64_t value)
{
    struct registers *registers = actor_shared(actor);
    struct own *own = actor_own(actor);
    if (registers->keys[own->which].number == own->number) {
        registers->keys[own->which].seen = value;
    }
}

static void print_number(struct buf *buf, int64_t number)
{
    if (number == 0) {
        buf_append_str(buf, "null");
    } else {
        buf_printf(buf, "%" PRId64, number);
    }
}

/* [key,number] */
static void say(struct actor *actor, int64_t number)
{
    struct own *own = actor_own(actor);
    struct buf *value = actor_value(actor);
    buf_printf(value, "[\"%s\",", own->key.text);
    print_number(value, number);
    buf_append_str(value, "]");
}

/* ---- read ---- */

static void on_read(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__RangeResponse *answer = answer_to_range(actor, reply);
    if (answer == NULL) {
        return;
    }
    if (answer->n_kvs > 1) {
        actor_answer_is_wrong(actor, "answer to a read");
    }
    const Mvccpb__KeyValue *kv = answer->n_kvs == 0 ? NULL : answer->kvs[0];
    int64_t number = kv == NULL ? 0 : msg_number(msg_view(kv->value));
    if (number < 0) {
        actor_answer_is_wrong(actor, "value of ours");
    }
    say(actor, number);
    const char *extra =
        kv == NULL ? NULL : actor_extra(actor, ",\"mod_revision\":%" PRId64, kv->mod_revision);
    note(actor, number);
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, extra);
}

static void read_key(struct actor *actor)
{
    struct stage *stage = actor_stage(actor);
    struct own *own = actor_own(actor);
    const char *extra = NULL;
    Etcdserverpb__RangeRequest range;
    etcdserverpb__range_request__init(&range);
    range.key = msg_bytes(text_bytes(&own->key));
    if (stage_chance(stage, 15)) {
        range.serializable = 1;
        extra = ",\"serializable\":true";
    } else if (stage_chance(stage, 10) && stage->newest > AGE_MAX) {
        range.revision = stage->newest - (int64_t)stage_below(stage, AGE_MAX);
        extra = actor_extra(actor, ",\"at\":%" PRId64, range.revision);
    }
    say(actor, 0);
    actor_invoke(actor, ACTOR_READS, "register", "read", extra);
    actor_call(actor, PATH_RANGE, &range.base, on_read);
}

/* ---- write and delete ---- */

static void on_put(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__PutResponse *answer = answer_to_put(actor, reply);
    if (answer == NULL) {
        return;
    }
    int64_t revision = answer_free(&answer->base);
    note(actor, ((struct own *)actor_own(actor))->new);
    actor_ok(actor, revision, NULL);
}

static void write_key(struct actor *actor)
{
    struct own *own = actor_own(actor);
    struct text value = text_of("%" PRId64, own->new);
    Etcdserverpb__PutRequest put;
    etcdserverpb__put_request__init(&put);
    put.key = msg_bytes(text_bytes(&own->key));
    put.value = msg_bytes(text_bytes(&value));
    say(actor, own->new);
    actor_invoke(actor, ACTOR_WRITES, "register", "write", NULL);
    actor_call(actor, PATH_PUT, &put.base, on_put);
}

static void on_delete(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__DeleteRangeResponse *answer = answer_to_delete(actor, reply);
    if (answer == NULL) {
        return;
    }
    if (answer->deleted < 0 || answer->deleted > 1) {
        actor_answer_is_wrong(actor, "answer to a delete");
    }
    const char *extra = answer->deleted == 0 ? ",\"unchanged\":true" : NULL;
    int64_t revision = answer_free(&answer->base);
    note(actor, 0);
    actor_ok(actor, revision, extra);
}

static void delete_key(struct actor *actor)
{
    struct own *own = actor_own(actor);
    Etcdserverpb__DeleteRangeRequest del;
    etcdserverpb__delete_range_request__init(&del);
    del.key = msg_bytes(text_bytes(&own->key));
    say(actor, 0);
    actor_invoke(actor, ACTOR_WRITES, "register", "write", NULL);
    actor_call(actor, PATH_DELETE, &del.base, on_delete);
}

/* ---- compare and swap ---- */

static void on_swap(struct actor *actor, const struct reply *reply)
{
    struct own *own = actor_own(actor);
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, reply);
    if (answer == NULL) {
        return;
    }
    bool succeeded = answer->succeeded;
    const Mvccpb__KeyValue *found;
    if (!succeeded && msg_txn_read(answer, 0, &found)) {
        note(actor, found == NULL ? 0 : msg_number(msg_view(found->value)));
    }
    int64_t revision = answer_free(&answer->base);
    if (succeeded) {
        note(actor, own->new);
        actor_ok(actor, revision, NULL);
    } else {
        actor_fail(actor, revision, NULL);
    }
}

static void swap_key(struct actor *actor)
{
    struct own *own = actor_own(actor);
    struct bytes key = text_bytes(&own->key);
    struct text old = text_of("%" PRId64, own->old);
    struct text new = text_of("%" PRId64, own->new);
    struct msg_txn txn;
    msg_txn_init(&txn);
    if (own->old == 0) {
        msg_txn_if_created(&txn, key, bytes_of(NULL, 0),
                           ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL, 0);
    } else {
        msg_txn_if_value(&txn, key, text_bytes(&old));
    }
    if (own->old != 0 && stage_chance(actor_stage(actor), 10)) {
        own->new = 0;
        msg_txn_delete(&txn, MSG_THEN, key);
    } else {
        msg_txn_put(&txn, MSG_THEN, key, text_bytes(&new));
    }
    msg_txn_get(&txn, MSG_ELSE, key);
    struct buf *value = actor_value(actor);
    buf_printf(value, "[\"%s\",[", own->key.text);
    print_number(value, own->old);
    buf_append_str(value, ",");
    print_number(value, own->new);
    buf_append_str(value, "]]");
    actor_invoke(actor, ACTOR_WRITES, "register", "cas", NULL);
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_swap);
}

static void mixed_step(struct actor *actor, const struct mix *mix)
{
    choose_key(actor, mix);
    unsigned dice = (unsigned)stage_below(actor_stage(actor), 100);
    if (dice < mix->read_percent) {
        read_key(actor);
    } else if (dice < mix->read_percent + mix->delete_percent) {
        delete_key(actor);
    } else if (dice < mix->read_percent + mix->delete_percent + mix->swap_percent) {
        swap_key(actor);
    } else {
        write_key(actor);
    }
}

static void register_step(struct actor *actor)
{
    mixed_step(actor, &register_mix);
}

static void watch_step(struct actor *actor)
{
    mixed_step(actor, &watch_mix);
}

const struct load load_register = {.name = "register",
                                   .shared_bytes = sizeof(struct registers),
                                   .own_bytes = sizeof(struct own),
                                   .step = register_step};

/* Keys that change all the time; what matters is what watchers are told of them. */
const struct load load_watch = {.name = "watch",
                                .shared_bytes = sizeof(struct registers),
                                .own_bytes = sizeof(struct own),
                                .step = watch_step};
