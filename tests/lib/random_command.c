/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/random_command.h"

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"

static void *get(struct random_commands *random, size_t count, size_t size)
{
    void *memory = arena_calloc(random->arena, count, size);
    if (memory == NULL) {
        fatal("random commands: out of memory");
    }
    return memory;
}

uint64_t random_u64(struct random_commands *random)
{
    random->state += 0x9e3779b97f4a7c15u;
    return mix64(random->state);
}

uint64_t random_below(struct random_commands *random, uint64_t n)
{
    return random_u64(random) % n;
}

static bool once_in(struct random_commands *random, uint64_t n)
{
    return random_below(random, n) == 0;
}

static struct bytes text_of(struct random_commands *random, size_t len)
{
    uint8_t *data = get(random, len + 1, 1);
    for (size_t i = 0; i < len; i++) {
        data[i] = random->letters == 0 ? (uint8_t)random_u64(random)
                                       : (uint8_t)('a' + random_below(random, random->letters));
    }
    return bytes_of(data, len);
}

struct bytes random_key(struct random_commands *random)
{
    return text_of(random, 1 + random_below(random, 2));
}

struct bytes random_range_end(struct random_commands *random, struct bytes key)
{
    switch (random_below(random, 6)) {
    case 0:
    case 1:
        return bytes_of(NULL, 0);
    case 2:
        return bytes_of("", 1);
    case 3: {
        struct bytes end;
        if (!arena_copy(random->arena, key, &end)) {
            fatal("random commands: out of memory");
        }
        ((uint8_t *)(uintptr_t)end.data)[end.len - 1]++;
        return end;
    }
    default:
        return random_key(random); /* now and then before its key */
    }
}

static int64_t number(struct random_commands *random)
{
    switch (random_below(random, 4)) {
    case 0:
        return 0;
    case 1:
        return (int64_t)random_u64(random);
    default:
        return (int64_t)random_below(random, 20);
    }
}

static int64_t revision(struct random_commands *random)
{
    if (random->revision_max == 0) {
        return number(random);
    }
    return once_in(random, 3) ? (int64_t)random_below(random, (uint64_t)random->revision_max + 2)
                              : 0;
}

struct range_query random_range(struct random_commands *random)
{
    struct bytes key = random_key(random);
    struct range_query query = {
        .key = key,
        .range_end = random_range_end(random, key),
        .revision = revision(random),
        .limit = once_in(random, 2) ? (int64_t)random_below(random, 5) : 0,
        .sort = (enum range_sort)random_below(random, 3),
        .target = (enum range_target)random_below(random, 5),
        .keys_only = once_in(random, 4),
        .count_only = once_in(random, 6),
    };
    if (once_in(random, 4)) {
        query.min_mod_revision = number(random);
        query.max_mod_revision = number(random);
        query.min_create_revision = number(random);
        query.max_create_revision = number(random);
    }
    return query;
}

struct command_put random_put(struct random_commands *random)
{
    struct command_put put = {
        .key = random_key(random),
        .value = text_of(random, once_in(random, 20) ? 1000 : random_below(random, 8)),
        .lease = random->leases ? number(random) : 0,
        .prev_kv = once_in(random, 2),
        .ignore_value = once_in(random, 10),
        .ignore_lease = once_in(random, 10),
    };
    return put;
}

struct command_delete_range random_delete(struct random_commands *random)
{
    struct bytes key = random_key(random);
    return (struct command_delete_range){
        .key = key, .range_end = random_range_end(random, key), .prev_kv = once_in(random, 2)};
}

static struct compare random_compare(struct random_commands *random)
{
    struct bytes key = random_key(random);
    struct compare compare = {
        .result = (uint32_t)random_below(random, 4),
        .target = (uint32_t)random_below(random, 5),
        .key = key,
    };
    if (once_in(random, 4)) {
        compare.range_end = random_range_end(random, key);
    }
    if (compare.target == COMPARE_VALUE) {
        compare.value = text_of(random, random_below(random, 4));
    } else {
        compare.number = number(random);
    }
    return compare;
}

static struct command_txn txn_of_depth(struct random_commands *random, unsigned depth);

static struct txn_op random_op(struct random_commands *random, unsigned depth)
{
    struct txn_op op = {.kind = OP_RANGE};
    uint64_t choice = random_below(random, 8);
    if (choice == 0 && depth < random->depth_max) {
        op.kind = OP_TXN;
        op.txn = get(random, 1, sizeof *op.txn);
        *op.txn = txn_of_depth(random, depth + 1);
    } else if (choice < 4) {
        op.kind = OP_PUT;
        op.put = random_put(random);
    } else if (choice < 5) {
        op.kind = OP_DELETE_RANGE;
        op.delete_range = random_delete(random);
    } else {
        op.range = random_range(random);
    }
    return op;
}

