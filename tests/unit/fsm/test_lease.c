/* SPDX-License-Identifier: Apache-2.0 */
#include "fsm/lease.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fsm/fsm.h"
#include "tests/lib/fault.h"
#include "tests/lib/random_command.h"
#include "tests/lib/runner.h"
#include "tests/lib/store_model.h"

#define SELF 0x8e9e05c52164694du

static struct store *store;
static struct fsm *fsm;
static struct leases *leases;
static uint64_t next_index;
static uint64_t term;

/* Of the last command. */
static struct {
    enum err status;
    int64_t revision;
} last;

static unsigned events[LEASE_REPLACED + 1];

static void on_result(void *ctx, uint64_t op, const struct result *result)
{
    (void)ctx;
    (void)op;
    last.status = result->status;
    last.revision = result->revision;
}

static void on_event(void *ctx, enum lease_event event, struct lease *lease)
{
    ck_assert_ptr_eq(ctx, &events);
    ck_assert(event == LEASE_REPLACED ? lease == NULL : leases_find(leases, lease->id) == lease);
    events[event]++;
}

static void open_fsm(void)
{
    struct fsm_config config = {.store = store, .member_id = SELF, .on_result = on_result};
    struct why why = {{0}};
    enum err err = fsm_new(&config, &fsm, &why);
    ck_assert_msg(err == OK, "%s", why.text);
    leases = fsm_leases(fsm);
    leases_listen(leases, on_event, &events);
}

static void setup(void)
{
    store = store_model_new(NULL);
    next_index = 1;
    term = 1;
    memset(events, 0, sizeof events);
    open_fsm();
}

static void teardown(void)
{
    fsm_free(fsm);
    store_close(store);
}

static void restart(void)
{
    fsm_free(fsm);
    open_fsm();
}

static enum err apply(const struct command *command)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    entry_encode_head(&entry, 1);
    command_encode(&entry, (struct command_origin){.member_id = SELF}, command);
    fsm_apply(fsm, next_index++, term, buf_bytes(&entry));
    leases_check(leases);
    return last.status;
}

static enum err grant(int64_t id, int64_t ttl_s)
{
    struct command command = {.kind = COMMAND_LEASE_GRANT,
                              .lease_grant = {.id = id, .ttl_s = ttl_s}};
    return apply(&command);
}

static enum err revoke_in(uint64_t of_term, int64_t *ids, size_t count)
{
    struct command command = {.kind = COMMAND_LEASE_REVOKE,
                              .lease_revoke = {.term = of_term, .ids = ids, .count = count}};
    return apply(&command);
}

static enum err end_lease(int64_t id)
{
    return revoke_in(0, &id, 1);
}

static enum err checkpoint(uint64_t of_term, int64_t id, int64_t remaining_s)
{
    struct lease_rest rest = {.id = id, .remaining_s = remaining_s};
    struct command command = {.kind = COMMAND_LEASE_CHECKPOINT,
                              .lease_checkpoint = {.term = of_term, .leases = &rest, .count = 1}};
    return apply(&command);
}

static enum err put(const char *key, int64_t lease)
{
    struct command command = {.kind = COMMAND_PUT,
                              .put = {.key = bytes_of_str(key), .lease = lease}};
    return apply(&command);
}

static bool lives(const char *key)
{
    struct key_version version;
    return store_key_version(store, bytes_of_str(key), &version);
}

