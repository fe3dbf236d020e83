/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/command.h"

#include "base/assert.h"

/* Bodies. Byte strings are length varint and bytes; numbers are varints, signed ones zigzag'd;
 * flags one byte.
 *
 *   put            flags (1 prev_kv, 2 ignore_value, 4 ignore_lease), lease, key, value
 *   delete_range   flags (1 prev_kv), key, range_end
 *   txn            compares, success ops, failure ops: a count before each
 *     compare      result, target, key, range_end, number, value
 *     op           kind, then the body of its kind; a range's is below
 *     range        flags (1 keys_only, 2 count_only), sort, target, revision, limit,
 *                  the four revision filters, key, range_end
 *   compact          flags (1 physical), revision
 *   member_publish   member id (8 bytes), name, count, client URLs
 *   cluster_version  text
 *   lease_grant      id, TTL in seconds
 *   lease_revoke     term (not signed), count, ids
 *   lease_checkpoint term (not signed), count, and for each id, remaining seconds
 *   alarm            flags (1 clear), type (4 bytes), member id (8 bytes)
 *   member_add, member_remove, member_update, member_promote
 *                    flags (1 learner, 2 strict), id (8 bytes), most learners, count, peer URLs
 *   member_init      count, and for each member what member_add has */

#define FLAG_PREV_KV      1u
#define FLAG_IGNORE_VALUE 2u
#define FLAG_IGNORE_LEASE 4u
#define FLAG_KEYS_ONLY    1u
#define FLAG_COUNT_ONLY   2u
#define FLAG_PHYSICAL     1u
#define FLAG_CLEAR        1u
#define FLAG_LEARNER      1u
#define FLAG_STRICT       2u

#define ENVELOPE_HEAD 17 /* kind, origin, op */

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ -(v & 1));
}

static void write_signed(struct buf *buf, int64_t v)
{
    write_varint(buf, zigzag(v));
}

static int64_t read_signed(struct reader *r)
{
    return unzigzag(read_varint(r));
}

static struct bytes read_text(struct reader *r)
{
    return read_var_bytes(r, KEY_BYTES_MAX);
}

/* ---- encoding ---- */

static void encode_put(struct buf *buf, const struct command_put *put)
{
    unsigned flags = (put->prev_kv ? FLAG_PREV_KV : 0) |
                     (put->ignore_value ? FLAG_IGNORE_VALUE : 0) |
                     (put->ignore_lease ? FLAG_IGNORE_LEASE : 0);
    write_u8(buf, (uint8_t)flags);
    write_signed(buf, put->lease);
    write_var_bytes(buf, put->key);
    write_var_bytes(buf, put->value);
}

static void encode_delete_range(struct buf *buf, const struct command_delete_range *range)
{
    write_u8(buf, range->prev_kv ? FLAG_PREV_KV : 0);
    write_var_bytes(buf, range->key);
    write_var_bytes(buf, range->range_end);
}

static void encode_range(struct buf *buf, const struct range_query *query)
{
    unsigned flags =
        (query->keys_only ? FLAG_KEYS_ONLY : 0) | (query->count_only ? FLAG_COUNT_ONLY : 0);
    write_u8(buf, (uint8_t)flags);
    write_u8(buf, (uint8_t)query->sort);
    write_u8(buf, (uint8_t)query->target);
    write_signed(buf, query->revision);
    write_signed(buf, query->limit);
    write_signed(buf, query->min_mod_revision);
    write_signed(buf, query->max_mod_revision);
    write_signed(buf, query->min_create_revision);
    write_signed(buf, query->max_create_revision);
    write_var_bytes(buf, query->key);
    write_var_bytes(buf, query->range_end);
}

static void encode_compare(struct buf *buf, const struct compare *compare)
{
    write_varint(buf, compare->result);
    write_varint(buf, compare->target);
    write_var_bytes(buf, compare->key);
    write_var_bytes(buf, compare->range_end);
    write_signed(buf, compare->number);
    write_var_bytes(buf, compare->value);
}

static void encode_txn(struct buf *buf, const struct command_txn *txn);

