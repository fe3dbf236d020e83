/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/faults/actor.h"
#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"

/* Transactions over several keys, as Jepsen's Elle wants them.
 *
 * append: keys hold lists. A first transaction reads what lists are concerned; a second one puts
 * those that became longer, if all of them still are what was read. So what was read and what was
 * appended is true at the second one's revision.
 *
 * wr: reads and writes of registers and comparisons in one transaction of the store. */

#define KEYS        4u
#define PARTS_MAX   4u
#define APPENDS_MAX 48u   /* attempts to a key, then comes the next one */
#define LIST_MAX    1024u /* its digits and commas */
#define WRITES_MAX  300u

struct txns {
    struct txn_key {
        unsigned number;
        unsigned uses;
        int64_t seen;
    } keys[KEYS];
    unsigned count;
};

struct part {
    char f; /* 'a'ppend, 'r'ead, 'w'rite, 'c'ompare */
    size_t key;
    int64_t number; /* 0 of a comparison: not there */
    int64_t mod_revision;
    bool found;
    char list[LIST_MAX]; /* what was read */
};

struct own {
    size_t part_count;
    struct part parts[PARTS_MAX];
    size_t key_count;
    struct own_key {
        struct text name;
        size_t which;
        unsigned number;
        int64_t mod_revision; /* as read */
        size_t written;       /* by part I - 1 first; 0: not */
        char list[LIST_MAX];
    } keys[PARTS_MAX];
};

/* ---- choosing ---- */

/* One of the keys that the transaction has already, or another. */
static size_t choose_key(struct actor *actor, const char *prefix, unsigned uses_max)
{
    struct txns *txns = actor_shared(actor);
    struct own *own = actor_own(actor);
    size_t which = stage_below(actor_stage(actor), KEYS);
    struct txn_key *key = &txns->keys[which];
    for (size_t i = 0; i < own->key_count; i++) {
        if (own->keys[i].which == which) {
            return i;
        }
    }
    if (key->number == 0 || key->uses >= uses_max) {
        *key = (struct txn_key){.number = ++txns->count};
    }
    size_t i = own->key_count++;
    own->keys[i] = (struct own_key){
        .name = text_of("%s%u", prefix, key->number), .which = which, .number = key->number};
    return i;
}

/* ---- append ---- */

static void say_append(struct actor *actor)
{
    const struct own *own = actor_own(actor);
    struct buf *value = actor_value(actor);
    buf_append_str(value, "[");
    for (size_t i = 0; i < own->part_count; i++) {
        const struct part *part = &own->parts[i];
        const char *name = own->keys[part->key].name.text;
        buf_append_str(value, i == 0 ? "" : ",");
        if (part->f == 'a') {
            buf_printf(value, "[\"append\",\"%s\",%" PRId64 "]", name, part->number);
        } else if (part->found) {
            buf_printf(value, "[\"r\",\"%s\",[%s]]", name, part->list);
        } else {
            buf_printf(value, "[\"r\",\"%s\",null]", name);
        }
    }
    buf_append_str(value, "]");
}

/* What each part sees and leaves, one after the other. */
static void play_append(struct own *own)
{
    for (size_t i = 0; i < own->part_count; i++) {
        struct part *part = &own->parts[i];
        struct own_key *key = &own->keys[part->key];
        if (part->f == 'r') {
            part->found = key->list[0] != '\0';
            memcpy(part->list, key->list, sizeof part->list);
        } else {
            size_t len = strlen(key->list);
            int added = snprintf(key->list + len, sizeof key->list - len, "%s%" PRId64,
                                 len == 0 ? "" : ",", part->number);
            ASSERT(added > 0 && (size_t)added < sizeof key->list - len); /* APPENDS_MAX */
            key->written = key->written == 0 ? i + 1 : key->written;
        }
    }
}

static void on_guarded(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, reply);
    if (answer == NULL) {
        return;
    }
    bool succeeded = answer->succeeded;
    int64_t revision = answer_free(&answer->base);
    if (succeeded) {
        say_append(actor);
        actor_ok(actor, revision, NULL);
    } else {
        actor_fail(actor, revision, NULL);
    }
}