START_TEST(a_lease_is_granted_once)
{
    static const struct {
        int64_t id;
        int64_t ttl_s;
        enum err want;
    } cases[] = {
        {7, 60, OK},
        {7, 60, ERR_LEASE_EXISTS},
        {7, LEASE_TTL_MAX + 1, ERR_LEASE_TTL}, /* first, as etcd does */
        {-7, LEASE_TTL_MAX, OK},
        {8, 0, ERR_INVALID},
        {8, -1, ERR_INVALID},
        {0, 1, ERR_INVALID},
        {INT64_MIN, 1, OK},
        {INT64_MAX, 1, OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_msg(grant(cases[i].id, cases[i].ttl_s) == cases[i].want, "case %zu", i);
    }
    ck_assert_uint_eq(leases_count(leases), 4);
    ck_assert_uint_eq(events[LEASE_GRANTED], 4);
    ck_assert_int_eq(store_revision(store), 1);
    restart();
    ck_assert_uint_eq(leases_count(leases), 4);
    ck_assert_int_eq(leases_find(leases, -7)->ttl_s, LEASE_TTL_MAX);
    ck_assert_int_eq(lease_rest_s(leases_find(leases, INT64_MIN)), 1);
    ck_assert_ptr_null(leases_find(leases, 8));
    ck_assert_ptr_null(leases_find(NULL, 7));
}
END_TEST

START_TEST(a_revoke_deletes_its_keys_in_one_revision_in_order)
{
    ck_assert_int_eq(grant(1, 10), OK);
    static const char *const keys[] = {"m", "z", "a", "aa", "q"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        ck_assert_int_eq(put(keys[i], 1), OK);
    }
    ck_assert_int_eq(put("other", 0), OK);
    int64_t before = last.revision;
    ck_assert_int_eq(end_lease(1), OK);
    ck_assert_int_eq(last.revision, before + 1);
    struct record_list list = {0};
    ck_assert_int_eq(store_events(store, before + 1, SIZE_MAX, &list), OK);
    ck_assert_uint_eq(list.count, 5);
    static const char *const sorted[] = {"a", "aa", "m", "q", "z"};
    for (size_t i = 0; i < list.count; i++) {
        ck_assert(list.items[i]->tombstone);
        ck_assert(bytes_equal(record_key(list.items[i]), bytes_of_str(sorted[i])));
        ck_assert_uint_eq(revision_sub(list.items[i]->rev), i);
    }
    record_list_fini(&list);
    ck_assert(lives("other"));
    ck_assert_int_eq(end_lease(1), ERR_LEASE_NOT_FOUND);
    ck_assert_uint_eq(events[LEASE_REVOKED], 1);
    ck_assert_uint_eq(store_model_row_count(store, TABLE_LEASE), 0);
}
END_TEST

START_TEST(a_revoke_without_keys_leaves_the_revision)
{
    ck_assert_int_eq(grant(1, 10), OK);
    ck_assert_int_eq(end_lease(1), OK);
    ck_assert_int_eq(last.revision, 1);
}
END_TEST

START_TEST(each_lease_of_a_batch_is_a_revision_of_its_own)
{
    for (int64_t id = 1; id <= 3; id++) {
        char key[] = {(char)('a' + id), '\0'};
        ck_assert_int_eq(grant(id, 10), OK);
        ck_assert_int_eq(put(key, id), OK);
    }
    int64_t before = last.revision;
    int64_t ids[] = {3, 99, 1, 3};
    ck_assert_int_eq(revoke_in(0, ids, ARRAY_LEN(ids)), OK);
    ck_assert_int_eq(last.revision, before + 2);
    ck_assert_uint_eq(leases_count(leases), 1);
    ck_assert(lives("c"));
    int64_t unknown[] = {98, 99};
    ck_assert_int_eq(revoke_in(0, unknown, 2), ERR_LEASE_NOT_FOUND);
    ck_assert_int_eq(revoke_in(0, NULL, 0), ERR_LEASE_NOT_FOUND);
}
END_TEST

/* A deposed leader's clock says nothing about the time that the next one gives. */
START_TEST(what_a_clock_counted_holds_in_its_term_alone)
{
    term = 5;
    ck_assert_int_eq(grant(1, 10), OK);
    int64_t id = 1;
    ck_assert_int_eq(revoke_in(4, &id, 1), ERR_LEADER_CHANGED);
    ck_assert_int_eq(checkpoint(4, 1, 3), ERR_LEADER_CHANGED);
    ck_assert_int_eq(leases_find(leases, 1)->remaining_s, 0);
    ck_assert_int_eq(checkpoint(5, 1, 3), OK);
    ck_assert_int_eq(leases_find(leases, 1)->remaining_s, 3);
    term = 6;
    ck_assert_int_eq(revoke_in(5, &id, 1), ERR_LEADER_CHANGED);
    ck_assert_uint_eq(leases_count(leases), 1);
    ck_assert_int_eq(revoke_in(6, &id, 1), OK);
    ck_assert_uint_eq(leases_count(leases), 0);
}
END_TEST

START_TEST(a_checkpoint_is_kept_and_cleared)
{
    ck_assert_int_eq(grant(1, 100), OK);
    ck_assert_int_eq(checkpoint(0, 1, 40), OK);
    restart();
    ck_assert_int_eq(lease_rest_s(leases_find(leases, 1)), 40);
    ck_assert_int_eq(leases_find(leases, 1)->ttl_s, 100);
    ck_assert_int_eq(checkpoint(0, 1, 0), OK);
    ck_assert_int_eq(lease_rest_s(leases_find(leases, 1)), 100);
    ck_assert_int_eq(checkpoint(0, 1, 100), OK); /* all of it is none */
    restart();
    ck_assert_int_eq(leases_find(leases, 1)->remaining_s, 0);
    ck_assert_int_eq(checkpoint(0, 2, 7), OK); /* gone meanwhile */
    ck_assert_uint_eq(leases_count(leases), 1);
    ck_assert_uint_eq(events[LEASE_CHANGED], 3);
}
END_TEST

START_TEST(a_put_moves_its_key)
{
    ck_assert_int_eq(put("k", 1), ERR_LEASE_NOT_FOUND);
    ck_assert(!lives("k"));
    ck_assert_int_eq(grant(1, 10), OK);
    ck_assert_int_eq(grant(2, 10), OK);
    ck_assert_int_eq(put("k", 1), OK);
    ck_assert_int_eq(put("k", 2), OK);
    ck_assert_uint_eq(leases_find(leases, 1)->key_count, 0);
    ck_assert_int_eq(end_lease(1), OK);
    ck_assert(lives("k"));
    ck_assert_int_eq(put("k", 0), OK);
    ck_assert_int_eq(end_lease(2), OK);
    ck_assert(lives("k"));
}
END_TEST

/* A put alone asks for its lease first, one in a transaction for its key: as etcd. */
START_TEST(the_order_of_checks_is_etcds)
{
    struct command_put missing = {.key = bytes_of_str("k"), .lease = 9, .ignore_value = true};
    struct command command = {.kind = COMMAND_PUT, .put = missing};
    ck_assert_int_eq(apply(&command), ERR_LEASE_NOT_FOUND);
    struct txn_op ops[] = {{.kind = OP_PUT, .put = missing}};
    command = (struct command){.kind = COMMAND_TXN, .txn = {.success = ops, .success_count = 1}};
    ck_assert_int_eq(apply(&command), ERR_KEY_NOT_FOUND);
    ops[0].put.ignore_value = false;
    ck_assert_int_eq(apply(&command), ERR_LEASE_NOT_FOUND);
    ck_assert_int_eq(grant(9, 10), OK);
    ck_assert_int_eq(apply(&command), OK);
    ck_assert_uint_eq(leases_find(leases, 9)->key_count, 1);
}
END_TEST

START_TEST(a_walk_meets_what_is_there_all_the_while)
{
    for (int64_t id = 1; id <= 6; id++) {
        ck_assert_int_eq(grant(id, 10), OK);
    }
    struct lease_walk walk;
    struct lease_walk early;
    lease_walk_begin(&walk, leases);
    lease_walk_begin(&early, leases);
    ck_assert_int_eq(lease_walk_next(&walk)->id, 1);
    ck_assert_int_eq(lease_walk_next(&walk)->id, 2);
    ck_assert_int_eq(end_lease(3), OK); /* where it stands */
    ck_assert_int_eq(end_lease(1), OK);
    ck_assert_int_eq(end_lease(6), OK);
    ck_assert_int_eq(lease_walk_next(&walk)->id, 4);
    ck_assert_int_eq(lease_walk_next(&walk)->id, 5);
    ck_assert_ptr_null(lease_walk_next(&walk));
    ck_assert_ptr_null(lease_walk_next(&walk));
    lease_walk_end(&walk);
    ck_assert_int_eq(lease_walk_next(&early)->id, 2);
    lease_walk_end(&early);
}
END_TEST

/* ---- rows ---- */

static enum err new_with_row(struct bytes key, struct bytes value)
{
    store_entry_begin(store, next_index++, 1);
    store_table_put(store, TABLE_LEASE, key, value);
    store_entry_end(store);
    struct leases *made = NULL;
    struct why why = {{0}};
    enum err err = leases_new(store, (struct hash_seed){0}, &made, &why);
    ck_assert((err == OK) == (made != NULL));
    ck_assert((err == OK) == (why.text[0] == '\0'));
    leases_free(made);
    return err;
}

START_TEST(a_damaged_row_is_refused)
{
    static const struct {
        struct bytes key;
        struct bytes value;
        enum err want;
    } rows[] = {
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 8}, {(const uint8_t *)"\1\12\3", 3}, OK},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 7}, {(const uint8_t *)"\1\12\3", 3}, ERR_CORRUPT},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\0", 8}, {(const uint8_t *)"\1\12\3", 3}, ERR_CORRUPT},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 8}, {(const uint8_t *)"\2\12\3", 3}, ERR_VERSION},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 8}, {(const uint8_t *)"\1\12", 2}, ERR_CORRUPT},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 8}, {(const uint8_t *)"\1\12\3\0", 4}, ERR_CORRUPT},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 8}, {(const uint8_t *)"\1\0\0", 3}, ERR_CORRUPT},
        {{(const uint8_t *)"\0\0\0\0\0\0\0\7", 8}, {(const uint8_t *)"\1\3\4", 3}, ERR_CORRUPT},
    };
    ck_assert_int_eq(new_with_row(rows[_i].key, rows[_i].value), rows[_i].want);
}
END_TEST