static void encode_ops(struct buf *buf, const struct txn_op *ops, size_t count)
{
    write_varint(buf, count);
    for (size_t i = 0; i < count; i++) {
        write_u8(buf, (uint8_t)ops[i].kind);
        switch (ops[i].kind) {
        case OP_RANGE:
            encode_range(buf, &ops[i].range);
            break;
        case OP_PUT:
            encode_put(buf, &ops[i].put);
            break;
        case OP_DELETE_RANGE:
            encode_delete_range(buf, &ops[i].delete_range);
            break;
        case OP_TXN:
            encode_txn(buf, ops[i].txn);
            break;
        }
    }
}

static void encode_txn(struct buf *buf, const struct command_txn *txn)
{
    write_varint(buf, txn->compare_count);
    for (size_t i = 0; i < txn->compare_count; i++) {
        encode_compare(buf, &txn->compares[i]);
    }
    encode_ops(buf, txn->success, txn->success_count);
    encode_ops(buf, txn->failure, txn->failure_count);
}

static void encode_publish(struct buf *buf, const struct command_member_publish *publish)
{
    write_u64(buf, publish->member_id);
    write_var_bytes(buf, publish->name);
    write_varint(buf, publish->client_url_count);
    for (size_t i = 0; i < publish->client_url_count; i++) {
        write_var_bytes(buf, publish->client_urls[i]);
    }
}

static void encode_lease_revoke(struct buf *buf, const struct command_lease_revoke *revoke)
{
    write_varint(buf, revoke->term);
    write_varint(buf, revoke->count);
    for (size_t i = 0; i < revoke->count; i++) {
        write_signed(buf, revoke->ids[i]);
    }
}

static void encode_lease_checkpoint(struct buf *buf,
                                    const struct command_lease_checkpoint *checkpoint)
{
    write_varint(buf, checkpoint->term);
    write_varint(buf, checkpoint->count);
    for (size_t i = 0; i < checkpoint->count; i++) {
        write_signed(buf, checkpoint->leases[i].id);
        write_signed(buf, checkpoint->leases[i].remaining_s);
    }
}

static void encode_member(struct buf *buf, const struct command_member *member)
{
    unsigned flags = (member->learner ? FLAG_LEARNER : 0) | (member->strict ? FLAG_STRICT : 0);
    write_u8(buf, (uint8_t)flags);
    write_u64(buf, member->id);
    write_varint(buf, member->learners_max);
    write_varint(buf, member->peer_url_count);
    for (size_t i = 0; i < member->peer_url_count; i++) {
        write_var_bytes(buf, member->peer_urls[i]);
    }
}

static void encode_member_init(struct buf *buf, const struct command_member_init *init)
{
    write_varint(buf, init->count);
    for (size_t i = 0; i < init->count; i++) {
        encode_member(buf, &init->members[i]);
    }
}

static void encode_body(struct buf *buf, const struct command *command)
{
    switch (command->kind) {
    case COMMAND_PUT:
        encode_put(buf, &command->put);
        break;
    case COMMAND_DELETE_RANGE:
        encode_delete_range(buf, &command->delete_range);
        break;
    case COMMAND_TXN:
        encode_txn(buf, &command->txn);
        break;
    case COMMAND_COMPACT:
        write_u8(buf, command->compact.physical ? FLAG_PHYSICAL : 0);
        write_signed(buf, command->compact.revision);
        break;
    case COMMAND_MEMBER_PUBLISH:
        encode_publish(buf, &command->member_publish);
        break;
    case COMMAND_CLUSTER_VERSION:
        write_var_bytes(buf, command->cluster_version);
        break;
    case COMMAND_LEASE_GRANT:
        write_signed(buf, command->lease_grant.id);
        write_signed(buf, command->lease_grant.ttl_s);
        break;
    case COMMAND_LEASE_REVOKE:
        encode_lease_revoke(buf, &command->lease_revoke);
        break;
    case COMMAND_LEASE_CHECKPOINT:
        encode_lease_checkpoint(buf, &command->lease_checkpoint);
        break;
    case COMMAND_ALARM:
        write_u8(buf, command->alarm.is_clear ? FLAG_CLEAR : 0);
        write_u32(buf, command->alarm.type);
        write_u64(buf, command->alarm.member_id);
        break;
    case COMMAND_MEMBER_INIT:
        encode_member_init(buf, &command->member_init);
        break;
    case COMMAND_MEMBER_ADD:
    case COMMAND_MEMBER_REMOVE:
    case COMMAND_MEMBER_UPDATE:
    case COMMAND_MEMBER_PROMOTE:
        encode_member(buf, &command->member);
        break;
    case COMMAND_KIND_COUNT:
        ASSERT(false);
    }
}

