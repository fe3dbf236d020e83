/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/integration/random_kv.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"

#define KEYS         40
#define NO_LEASE     0
#define SOME_LEASE   4711 /* nobody grants it */
#define DEPTH_MAX    3
#define OPS_TOO_MANY 130

void random_kv_init(struct random_kv *random, uint64_t seed)
{
    *random = (struct random_kv){.random = mix64(seed), .revision = 1};
}

void random_kv_fini(struct random_kv *random)
{
    arena_fini(&random->arena);
}

uint64_t random_kv_below(struct random_kv *random, uint64_t n)
{
    return mix64(random->random++) % n;
}

static bool chance(struct random_kv *random, unsigned percent)
{
    return random_kv_below(random, 100) < percent;
}

/* One in a thousand and the like. */
static bool rarely(struct random_kv *random, unsigned n)
{
    return random_kv_below(random, n) == 0;
}

static void *alloc(struct random_kv *random, size_t count, size_t size)
{
    void *memory = arena_calloc(&random->arena, count, size);
    if (memory == NULL) {
        fatal("out of memory");
    }
    return memory;
}

static ProtobufCBinaryData binary_of(struct random_kv *random, const void *data, size_t len)
{
    uint8_t *copy = alloc(random, len + 1, 1);
    memcpy(copy, data, len);
    return (ProtobufCBinaryData){.data = copy, .len = len};
}

/* "k/00" to "k/39", and a few that are different. */
static ProtobufCBinaryData some_key(struct random_kv *random)
{
    static const struct bytes odd[] = {
        {(const uint8_t *)"", 0},         {(const uint8_t *)"\0", 1},
        {(const uint8_t *)"k", 1},        {(const uint8_t *)"k/", 2},
        {(const uint8_t *)"k/1", 3},      {(const uint8_t *)"k0", 2},
        {(const uint8_t *)"\xff", 1},     {(const uint8_t *)"k/1\0x", 5},
        {(const uint8_t *)"\xff\xff", 2},
    };
    if (chance(random, 4)) {
        struct bytes key = odd[random_kv_below(random, ARRAY_LEN(odd))];
        return binary_of(random, key.data, key.len);
    }
    char text[8];
    int len = snprintf(text, sizeof text, "k/%02u", (unsigned)random_kv_below(random, KEYS));
    return binary_of(random, text, (size_t)len);
}

/* Mostly narrow, so that a delete leaves something. */
static ProtobufCBinaryData some_range_end(struct random_kv *random, ProtobufCBinaryData key)
{
    uint64_t dice = random_kv_below(random, 100);
    if (dice < 45) {
        return (ProtobufCBinaryData){0};
    }
    if (dice < 75 && key.len == 4) { /* a few keys on */
        unsigned first = (unsigned)(key.data[2] - '0') * 10 + (unsigned)(key.data[3] - '0');
        char text[16];
        int len =
            snprintf(text, sizeof text, "k/%02u", first + 1 + (unsigned)random_kv_below(random, 8));
        return binary_of(random, text, (size_t)len);
    }
    if (dice < 80) {
        return binary_of(random, "\0", 1);
    }
    if (dice < 85) {
        return binary_of(random, "k0", 2);
    }
    return some_key(random);
}

static ProtobufCBinaryData some_value(struct random_kv *random)
{
    static const char letters[] = "abcdefgh";
    uint8_t data[200];
    size_t len =
        chance(random, 80) ? random_kv_below(random, 6) : random_kv_below(random, sizeof data);
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)letters[random_kv_below(random, 8)];
    }
    return binary_of(random, data, len);
}

/* Around what is there: compacted and future ones too. */
static int64_t some_revision(struct random_kv *random)
{
    int64_t first = random->compacted - 3;
    int64_t count = random->revision + 3 - first;
    return first + (int64_t)random_kv_below(random, (uint64_t)count);
}

static int64_t some_limit(struct random_kv *random)
{
    if (rarely(random, 100)) {
        return -1;
    }
    return chance(random, 60) ? 0 : (int64_t)random_kv_below(random, 8) + 1;
}

static int64_t maybe_revision(struct random_kv *random, unsigned percent)
{
    return chance(random, percent) ? some_revision(random) : 0;
}

static Etcdserverpb__RangeRequest *some_range(struct random_kv *random)
{
    Etcdserverpb__RangeRequest *range = alloc(random, 1, sizeof *range);
    etcdserverpb__range_request__init(range);
    range->key = some_key(random);
    range->range_end = some_range_end(random, range->key);
    range->limit = some_limit(random);
    range->revision = maybe_revision(random, 25);
    /* Known numbers only: an unknown sort target ends a member of etcd 3.4. */
    if (chance(random, 40)) {
        range->sort_order = (Etcdserverpb__RangeRequest__SortOrder)random_kv_below(random, 3);
        range->sort_target = (Etcdserverpb__RangeRequest__SortTarget)random_kv_below(random, 5);
    }
    range->serializable = chance(random, 30);
    range->keys_only = chance(random, 10);
    if (range->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE && range->keys_only) {
        range->limit = 0; /* without values nobody can tell where ties are cut */
    }
    range->count_only = chance(random, 10);
    range->min_mod_revision = maybe_revision(random, 8);
    range->max_mod_revision = maybe_revision(random, 8);
    range->min_create_revision = maybe_revision(random, 8);
    range->max_create_revision = maybe_revision(random, 8);
    return range;
}