START_TEST(a_key_of_a_lease_that_is_not_there_is_refused)
{
    ck_assert_int_eq(grant(1, 10), OK);
    ck_assert_int_eq(put("k", 1), OK);
    store_entry_begin(store, next_index++, 1);
    store_table_delete(store, TABLE_LEASE, bytes_of("\0\0\0\0\0\0\0\1", 8));
    store_entry_end(store);
    struct leases *made = NULL;
    struct why why = {{0}};
    ck_assert_int_eq(leases_new(store, (struct hash_seed){0}, &made, &why), ERR_CORRUPT);
    ck_assert_str_eq(why.text, "a key has a lease that does not exist");
    leases_listen(leases, NULL, NULL);
}
END_TEST

START_TEST(a_start_without_memory_is_refused)
{
    for (int64_t id = 1; id <= 5; id++) {
        char key[] = {(char)('a' + id), '\0'};
        ck_assert_int_eq(grant(id, 10), OK);
        ck_assert_int_eq(put(key, id), OK);
    }
    FAULT_SWEEP (sweep) {
        struct leases *made = NULL;
        enum err err = leases_new(store, (struct hash_seed){0}, &made, NULL);
        leases_free(made);
        fault_pause();
        ck_assert_int_eq(err, fault_fired() ? ERR_NOMEM : OK);
    }
}
END_TEST