static struct txn_op *random_ops(struct random_commands *random, unsigned depth, size_t *count)
{
    *count = random_below(random, 4);
    struct txn_op *ops = get(random, *count + 1, sizeof *ops);
    for (size_t i = 0; i < *count; i++) {
        ops[i] = random_op(random, depth);
    }
    return ops;
}

static struct command_txn txn_of_depth(struct random_commands *random, unsigned depth)
{
    struct command_txn txn = {.compare_count = random_below(random, 3)};
    txn.compares = get(random, txn.compare_count + 1, sizeof *txn.compares);
    for (size_t i = 0; i < txn.compare_count; i++) {
        txn.compares[i] = random_compare(random);
    }
    txn.success = random_ops(random, depth, &txn.success_count);
    txn.failure = random_ops(random, depth, &txn.failure_count);
    return txn;
}

struct command_txn random_txn(struct random_commands *random)
{
    return txn_of_depth(random, 0);
}

static struct command_member_publish random_publish(struct random_commands *random)
{
    struct command_member_publish publish = {.member_id = random_u64(random),
                                             .name = text_of(random, random_below(random, 10)),
                                             .client_url_count = random_below(random, 4)};
    publish.client_urls = get(random, publish.client_url_count + 1, sizeof(struct bytes));
    for (size_t i = 0; i < publish.client_url_count; i++) {
        publish.client_urls[i] = text_of(random, random_below(random, 30));
    }
    return publish;
}

static struct command_lease_revoke random_revoke(struct random_commands *random)
{
    struct command_lease_revoke revoke = {.term = random_below(random, 3),
                                          .count = random_below(random, 4)};
    revoke.ids = get(random, revoke.count + 1, sizeof *revoke.ids);
    for (size_t i = 0; i < revoke.count; i++) {
        revoke.ids[i] = number(random);
    }
    return revoke;
}

static struct command_lease_checkpoint random_checkpoint(struct random_commands *random)
{
    struct command_lease_checkpoint checkpoint = {.term = random_below(random, 3),
                                                  .count = random_below(random, 4)};
    checkpoint.leases = get(random, checkpoint.count + 1, sizeof *checkpoint.leases);
    for (size_t i = 0; i < checkpoint.count; i++) {
        checkpoint.leases[i] = (struct lease_rest){
            .id = number(random), .remaining_s = (int64_t)(random_u64(random) >> 1)};
    }
    return checkpoint;
}

static struct command_member random_member(struct random_commands *random)
{
    struct command_member member = {.id = 1 + random_below(random, 5),
                                    .learner = once_in(random, 2),
                                    .strict = once_in(random, 2),
                                    .learners_max = random_below(random, 3),
                                    .peer_url_count = random_below(random, 3)};
    member.peer_urls = get(random, member.peer_url_count + 1, sizeof *member.peer_urls);
    for (size_t i = 0; i < member.peer_url_count; i++) {
        member.peer_urls[i] = text_of(random, random_below(random, 5));
    }
    return member;
}

static struct command_member_init random_member_init(struct random_commands *random)
{
    struct command_member_init init = {.count = random_below(random, 4)};
    init.members = get(random, init.count + 1, sizeof *init.members);
    for (size_t i = 0; i < init.count; i++) {
        init.members[i] = random_member(random);
    }
    return init;
}

struct command random_command(struct random_commands *random)
{
    struct command command = {
        .kind = (enum command_kind)(1 + random_below(random, COMMAND_KIND_COUNT - 1))};
    switch (command.kind) {
    case COMMAND_PUT:
        command.put = random_put(random);
        break;
    case COMMAND_DELETE_RANGE:
        command.delete_range = random_delete(random);
        break;
    case COMMAND_TXN:
        command.txn = random_txn(random);
        break;
    case COMMAND_COMPACT:
        command.compact.revision = number(random);
        command.compact.physical = once_in(random, 2);
        break;
    case COMMAND_MEMBER_PUBLISH:
        command.member_publish = random_publish(random);
        break;
    case COMMAND_CLUSTER_VERSION:
        command.cluster_version = text_of(random, random_below(random, 5));
        break;
    case COMMAND_LEASE_GRANT:
        command.lease_grant.id = number(random);
        command.lease_grant.ttl_s = number(random);
        break;
    case COMMAND_LEASE_REVOKE:
        command.lease_revoke = random_revoke(random);
        break;
    case COMMAND_LEASE_CHECKPOINT:
        command.lease_checkpoint = random_checkpoint(random);
        break;
    case COMMAND_ALARM:
        command.alarm.type = (uint32_t)random_u64(random);
        command.alarm.member_id = random_u64(random);
        command.alarm.is_clear = once_in(random, 2);
        break;
    case COMMAND_MEMBER_INIT:
        command.member_init = random_member_init(random);
        break;
    case COMMAND_MEMBER_ADD:
    case COMMAND_MEMBER_REMOVE:
    case COMMAND_MEMBER_UPDATE:
    case COMMAND_MEMBER_PROMOTE:
        command.member = random_member(random);
        break;
    case COMMAND_KIND_COUNT:
        break;
    }
    return command;
}