void command_encode(struct buf *buf, struct command_origin origin, const struct command *command)
{
    write_u8(buf, (uint8_t)command->kind);
    write_u64(buf, origin.member_id);
    write_u64(buf, origin.op);
    size_t length_at = buf->len;
    write_u32(buf, 0);
    encode_body(buf, command);
    if (buf_ok(buf)) {
        put_u32(buf->data + length_at, (uint32_t)(buf->len - length_at - 4));
    }
}

void entry_encode_head(struct buf *buf, uint64_t wall_ms)
{
    write_u8(buf, COMMAND_VERSION);
    write_varint(buf, wall_ms);
}

/* ---- decoding ---- */

enum err entry_decode_head(struct reader *r, uint64_t *wall_ms)
{
    uint8_t version = read_u8(r);
    if (!r->failed && version != COMMAND_VERSION) {
        return ERR_VERSION; /* whatever comes next there */
    }
    *wall_ms = read_varint(r);
    return r->failed ? ERR_MALFORMED : OK;
}

static void decode_put(struct reader *r, struct command_put *put)
{
    uint8_t flags = read_u8(r);
    put->prev_kv = (flags & FLAG_PREV_KV) != 0;
    put->ignore_value = (flags & FLAG_IGNORE_VALUE) != 0;
    put->ignore_lease = (flags & FLAG_IGNORE_LEASE) != 0;
    put->lease = read_signed(r);
    put->key = read_text(r);
    put->value = read_text(r);
}

static void decode_delete_range(struct reader *r, struct command_delete_range *range)
{
    range->prev_kv = (read_u8(r) & FLAG_PREV_KV) != 0;
    range->key = read_text(r);
    range->range_end = read_text(r);
}

static void decode_range(struct reader *r, struct range_query *query)
{
    uint8_t flags = read_u8(r);
    query->keys_only = (flags & FLAG_KEYS_ONLY) != 0;
    query->count_only = (flags & FLAG_COUNT_ONLY) != 0;
    uint8_t sort = read_u8(r);
    uint8_t target = read_u8(r);
    if (sort > SORT_DESCEND || target > TARGET_VALUE) {
        reader_fail(r);
        return;
    }
    query->sort = sort;
    query->target = target;
    query->revision = read_signed(r);
    query->limit = read_signed(r);
    query->min_mod_revision = read_signed(r);
    query->max_mod_revision = read_signed(r);
    query->min_create_revision = read_signed(r);
    query->max_create_revision = read_signed(r);
    query->key = read_text(r);
    query->range_end = read_text(r);
}

static void decode_compare(struct reader *r, struct compare *compare)
{
    compare->result = (uint32_t)read_varint(r);
    compare->target = (uint32_t)read_varint(r);
    compare->key = read_text(r);
    compare->range_end = read_text(r);
    compare->number = read_signed(r);
    compare->value = read_text(r);
}

/* An array of as many elements as a count says: not more than bytes are left, nor than a request
 * may have. */
static enum err decode_count(struct reader *r, struct arena *arena, size_t element_size, void *ret,
                             size_t *count)
{
    uint64_t n = read_varint(r);
    if (r->failed || n > reader_left(r) || n > TXN_OPS_MAX) {
        return ERR_MALFORMED;
    }
    void *array = n == 0 ? NULL : arena_calloc(arena, (size_t)n, element_size);
    if (n > 0 && array == NULL) {
        return ERR_NOMEM;
    }
    memcpy(ret, &array, sizeof array);
    *count = (size_t)n;
    return OK;
}

static enum err decode_txn(struct reader *r, struct arena *arena, unsigned depth,
                           struct command_txn *txn);