/* ---- against a copy as plain as can be ---- */

#define LEASES 6
#define KEYS   5
#define STEPS  400

static struct plain {
    struct {
        bool there;
        int64_t ttl_s;
        int64_t remaining_s;
    } leases[LEASES + 1]; /* by id, from 1 */
    struct {
        bool lives;
        int64_t lease;
    } keys[KEYS];
    int64_t revision;
} plain;

static const char *const names[KEYS] = {"a", "b", "bb", "c", "d"};
static struct random_commands rnd;

static int64_t random_id(void)
{
    return 1 + (int64_t)random_below(&rnd, LEASES);
}

static enum err plain_check_put(const struct command_put *put, size_t key)
{
    if (put->ignore_lease && !plain.keys[key].lives) {
        return ERR_KEY_NOT_FOUND;
    }
    return put->lease == 0 || plain.leases[put->lease].there ? OK : ERR_LEASE_NOT_FOUND;
}

static void plain_put(const struct command_put *put, size_t key)
{
    int64_t kept = plain.keys[key].lives ? plain.keys[key].lease : 0;
    plain.keys[key].lease = put->ignore_lease ? kept : put->lease;
    plain.keys[key].lives = true;
}

static bool plain_delete(size_t from, size_t to)
{
    bool any = false;
    for (size_t i = from; i < to; i++) {
        any |= plain.keys[i].lives;
        plain.keys[i].lives = false;
        plain.keys[i].lease = 0;
    }
    return any;
}