static void write_guarded(struct actor *actor)
{
    struct own *own = actor_own(actor);
    struct msg_txn txn;
    msg_txn_init(&txn);
    for (size_t i = 0; i < own->key_count; i++) {
        const struct own_key *key = &own->keys[i];
        msg_txn_if_mod(&txn, text_bytes(&key->name), key->mod_revision);
    }
    /* In the order of the parts: watchers are told so. */
    for (size_t i = 0; i < own->part_count; i++) {
        const struct own_key *key = &own->keys[own->parts[i].key];
        if (key->written == i + 1) {
            msg_txn_put(&txn, MSG_THEN, text_bytes(&key->name), bytes_of_str(key->list));
        }
    }
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_guarded);
}

/* False: that is not what was asked for. */
static bool take_lists(struct own *own, const Etcdserverpb__TxnResponse *answer)
{
    for (size_t i = 0; i < own->key_count; i++) {
        struct own_key *key = &own->keys[i];
        const Mvccpb__KeyValue *kv;
        if (!msg_txn_read(answer, i, &kv)) {
            return false;
        }
        key->written = 0;
        key->mod_revision = kv == NULL ? 0 : kv->mod_revision;
        size_t len = kv == NULL ? 0 : kv->value.len;
        if (len >= sizeof key->list) {
            return false;
        }
        if (len > 0) {
            memcpy(key->list, kv->value.data, len);
        }
        key->list[len] = '\0';
    }
    return true;
}

static void on_lists(struct actor *actor, const struct reply *reply)
{
    struct own *own = actor_own(actor);
    const struct reply nothing_written = answer_unwritten(reply);
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, &nothing_written);
    if (answer == NULL) {
        return;
    }
    if (!take_lists(own, answer)) {
        actor_answer_is_wrong(actor, "list");
    }
    int64_t revision = answer_free(&answer->base);
    play_append(own);
    for (size_t i = 0; i < own->key_count; i++) {
        if (own->keys[i].written != 0) {
            write_guarded(actor);
            return;
        }
    }
    say_append(actor);
    actor_ok(actor, revision, NULL);
}

static void append_step(struct actor *actor)
{
    struct stage *stage = actor_stage(actor);
    struct txns *txns = actor_shared(actor);
    struct own *own = actor_own(actor);
    struct msg_txn txn;
    own->key_count = 0;
    own->part_count = 1 + stage_below(stage, PARTS_MAX);
    for (size_t i = 0; i < own->part_count; i++) {
        struct part *part = &own->parts[i];
        part->key = choose_key(actor, "x", APPENDS_MAX);
        part->found = false;
        part->f = stage_chance(stage, 50) ? 'a' : 'r';
        if (part->f == 'a') {
            txns->keys[own->keys[part->key].which].uses++;
            part->number = ++stage->next_unique;
        }
    }
    msg_txn_init(&txn);
    for (size_t i = 0; i < own->key_count; i++) {
        msg_txn_get(&txn, MSG_THEN, text_bytes(&own->keys[i].name));
    }
    say_append(actor);
    actor_invoke(actor, ACTOR_WRITES, "append", "txn", NULL);
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_lists);
}

const struct load load_append = {.name = "append",
                                 .shared_bytes = sizeof(struct txns),
                                 .own_bytes = sizeof(struct own),
                                 .step = append_step};

/* ---- wr ---- */

static void say_number(struct buf *value, int64_t number)
{
    if (number == 0) {
        buf_append_str(value, "null");
    } else {
        buf_printf(value, "%" PRId64, number);
    }
}

static void say_wr(struct actor *actor)
{
    const struct own *own = actor_own(actor);
    struct buf *value = actor_value(actor);
    buf_append_str(value, "[");
    for (size_t i = 0; i < own->part_count; i++) {
        const struct part *part = &own->parts[i];
        buf_printf(value, "%s[\"%c\",\"%s\",", i == 0 ? "" : ",", part->f,
                   own->keys[part->key].name.text);
        say_number(value, part->f == 'r' && !part->found ? 0 : part->number);
        if (part->f == 'r' && part->found) {
            buf_printf(value, ",%" PRId64, part->mod_revision);
        }
        buf_append_str(value, "]");
    }
    buf_append_str(value, "]");
}

