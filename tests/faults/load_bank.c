/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "tests/faults/actor.h"
#include "tests/faults/answers.h"
#include "tests/faults/etcdmsg.h"

/* Money goes from account to account, and is always the same in sum. A transfer reads both accounts
 * and writes them under a comparison of what it read; a read takes all of them at one revision. */

#define ACCOUNTS     6u
#define MONEY        50
#define AMOUNT_MAX   20u
#define READ_PERCENT 40u

struct bank {
    bool opening;
    bool open;
};

struct own {
    unsigned from;
    unsigned to;
    int64_t amount;
};

static struct text account(unsigned number)
{
    return text_of("bank/%u", number);
}

/* ---- opening ---- */

static void on_open(struct actor *actor, const struct reply *reply)
{
    struct bank *bank = actor_shared(actor);
    bank->opening = false;
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, reply);
    if (answer == NULL) {
        return;
    }
    bool succeeded = answer->succeeded;
    int64_t revision = answer_free(&answer->base);
    bank->open = true; /* this attempt, or one before it that had no answer */
    if (succeeded) {
        actor_ok(actor, revision, NULL);
    } else {
        actor_fail(actor, revision, NULL);
    }
}

static void open_all(struct actor *actor)
{
    struct bank *bank = actor_shared(actor);
    if (bank->opening) {
        actor_skip(actor);
        return;
    }
    bank->opening = true;
    struct text keys[ACCOUNTS];
    struct text money = text_of("%d", MONEY);
    struct msg_txn txn;
    msg_txn_init(&txn);
    struct buf *value = actor_value(actor);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        keys[i] = account(i);
        msg_txn_put(&txn, MSG_THEN, text_bytes(&keys[i]), text_bytes(&money));
        buf_printf(value, "%s\"%s\":%d", i == 0 ? "{" : ",", keys[i].text, MONEY);
    }
    buf_append_str(value, "}");
    msg_txn_if_created(&txn, text_bytes(&keys[0]), bytes_of(NULL, 0),
                       ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL, 0);
    actor_invoke(actor, ACTOR_WRITES, "bank", "open", NULL);
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_open);
}

/* ---- reading ---- */

static void on_read(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__RangeResponse *answer = answer_to_range(actor, reply);
    if (answer == NULL) {
        return;
    }
    struct buf *value = actor_value(actor);
    buf_append_str(value, "{");
    for (size_t i = 0; i < answer->n_kvs; i++) {
        buf_append_str(value, i == 0 ? "" : ",");
        json_string(value, msg_view(answer->kvs[i]->key));
        buf_append_str(value, ":");
        json_value(value, msg_view(answer->kvs[i]->value));
    }
    buf_append_str(value, "}");
    int64_t revision = answer_free(&answer->base);
    actor_ok(actor, revision, NULL);
}

static void read_all(struct actor *actor)
{
    Etcdserverpb__RangeRequest range;
    etcdserverpb__range_request__init(&range);
    range.key = msg_bytes(bytes_of_str("bank/"));
    range.range_end = msg_bytes(bytes_of_str("bank0"));
    buf_append_str(actor_value(actor), "null");
    actor_invoke(actor, ACTOR_READS, "bank", "read", NULL);
    actor_call(actor, PATH_RANGE, &range.base, on_read);
}

/* ---- transfers ---- */

static void on_moved(struct actor *actor, const struct reply *reply)
{
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, reply);
    if (answer == NULL) {
        return;
    }
    bool succeeded = answer->succeeded;
    int64_t revision = answer_free(&answer->base);
    if (succeeded) {
        actor_ok(actor, revision, NULL);
    } else {
        actor_fail(actor, revision, NULL); /* somebody else was faster */
    }
}

static void move(struct actor *actor, const Mvccpb__KeyValue *from, const Mvccpb__KeyValue *to)
{
    const struct own *own = actor_own(actor);
    struct text from_left = text_of("%" PRId64, msg_number(msg_view(from->value)) - own->amount);
    struct text to_has = text_of("%" PRId64, msg_number(msg_view(to->value)) + own->amount);
    struct msg_txn txn;
    msg_txn_init(&txn);
    msg_txn_if_mod(&txn, msg_view(from->key), from->mod_revision);
    msg_txn_if_mod(&txn, msg_view(to->key), to->mod_revision);
    msg_txn_put(&txn, MSG_THEN, msg_view(from->key), text_bytes(&from_left));
    msg_txn_put(&txn, MSG_THEN, msg_view(to->key), text_bytes(&to_has));
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_moved);
}

static void on_both(struct actor *actor, const struct reply *reply)
{
    const struct own *own = actor_own(actor);
    const struct reply nothing_written = answer_unwritten(reply);
    Etcdserverpb__TxnResponse *answer = answer_to_txn(actor, &nothing_written);
    if (answer == NULL) {
        return;
    }
    const Mvccpb__KeyValue *from;
    const Mvccpb__KeyValue *to;
    if (!msg_txn_read(answer, 0, &from) || !msg_txn_read(answer, 1, &to) || from == NULL ||
        to == NULL || msg_number(msg_view(from->value)) < 0 ||
        msg_number(msg_view(to->value)) < 0) {
        actor_answer_is_wrong(actor, "account");
    }
    if (msg_number(msg_view(from->value)) < own->amount) {
        actor_fail(actor, answer->header->revision, NULL);
    } else {
        move(actor, from, to);
    }
    (void)answer_free(&answer->base);
}

static void transfer(struct actor *actor)
{
    struct stage *stage = actor_stage(actor);
    struct own *own = actor_own(actor);
    own->from = (unsigned)stage_below(stage, ACCOUNTS);
    own->to = (own->from + 1 + (unsigned)stage_below(stage, ACCOUNTS - 1)) % ACCOUNTS;
    own->amount = 1 + (int64_t)stage_below(stage, AMOUNT_MAX);
    struct text from = account(own->from);
    struct text to = account(own->to);
    struct msg_txn txn;
    msg_txn_init(&txn);
    msg_txn_get(&txn, MSG_THEN, text_bytes(&from));
    msg_txn_get(&txn, MSG_THEN, text_bytes(&to));
    buf_printf(actor_value(actor), "{\"from\":\"%s\",\"to\":\"%s\",\"amount\":%" PRId64 "}",
               from.text, to.text, own->amount);
    actor_invoke(actor, ACTOR_WRITES, "bank", "transfer", NULL);
    actor_call(actor, PATH_TXN, msg_txn_message(&txn), on_both);
}

static void step(struct actor *actor)
{
    const struct bank *bank = actor_shared(actor);
    if (!bank->open) {
        open_all(actor);
    } else if (stage_chance(actor_stage(actor), READ_PERCENT)) {
        read_all(actor);
    } else {
        transfer(actor);
    }
}

const struct load load_bank = {.name = "bank",
                               .shared_bytes = sizeof(struct bank),
                               .own_bytes = sizeof(struct own),
                               .step = step};