static struct command_put random_lease_put(size_t key)
{
    struct command_put put = {.key = bytes_of_str(names[key])};
    put.ignore_lease = random_below(&rnd, 4) == 0;
    if (!put.ignore_lease && random_below(&rnd, 3) > 0) {
        put.lease = random_id();
    }
    return put;
}

static struct command_delete_range random_key_range(size_t *from, size_t *to)
{
    *from = random_below(&rnd, KEYS);
    *to = *from + 1 + random_below(&rnd, KEYS - *from);
    struct command_delete_range range = {.key = bytes_of_str(names[*from])};
    range.range_end = *to == KEYS ? bytes_of("", 1) : bytes_of_str(names[*to]);
    return range;
}

static void step_txn(void)
{
    size_t order[KEYS] = {0, 1, 2, 3, 4};
    struct txn_op ops[KEYS];
    enum err want = OK;
    size_t from;
    size_t to;
    size_t count = 1 + random_below(&rnd, KEYS - 1);
    bool deletes = random_below(&rnd, 2) == 0;
    for (size_t i = 0; i < count; i++) {
        size_t j = i + random_below(&rnd, KEYS - i);
        size_t key = order[j];
        order[j] = order[i];
        order[i] = key;
        ops[i] = (struct txn_op){.kind = OP_PUT, .put = random_lease_put(key)};
    }
    if (deletes) { /* the first thing that it does */
        ops[count] = ops[0];
        ops[0] =
            (struct txn_op){.kind = OP_DELETE_RANGE, .delete_range = random_key_range(&from, &to)};
    }
    for (size_t i = deletes; i < count + deletes && want == OK; i++) {
        want = plain_check_put(&ops[i].put, order[i % count]);
    }
    struct command command = {.kind = COMMAND_TXN,
                              .txn = {.success = ops, .success_count = count + deletes}};
    ck_assert_int_eq(apply(&command), want);
    if (want != OK) {
        return;
    }
    if (deletes) {
        (void)plain_delete(from, to);
    }
    for (size_t i = 0; i < count; i++) {
        bool moved = deletes && i == 0; /* its put is the last */
        plain_put(&ops[moved ? count : i].put, order[i]);
    }
    plain.revision++;
}

static void plain_revoke(int64_t id)
{
    bool any = false;
    for (size_t i = 0; i < KEYS; i++) {
        if (plain.keys[i].lives && plain.keys[i].lease == id) {
            any |= plain_delete(i, i + 1);
        }
    }
    plain.leases[id].there = false;
    plain.revision += any;
}

static void step_revoke(void)
{
    int64_t ids[3];
    size_t count = 1 + random_below(&rnd, 3);
    enum err want = ERR_LEASE_NOT_FOUND;
    for (size_t i = 0; i < count; i++) {
        ids[i] = random_id();
        want = plain.leases[ids[i]].there ? OK : want;
        plain_revoke(ids[i]);
    }
    ck_assert_int_eq(revoke_in(0, ids, count), want);
}

