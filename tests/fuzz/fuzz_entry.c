/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the log that were committed, whatever is in them: what does not decode ends the member
 * with a message that says so (fsm/command.h), and everything else is applied, also what no request
 * may ask for.
 *
 * The input is a list of entries: how u8 (0: commands follow, behind a right head; else the entry
 * as it is), length u16, bytes; they are applied one after the other, to a store that is opened
 * anew at the end. */
#include "fsm/fsm.h"

#include "base/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/store_model.h"

#define SELF        1u
#define ENTRIES_MAX 32u

struct run {
    struct store *store;
    struct fsm *fsm;
    uint64_t index;
    struct bytes entry; /* at hand */
};

static void on_result(void *ctx, uint64_t op, const struct result *result)
{
    (void)op;
    const struct run *run = ctx;
    CLAIM(result->index == run->index);
    CLAIM(result->revision == store_revision(run->store));
}

static void start(struct run *run)
{
    static const char *const urls[] = {"http://localhost:2380"};
    static const struct cluster_member first = {
        .id = SELF, .name = "", .peer_urls = urls, .peer_url_count = 1};
    struct why why;
    struct fsm_config config = {
        .store = run->store,
        .member_id = SELF,
        .bootstrap = &first,
        .bootstrap_count = 1,
        .on_result = on_result,
        .ctx = run,
    };
    CLAIM(fsm_new(&config, &run->fsm, &why) == OK);
}

static size_t member_count(const struct run *run)
{
    const struct cluster_member *members;
    return cluster_members(fsm_cluster(run->fsm), &members);
}

static size_t lease_count(const struct run *run)
{
    return leases_count(fsm_leases(run->fsm));
}

/* What is kept in memory is what a restart would read. */
static void check_restart(struct run *run)
{
    size_t members = member_count(run);
    size_t leases = lease_count(run);
    bool begun = cluster_has_begun(fsm_cluster(run->fsm));
    fsm_free(run->fsm);
    start(run);
    CLAIM(cluster_has_begun(fsm_cluster(run->fsm)) == begun);
    CLAIM(member_count(run) == (members == 0 ? 1 : members)); /* none: as at the bootstrap */
    CLAIM(lease_count(run) == leases);
}

static bool head_is_sane(struct reader *r)
{
    uint64_t wall_ms;
    return entry_decode_head(r, &wall_ms) == OK;
}

static bool is_sane(struct bytes entry)
{
    CLEANUP(arena_fini) struct arena arena = {0};
    struct reader r = reader_of(entry);
    enum err err = head_is_sane(&r) ? OK : ERR_MALFORMED;
    while (err == OK && reader_left(&r) > 0) {
        struct command_origin origin;
        struct command command;
        arena_reset(&arena);
        err = command_decode(&r, &arena, &origin, &command);
    }
    return err == OK;
}

static void apply(void *ctx)
{
    struct run *run = ctx;
    fsm_apply(run->fsm, run->index, 1, run->entry);
}

/* False: it ended the member. */
static bool apply_entry(struct run *run)
{
    run->index++;
    if (is_sane(run->entry)) {
        apply(run);
        return true;
    }
    const char *text = fuzz_fatal(apply, run);
    CLAIM(text != NULL);
    CLAIM(strstr(text, "upgrade this one") != NULL);
    struct reader r = reader_of(run->entry);
    if (head_is_sane(&r)) {
        store_entry_end(run->store); /* so that it can be closed */
    }
    return false;
}

static bool apply_next(struct run *run, struct reader *input)
{
    CLEANUP(buf_fini) struct buf entry = {0};
    if (read_u8(input) == 0) {
        entry_encode_head(&entry, 0);
    }
    buf_append_bytes(&entry, fuzz_view(input, read_u16(input)));
    CLAIM(buf_ok(&entry));
    struct reader exact = reader_of(buf_bytes(&entry));
    CLEANUP(fuzz_free) struct bytes copy = fuzz_take(&exact, SIZE_MAX);
    run->entry = copy;
    return apply_entry(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run = {.store = store_model_new(NULL)};
    bool alive = true;
    start(&run);
    for (unsigned i = 0; alive && i < ENTRIES_MAX && reader_left(&input) > 0; i++) {
        alive = apply_next(&run, &input);
    }
    if (alive) {
        check_restart(&run);
    }
    fsm_free(run.fsm);
    store_close(run.store);
    return 0;
}