/* What the branch that was taken has read: all parts but comparisons have an answer when it
 * succeeded, only reads when it did not. */
static bool take_reads(struct actor *actor, const Etcdserverpb__TxnResponse *answer)
{
    struct txns *txns = actor_shared(actor);
    struct own *own = actor_own(actor);
    size_t at = 0;
    for (size_t i = 0; i < own->part_count; i++) {
        struct part *part = &own->parts[i];
        const struct own_key *key = &own->keys[part->key];
        if (part->f == 'c' || (part->f == 'w' && !answer->succeeded)) {
            continue;
        }
        size_t response = at++;
        const Mvccpb__KeyValue *kv;
        if (part->f == 'w') {
            continue;
        }
        if (!msg_txn_read(answer, response, &kv)) {
            return false;
        }
        part->found = kv != NULL;
        part->number = kv == NULL ? 0 : msg_number(msg_view(kv->value));
        part->mod_revision = kv == NULL ? 0 : kv->mod_revision;
        if (txns->keys[key->which].number == key->number) {
            txns->keys[key->which].seen = part->number;
        }
    }
    return true;
}

static void on_wr(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, reply);
    if (answer == NULL) {
        return;
    }
    if (!take_reads(actor, answer)) {
        actor_answer_is_wrong(actor, "answer to a transaction");
    }
    bool succeeded = answer->succeeded;
    int64_t revision = answer_free(&answer->base);
    say_wr(actor);
    if (succeeded) {
        actor_ok(actor, revision, NULL);
    } else {
        actor_fail(actor, revision, NULL);
    }
}

/* A key is written once in a transaction: the store refuses more. One of nothing but comparisons
 * asks for no key, and etcd's API lets any member answer it from what it has: none begins so. */
static void choose_wr(struct actor *actor, struct part *part)
{
    struct stage *stage = actor_stage(actor);
    struct txns *txns = actor_shared(actor);
    struct own *own = actor_own(actor);
    part->key = choose_key(actor, "y", WRITES_MAX);
    struct own_key *key = &own->keys[part->key];
    struct txn_key *shared = &txns->keys[key->which];
    part->found = false;
    part->number = 0;
    if (part != own->parts && stage_chance(stage, 20) && shared->number == key->number) {
        part->f = 'c';
        part->number = shared->seen;
    } else if (stage_chance(stage, 50) && key->written == 0) {
        part->f = 'w';
        part->number = ++stage->next_unique;
        key->written = 1;
        shared->uses++;
    } else {
        part->f = 'r';
    }
}

static void wr_step(struct actor *actor)
{
    struct stage *stage = actor_stage(actor);
    struct own *own = actor_own(actor);
    struct msg_txn txn;
    struct text numbers[PARTS_MAX];
    own->key_count = 0;
    own->part_count = 1 + stage_below(stage, PARTS_MAX);
    msg_txn_init(&txn);
    for (size_t i = 0; i < own->part_count; i++) {
        struct part *part = &own->parts[i];
        choose_wr(actor, part);
        /* names do not move: keys are only added to the array */
        struct bytes key = text_bytes(&own->keys[part->key].name);
        numbers[i] = text_of("%" PRId64, part->number);
        if (part->f == 'w') {
            msg_txn_put(&txn, MSG_THEN, key, text_bytes(&numbers[i]));
        } else if (part->f == 'r') {
            msg_txn_get(&txn, MSG_THEN, key);
            msg_txn_get(&txn, MSG_ELSE, key);
        } else if (part->number == 0) {
            msg_txn_if_created(&txn, key, bytes_of(NULL, 0),
                               ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL, 0);
        } else {
            msg_txn_if_value(&txn, key, text_bytes(&numbers[i]));
        }
    }
    say_wr(actor);
    actor_invoke(actor, ACTOR_WRITES, "wr", "txn", NULL);
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_wr);
}

const struct load load_wr = {.name = "wr",
                             .shared_bytes = sizeof(struct txns),
                             .own_bytes = sizeof(struct own),
                             .step = wr_step};