static Etcdserverpb__PutRequest *some_put(struct random_kv *random)
{
    Etcdserverpb__PutRequest *put = alloc(random, 1, sizeof *put);
    etcdserverpb__put_request__init(put);
    put->key = some_key(random);
    put->ignore_value = chance(random, 8);
    put->ignore_lease = chance(random, 8);
    put->prev_kv = chance(random, 30);
    if (!put->ignore_value || chance(random, 10)) {
        put->value = some_value(random);
    }
    if (rarely(random, 60)) {
        put->lease = SOME_LEASE;
    }
    return put;
}

static Etcdserverpb__DeleteRangeRequest *some_delete(struct random_kv *random)
{
    Etcdserverpb__DeleteRangeRequest *delete = alloc(random, 1, sizeof *delete);
    etcdserverpb__delete_range_request__init(delete);
    delete->key = some_key(random);
    delete->range_end =
        chance(random, 40) ? some_range_end(random, delete->key) : (ProtobufCBinaryData){0};
    delete->prev_kv = chance(random, 40);
    return delete;
}

static void some_target(struct random_kv *random, Etcdserverpb__Compare *compare)
{
    int64_t number =
        chance(random, 50) ? (int64_t)random_kv_below(random, 4) : some_revision(random);
    unsigned target = (unsigned)compare->target;
    if (rarely(random, 20)) {
        target = (unsigned)random_kv_below(random, 6); /* of another kind, or none */
    }
    switch (target) {
    case 0:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        compare->version = number;
        break;
    case 1:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        compare->create_revision = number;
        break;
    case 2:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        compare->mod_revision = number;
        break;
    case 3:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        compare->value = some_value(random);
        break;
    case 4:
        compare->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        compare->lease = chance(random, 80) ? NO_LEASE : SOME_LEASE;
        break;
    default:
        break;
    }
}

static Etcdserverpb__Compare *some_compare(struct random_kv *random)
{
    Etcdserverpb__Compare *compare = alloc(random, 1, sizeof *compare);
    etcdserverpb__compare__init(compare);
    compare->result = (Etcdserverpb__Compare__CompareResult)random_kv_below(random, 4);
    compare->target = (Etcdserverpb__Compare__CompareTarget)random_kv_below(random, 5);
    compare->key = some_key(random);
    if (chance(random, 25)) {
        compare->range_end = some_range_end(random, compare->key);
    }
    some_target(random, compare);
    return compare;
}

static Etcdserverpb__TxnRequest *some_txn(struct random_kv *random, unsigned depth);

static Etcdserverpb__RequestOp *some_op(struct random_kv *random, unsigned depth)
{
    Etcdserverpb__RequestOp *op = alloc(random, 1, sizeof *op);
    etcdserverpb__request_op__init(op);
    uint64_t dice = random_kv_below(random, 100);
    if (dice < 35) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = some_range(random);
        if (chance(random, 70)) {
            op->request_range->revision = 0; /* else most transactions would fail */
        }
    } else if (dice < 75) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = some_put(random);
        if (chance(random, 70)) {
            op->request_put->ignore_value = op->request_put->ignore_lease = false;
        }
    } else if (dice < 88) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op->request_delete_range = some_delete(random);
    } else if (depth < DEPTH_MAX) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = some_txn(random, depth + 1);
    } else if (!rarely(random, 10)) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = some_range(random);
    } /* else an op without a request */
    return op;
}

static Etcdserverpb__RequestOp **some_ops(struct random_kv *random, unsigned depth, size_t *ret)
{
    size_t count = rarely(random, 2000) ? OPS_TOO_MANY : random_kv_below(random, 4);
    Etcdserverpb__RequestOp **ops = alloc(random, count + 1, sizeof *ops);
    for (size_t i = 0; i < count; i++) {
        ops[i] = some_op(random, depth);
    }
    *ret = count;
    return ops;
}

static Etcdserverpb__TxnRequest *some_txn(struct random_kv *random, unsigned depth)
{
    Etcdserverpb__TxnRequest *txn = alloc(random, 1, sizeof *txn);
    etcdserverpb__txn_request__init(txn);
    txn->n_compare = random_kv_below(random, 3);
    txn->compare = alloc(random, txn->n_compare + 1, sizeof *txn->compare);
    for (size_t i = 0; i < txn->n_compare; i++) {
        txn->compare[i] = some_compare(random);
    }
    txn->success = some_ops(random, depth, &txn->n_success);
    txn->failure = some_ops(random, depth, &txn->n_failure);
    return txn;
}

static const Etcdserverpb__RequestOp *op_at(const Etcdserverpb__TxnRequest *txn, size_t i)
{
    return i < txn->n_success ? txn->success[i] : txn->failure[i - txn->n_success];
}

