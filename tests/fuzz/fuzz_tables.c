/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the store's small tables, which members, alarms and leases are read from at the start:
 * whoever cannot read them says so, and what is read is kept as it was.
 *
 *   rows: table u8 (modulo), key length u8, value length u8, key, value */
#include "base/cleanup.h"
#include "fsm/fsm.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/store_model.h"

#define ROWS_MAX 64u

static void put_row(struct store *store, struct reader *input)
{
    enum store_table table = 1 + read_u8(input) % (TABLE_COUNT - 1);
    uint8_t key_len = read_u8(input);
    uint8_t value_len = read_u8(input);
    struct bytes key = fuzz_view(input, key_len);
    struct bytes value = fuzz_view(input, value_len);
    store_table_put(store, table, key, value);
}

static void check_members(const struct fsm *fsm)
{
    const struct cluster_member *members;
    size_t count = cluster_members(fsm_cluster(fsm), &members);
    CLAIM(count <= MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        CLAIM(members[i].id != 0);
        CLAIM(cluster_member(fsm_cluster(fsm), members[i].id) == &members[i]);
        CLAIM(members[i].name != NULL);
    }
}

/* A command that looks at all of them. */
static void revoke_and_publish(struct fsm *fsm)
{
    int64_t ids[] = {1, 0, -1};
    struct command publish = {.kind = COMMAND_MEMBER_PUBLISH,
                              .member_publish = {.member_id = 1, .name = bytes_of_str("a")}};
    struct command revoke = {.kind = COMMAND_LEASE_REVOKE,
                             .lease_revoke = {.ids = ids, .count = ARRAY_LEN(ids)}};
    CLEANUP(buf_fini) struct buf entry = {0};
    entry_encode_head(&entry, 0);
    command_encode(&entry, (struct command_origin){.member_id = 2}, &publish);
    command_encode(&entry, (struct command_origin){.member_id = 2}, &revoke);
    CLAIM(buf_ok(&entry));
    fsm_apply(fsm, 2, 1, buf_bytes(&entry));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct store *store = store_model_new(NULL);
    store_entry_begin(store, 1, 1);
    for (unsigned i = 0; i < ROWS_MAX && reader_left(&input) > 0; i++) {
        put_row(store, &input);
    }
    store_entry_end(store);
    struct fsm_config config = {.store = store, .member_id = 1};
    struct fsm *fsm = NULL;
    struct why why = {{0}};
    if (fsm_new(&config, &fsm, &why) == OK) {
        check_members(fsm);
        revoke_and_publish(fsm);
        CLAIM(fsm_reload(fsm, NULL, &why) == OK);
        check_members(fsm);
        fsm_free(fsm);
    }
    store_close(store);
    return 0;
}