static void step_grant(void)
{
    int64_t id = random_id();
    int64_t ttl_s = 1 + (int64_t)random_below(&rnd, 100);
    enum err want = plain.leases[id].there ? ERR_LEASE_EXISTS : OK;
    ck_assert_int_eq(grant(id, ttl_s), want);
    if (want == OK) {
        plain.leases[id].there = true;
        plain.leases[id].ttl_s = ttl_s;
        plain.leases[id].remaining_s = 0;
    }
}

static void step_checkpoint(void)
{
    int64_t id = random_id();
    int64_t remaining_s = (int64_t)random_below(&rnd, 120);
    ck_assert_int_eq(checkpoint(0, id, remaining_s), OK);
    plain.leases[id].remaining_s = remaining_s < plain.leases[id].ttl_s ? remaining_s : 0;
}

static void step_write(void)
{
    size_t key = random_below(&rnd, KEYS);
    struct command command = {.kind = COMMAND_PUT, .put = random_lease_put(key)};
    enum err want = plain_check_put(&command.put, key);
    ck_assert_int_eq(apply(&command), want);
    if (want == OK) {
        plain_put(&command.put, key);
        plain.revision++;
    }
}

static void step_delete(void)
{
    size_t from;
    size_t to;
    struct command command = {.kind = COMMAND_DELETE_RANGE,
                              .delete_range = random_key_range(&from, &to)};
    ck_assert_int_eq(apply(&command), OK);
    plain.revision += plain_delete(from, to);
}

static bool holds(const struct lease *lease, const char *name)
{
    const struct lease_key *key = lease_key_first(lease);
    while (key != NULL && !bytes_equal(lease_key_bytes(key), bytes_of_str(name))) {
        key = lease_key_next(key);
    }
    return key != NULL;
}

static void compare(void)
{
    ck_assert_int_eq(store_revision(store), plain.revision);
    for (int64_t id = 1; id <= LEASES; id++) {
        const struct lease *lease = leases_find(leases, id);
        ck_assert_int_eq(lease != NULL, plain.leases[id].there);
        if (lease == NULL) {
            continue;
        }
        ck_assert_int_eq(lease->ttl_s, plain.leases[id].ttl_s);
        ck_assert_int_eq(lease->remaining_s, plain.leases[id].remaining_s);
        for (size_t i = 0; i < KEYS; i++) {
            ck_assert_int_eq(holds(lease, names[i]), plain.keys[i].lease == id);
        }
    }
    for (size_t i = 0; i < KEYS; i++) {
        ck_assert_int_eq(lives(names[i]), plain.keys[i].lives);
    }
}

START_TEST(leases_are_those_of_a_plain_copy)
{
    static void (*const steps[])(void) = {step_grant, step_checkpoint, step_write,
                                          step_write, step_write,      step_txn,
                                          step_txn,   step_delete,     step_revoke};
    uint64_t seed = (uint64_t)_i + 1;
    const char *given = getenv("TRIVET_SEED");
    if (given != NULL) {
        seed = strtoull(given, NULL, 10);
    }
    printf("# seed %llu\n", (unsigned long long)seed);
    rnd = (struct random_commands){.state = seed};
    plain = (struct plain){.revision = 1};
    for (unsigned i = 0; i < STEPS; i++) {
        steps[random_below(&rnd, ARRAY_LEN(steps))]();
        if (random_below(&rnd, 20) == 0) {
            restart();
        }
        compare();
    }
}
END_TEST

/* What others have written behind its back, as when the store has become another. */
static void write_row(int64_t id, uint8_t ttl_s)
{
    CLEANUP(buf_fini) struct buf key = {0};
    CLEANUP(buf_fini) struct buf value = {0};
    write_u64_be(&key, (uint64_t)id);
    write_u8(&value, 1); /* format */
    write_varint(&value, ttl_s);
    write_varint(&value, 0);
    store_table_put(store, TABLE_LEASE, buf_bytes(&key), buf_bytes(&value));
}