static bool is_read_only(const Etcdserverpb__TxnRequest *txn)
{
    for (size_t i = 0; i < txn->n_success + txn->n_failure; i++) {
        if (op_at(txn, i)->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE) {
            return false;
        }
    }
    return true;
}

static bool deletes(const Etcdserverpb__TxnRequest *txn)
{
    for (size_t i = 0; i < txn->n_success + txn->n_failure; i++) {
        const Etcdserverpb__RequestOp *op = op_at(txn, i);
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE ||
            (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN &&
             deletes(op->request_txn))) {
            return true;
        }
    }
    return false;
}

/* Two things that writing transactions of etcd 3.4 do not survive stay out of the test.
 *
 * Members that do not answer the client leave ranges out. When one of these asks for a compacted or
 * future revision, the member that answers refuses the transaction and the others apply it: the
 * cluster is no longer one.
 *
 * A put with ignore_value or ignore_lease of a key that the transaction has deleted ends them all.
 */
static void avoid_the_deadly(const struct random_kv *random, Etcdserverpb__TxnRequest *txn,
                             bool with_deletes)
{
    for (size_t i = 0; i < txn->n_success + txn->n_failure; i++) {
        const Etcdserverpb__RequestOp *op = op_at(txn, i);
        switch (op->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            avoid_the_deadly(random, op->request_txn, with_deletes);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            if (op->request_range->revision < random->compacted ||
                op->request_range->revision > random->revision) {
                op->request_range->revision = 0;
            }
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            if (with_deletes) {
                op->request_put->ignore_value = false;
                op->request_put->ignore_lease = false;
            }
            break;
        default:
            break;
        }
    }
}

static Etcdserverpb__TxnRequest *some_whole_txn(struct random_kv *random)
{
    Etcdserverpb__TxnRequest *txn = some_txn(random, 0);
    if (!is_read_only(txn)) {
        avoid_the_deadly(random, txn, deletes(txn));
    }
    return txn;
}

/* Served from the member's own state: only ranges, all serializable; none at all counts as such. */
static bool is_serializable(const Etcdserverpb__TxnRequest *txn)
{
    for (size_t i = 0; is_read_only(txn) && i < txn->n_success + txn->n_failure; i++) {
        if (!op_at(txn, i)->request_range->serializable) {
            return false;
        }
    }
    return is_read_only(txn);
}

static struct kv_request range_request(const Etcdserverpb__RangeRequest *range)
{
    return (struct kv_request){.kind = KV_RANGE,
                               .serializable = range->serializable,
                               .path = "/etcdserverpb.KV/Range",
                               .message = &range->base,
                               .answer_descriptor = &etcdserverpb__range_response__descriptor};
}

static struct kv_request some_compaction(struct random_kv *random)
{
    Etcdserverpb__CompactionRequest *compaction = alloc(random, 1, sizeof *compaction);
    etcdserverpb__compaction_request__init(compaction);
    compaction->revision = some_revision(random);
    if (random->deleted > random->compacted && chance(random, 50)) {
        compaction->revision = random->deleted; /* tombstones of that very revision */
    }
    compaction->physical = chance(random, 50);
    return (struct kv_request){.kind = KV_COMPACT,
                               .path = "/etcdserverpb.KV/Compact",
                               .message = &compaction->base,
                               .answer_descriptor = &etcdserverpb__compaction_response__descriptor};
}

struct kv_request random_kv_next(struct random_kv *random)
{
    arena_reset(&random->arena);
    uint64_t dice = random_kv_below(random, 1000);
    if (dice < 300) {
        return range_request(some_range(random));
    }
    if (dice < 650) {
        return (struct kv_request){.kind = KV_PUT,
                                   .path = "/etcdserverpb.KV/Put",
                                   .message = &some_put(random)->base,
                                   .answer_descriptor = &etcdserverpb__put_response__descriptor};
    }
    if (dice < 730) {
        return (struct kv_request){.kind = KV_DELETE,
                                   .path = "/etcdserverpb.KV/DeleteRange",
                                   .message = &some_delete(random)->base,
                                   .answer_descriptor =
                                       &etcdserverpb__delete_range_response__descriptor};
    }
    if (dice < 990) {
        const Etcdserverpb__TxnRequest *txn = some_whole_txn(random);
        return (struct kv_request){.kind = KV_TXN,
                                   .serializable = is_serializable(txn),
                                   .path = "/etcdserverpb.KV/Txn",
                                   .message = &txn->base,
                                   .answer_descriptor = &etcdserverpb__txn_response__descriptor};
    }
    return some_compaction(random);
}

struct kv_request random_kv_everything(struct random_kv *random, int64_t revision)
{
    arena_reset(&random->arena);
    Etcdserverpb__RangeRequest *range = alloc(random, 1, sizeof *range);
    etcdserverpb__range_request__init(range);
    range->key = binary_of(random, "\0", 1);
    range->range_end = binary_of(random, "\0", 1);
    range->revision = revision;
    return range_request(range);
}