static enum err decode_op(struct reader *r, struct arena *arena, unsigned depth, struct txn_op *op)
{
    op->kind = read_u8(r);
    switch (op->kind) {
    case OP_RANGE:
        decode_range(r, &op->range);
        return OK;
    case OP_PUT:
        decode_put(r, &op->put);
        return OK;
    case OP_DELETE_RANGE:
        decode_delete_range(r, &op->delete_range);
        return OK;
    case OP_TXN:
        op->txn = arena_calloc(arena, 1, sizeof *op->txn);
        return op->txn == NULL ? ERR_NOMEM : decode_txn(r, arena, depth + 1, op->txn);
    }
    return ERR_MALFORMED;
}

static enum err decode_ops(struct reader *r, struct arena *arena, unsigned depth,
                           struct txn_op **ret, size_t *count)
{
    TRY(decode_count(r, arena, sizeof **ret, ret, count));
    for (size_t i = 0; i < *count; i++) {
        TRY(decode_op(r, arena, depth, &(*ret)[i]));
    }
    return OK;
}

static enum err decode_txn(struct reader *r, struct arena *arena, unsigned depth,
                           struct command_txn *txn)
{
    if (depth > TXN_DEPTH_MAX) {
        return ERR_MALFORMED;
    }
    TRY(decode_count(r, arena, sizeof *txn->compares, &txn->compares, &txn->compare_count));
    for (size_t i = 0; i < txn->compare_count; i++) {
        decode_compare(r, &txn->compares[i]);
    }
    TRY(decode_ops(r, arena, depth, &txn->success, &txn->success_count));
    return decode_ops(r, arena, depth, &txn->failure, &txn->failure_count);
}

/* The URLs of a member, as many as it may have. */
static enum err decode_urls(struct reader *r, struct arena *arena, struct bytes **ret,
                            size_t *count)
{
    TRY(decode_count(r, arena, sizeof **ret, ret, count));
    if (*count > MEMBER_URLS_MAX) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < *count; i++) {
        (*ret)[i] = read_var_bytes(r, MEMBER_TEXT_BYTES_MAX);
    }
    return OK;
}

static enum err decode_member(struct reader *r, struct arena *arena, struct command_member *member)
{
    uint8_t flags = read_u8(r);
    member->learner = (flags & FLAG_LEARNER) != 0;
    member->strict = (flags & FLAG_STRICT) != 0;
    member->id = read_u64(r);
    member->learners_max = read_varint(r);
    if (!r->failed && member->id == 0) {
        return ERR_MALFORMED;
    }
    return decode_urls(r, arena, &member->peer_urls, &member->peer_url_count);
}

static enum err decode_member_init(struct reader *r, struct arena *arena,
                                   struct command_member_init *init)
{
    TRY(decode_count(r, arena, sizeof *init->members, &init->members, &init->count));
    if (init->count > MEMBERS_MAX) {
        return ERR_MALFORMED;
    }
    for (size_t i = 0; i < init->count; i++) {
        TRY(decode_member(r, arena, &init->members[i]));
    }
    return OK;
}

static enum err decode_publish(struct reader *r, struct arena *arena,
                               struct command_member_publish *publish)
{
    publish->member_id = read_u64(r);
    publish->name = read_var_bytes(r, MEMBER_TEXT_BYTES_MAX);
    return decode_urls(r, arena, &publish->client_urls, &publish->client_url_count);
}

static enum err decode_lease_revoke(struct reader *r, struct arena *arena,
                                    struct command_lease_revoke *revoke)
{
    revoke->term = read_varint(r);
    TRY(decode_count(r, arena, sizeof *revoke->ids, &revoke->ids, &revoke->count));
    for (size_t i = 0; i < revoke->count; i++) {
        revoke->ids[i] = read_signed(r);
    }
    return OK;
}

static enum err decode_lease_checkpoint(struct reader *r, struct arena *arena,
                                        struct command_lease_checkpoint *checkpoint)
{
    checkpoint->term = read_varint(r);
    TRY(decode_count(r, arena, sizeof *checkpoint->leases, &checkpoint->leases,
                     &checkpoint->count));
    for (size_t i = 0; i < checkpoint->count; i++) {
        checkpoint->leases[i].id = read_signed(r);
        checkpoint->leases[i].remaining_s = read_signed(r);
        if (checkpoint->leases[i].remaining_s < 0) {
            return ERR_MALFORMED;
        }
    }
    return OK;
}