/* Beforehand, or in the moment when it has. */
START_TEST(a_store_that_has_become_another_is_read_anew)
{
    ck_assert_int_eq(grant(7, 60), OK);
    ck_assert_int_eq(grant(8, 60), OK);
    ck_assert_int_eq(put("a", 7), OK);
    struct lease_walk walk;
    lease_walk_begin(&walk, leases);
    ck_assert_int_eq(lease_walk_next(&walk)->id, 7);
    store_observe(store, NULL, NULL); /* nobody sees what comes now */
    store_entry_begin(store, next_index++, term);
    store_txn_begin(store);
    struct store_put moved = {.key = bytes_of_str("a"), .value = bytes_of_str("b"), .lease = 9};
    ck_assert_int_eq(store_put(store, &moved, NULL), OK);
    write_row(9, 33);
    uint8_t gone[8] = {0, 0, 0, 0, 0, 0, 0, 7};
    store_table_delete(store, TABLE_LEASE, bytes_of(gone, sizeof gone));
    store_txn_end(store);
    store_entry_end(store);
    memset(events, 0, sizeof events);
    struct why why = {.text = ""};
    struct leases *prepared = NULL;
    if (_i == 1) {
        struct hash_seed seed = {3, 4};
        ck_assert_int_eq(leases_prepare(seed, store_model_reading(store), &prepared, &why), OK);
        leases_check(prepared);
        ck_assert_ptr_nonnull(leases_find(leases, 7)); /* nothing has happened yet */
    }
    ck_assert_msg(fsm_reload(fsm, prepared, &why) == OK, "%s", why.text);
    if (prepared != NULL) {
        leases_check(prepared);
        ck_assert_ptr_nonnull(leases_find(prepared, 7)); /* what was there before */
        leases_dispose(prepared);
    }
    leases_check(leases);
    ck_assert_ptr_eq(fsm_leases(fsm), leases);
    ck_assert_ptr_null(leases_find(leases, 7));
    ck_assert_int_eq(leases_find(leases, 8)->ttl_s, 60);
    ck_assert_int_eq(leases_find(leases, 9)->ttl_s, 33);
    ck_assert_uint_eq(leases_find(leases, 9)->key_count, 1);
    ck_assert_uint_eq(events[LEASE_REPLACED], 1);
    ck_assert_uint_eq(events[LEASE_GRANTED] + events[LEASE_REVOKED], 0);
    ck_assert_int_eq(lease_walk_next(&walk)->id, 8); /* the walk goes on with what there is */
    ck_assert_int_eq(lease_walk_next(&walk)->id, 9);
    ck_assert_ptr_null(lease_walk_next(&walk));
    lease_walk_end(&walk);
}
END_TEST

static Suite *lease_suite(void)
{
    Suite *suite = suite_create("lease");
    TCase *tc = tcase_create("lease");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_lease_is_granted_once);
    tcase_add_test(tc, a_revoke_deletes_its_keys_in_one_revision_in_order);
    tcase_add_test(tc, a_revoke_without_keys_leaves_the_revision);
    tcase_add_test(tc, each_lease_of_a_batch_is_a_revision_of_its_own);
    tcase_add_test(tc, what_a_clock_counted_holds_in_its_term_alone);
    tcase_add_test(tc, a_checkpoint_is_kept_and_cleared);
    tcase_add_test(tc, a_put_moves_its_key);
    tcase_add_test(tc, the_order_of_checks_is_etcds);
    tcase_add_test(tc, a_walk_meets_what_is_there_all_the_while);
    tcase_add_loop_test(tc, a_store_that_has_become_another_is_read_anew, 0, 2);
    tcase_add_loop_test(tc, a_damaged_row_is_refused, 0, 8);
    tcase_add_test(tc, a_key_of_a_lease_that_is_not_there_is_refused);
    tcase_add_test(tc, a_start_without_memory_is_refused);
    suite_add_tcase(suite, tc);
    tc = tcase_create("model");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, leases_are_those_of_a_plain_copy, 0, 30);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(lease_suite);
}