static enum err decode_body(struct reader *r, struct arena *arena, struct command *command)
{
    switch (command->kind) {
    case COMMAND_PUT:
        decode_put(r, &command->put);
        break;
    case COMMAND_DELETE_RANGE:
        decode_delete_range(r, &command->delete_range);
        break;
    case COMMAND_TXN:
        TRY(decode_txn(r, arena, 0, &command->txn));
        break;
    case COMMAND_COMPACT:
        command->compact.physical = (read_u8(r) & FLAG_PHYSICAL) != 0;
        command->compact.revision = read_signed(r);
        break;
    case COMMAND_MEMBER_PUBLISH:
        TRY(decode_publish(r, arena, &command->member_publish));
        break;
    case COMMAND_CLUSTER_VERSION:
        command->cluster_version = read_var_bytes(r, MEMBER_TEXT_BYTES_MAX);
        break;
    case COMMAND_LEASE_GRANT:
        command->lease_grant.id = read_signed(r);
        command->lease_grant.ttl_s = read_signed(r);
        break;
    case COMMAND_LEASE_REVOKE:
        TRY(decode_lease_revoke(r, arena, &command->lease_revoke));
        break;
    case COMMAND_LEASE_CHECKPOINT:
        TRY(decode_lease_checkpoint(r, arena, &command->lease_checkpoint));
        break;
    case COMMAND_ALARM:
        command->alarm.is_clear = (read_u8(r) & FLAG_CLEAR) != 0;
        command->alarm.type = read_u32(r);
        command->alarm.member_id = read_u64(r);
        break;
    case COMMAND_MEMBER_INIT:
        TRY(decode_member_init(r, arena, &command->member_init));
        break;
    case COMMAND_MEMBER_ADD:
    case COMMAND_MEMBER_REMOVE:
    case COMMAND_MEMBER_UPDATE:
    case COMMAND_MEMBER_PROMOTE:
        TRY(decode_member(r, arena, &command->member));
        break;
    case COMMAND_KIND_COUNT:
        return ERR_MALFORMED;
    }
    return reader_end(r);
}

enum err command_skip(struct reader *r, enum command_kind *kind, struct command_origin *origin,
                      struct bytes *whole)
{
    const uint8_t *begin = r->at;
    uint8_t code = read_u8(r);
    origin->member_id = read_u64(r);
    origin->op = read_u64(r);
    uint32_t len = read_u32(r);
    (void)read_bytes(r, len);
    if (r->failed || code == 0 || code >= COMMAND_KIND_COUNT) {
        return ERR_MALFORMED;
    }
    *kind = code;
    *whole = bytes_of(begin, (size_t)(r->at - begin));
    return OK;
}

/* Behind the envelope of a command that command_skip has passed. */
static struct reader body_of(struct bytes whole)
{
    size_t head = ENVELOPE_HEAD + 4;
    return reader_of(bytes_of(whole.data + head, whole.len - head));
}

static bool peek_key(enum command_kind kind, struct reader body, struct bytes *ret)
{
    if (kind == COMMAND_PUT) {
        (void)read_u8(&body); /* flags */
        (void)read_signed(&body);
        *ret = read_text(&body);
    } else if (kind == COMMAND_TXN && read_varint(&body) > 0) {
        (void)read_varint(&body); /* result */
        (void)read_varint(&body); /* target */
        *ret = read_text(&body);
    } else {
        return false;
    }
    return !body.failed;
}

size_t command_peek_keys(struct reader r, struct bytes *keys, size_t cap, size_t *commands)
{
    size_t count = 0;
    *commands = 0;
    while (*commands < cap && reader_left(&r) > 0) {
        enum command_kind kind;
        struct command_origin origin;
        struct bytes whole;
        if (command_skip(&r, &kind, &origin, &whole) != OK) {
            break;
        }
        count += peek_key(kind, body_of(whole), &keys[count]);
        (*commands)++;
    }
    return count;
}

enum err command_decode(struct reader *r, struct arena *arena, struct command_origin *origin,
                        struct command *ret)
{
    struct bytes whole;
    *ret = (struct command){0};
    TRY(command_skip(r, &ret->kind, origin, &whole));
    struct reader body = body_of(whole);
    return decode_body(&body, arena, ret);
}
