/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/batches.h"

#include <stdio.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/cleanup.h"

#define KEYS_MAX   64u
#define ROWS_MAX   32u /* different keys of the small tables */
#define VALUE_SIZE 16u

/* When a row became garbage: at the compaction of this revision, or never. */
struct made {
    int64_t superseded_at; /* main revision of the row that names it; 0: none */
};

/* The batches, and whose they are. */
struct shelf {
    struct batches *owner;
    struct backend_batch items[];
};

static struct shelf *shelf_of(struct backend_batch *items)
{
    return (struct shelf *)(void *)((char *)items - offsetof(struct shelf, items));
}

struct key_state {
    revision_t newest; /* 0: never written */
    bool live;
    int64_t create_revision;
    int64_t version;
    size_t record; /* of newest */
};

struct maker {
    const struct batches_config *config;
    struct batches *batches;
    uint64_t random;
    int64_t revision;
    int64_t compacted_revision;
    struct key_state keys[KEYS_MAX];
};

static void *must(void *memory)
{
    ASSERT(memory != NULL);
    return memory;
}

static uint64_t draw(struct maker *maker, uint64_t below)
{
    maker->random += 0x9e3779b97f4a7c15u;
    return mix64(maker->random) % below;
}

static struct record *make_record(struct maker *maker, unsigned key, bool tombstone)
{
    char text[32];
    (void)snprintf(text, sizeof text, "key-%03u", key);
    size_t len = tombstone ? 0 : draw(maker, (uint64_t)maker->config->value_max + 1);
    uint8_t *value = must(malloc(len + 1));
    for (size_t i = 0; i < len; i++) {
        value[i] = (uint8_t)draw(maker, 256);
    }
    struct record *record = must(record_new(bytes_of_str(text), bytes_of(value, len)));
    free(value);
    record->tombstone = tombstone;
    return record;
}

/* A put or a delete of one key at (revision, sub). */
static void add_record(struct maker *maker, uint32_t sub)
{
    struct batches *b = maker->batches;
    unsigned key = (unsigned)draw(maker, maker->config->keys);
    struct key_state *k = &maker->keys[key];
    bool tombstone = k->live && draw(maker, 4) == 0;
    struct record *record = make_record(maker, key, tombstone);
    record->rev = revision_pack(maker->revision, sub);
    record->prev_rev = k->newest;
    if (!tombstone) {
        k->create_revision = k->live ? k->create_revision : maker->revision;
        k->version = k->live ? k->version + 1 : 1;
        record->create_revision = k->create_revision;
        record->version = k->version;
        record->lease = draw(maker, 5) == 0 ? (int64_t)(draw(maker, UINT64_MAX) >> 1) : 0;
    }
    if (k->newest != 0) {
        b->made[k->record].superseded_at = maker->revision;
    }
    *k = (struct key_state){.newest = record->rev,
                            .live = !tombstone,
                            .create_revision = k->create_revision,
                            .version = k->version,
                            .record = b->record_count};
    b->records[b->record_count++] = record;
}

static void add_change(struct maker *maker)
{
    struct batches *b = maker->batches;
    uint8_t *memory = must(malloc(1 + VALUE_SIZE));
    memory[0] = (uint8_t)draw(maker, ROWS_MAX);
    size_t len = draw(maker, VALUE_SIZE + 1);
    for (size_t i = 0; i < len; i++) {
        memory[1 + i] = (uint8_t)draw(maker, 256);
    }
    b->changes[b->change_count++] =
        (struct backend_change){.table = (enum store_table)(1 + draw(maker, TABLE_COUNT - 1)),
                                .is_delete = draw(maker, 3) == 0,
                                .key = bytes_of(memory, 1),
                                .value = bytes_of(memory + 1, len)};
}

static void make_batch(struct maker *maker, struct backend_batch *batch, uint64_t index)
{
    const struct batches_config *config = maker->config;
    struct batches *b = maker->batches;
    size_t first_record = b->record_count;
    size_t first_change = b->change_count;
    uint64_t records = draw(maker, (uint64_t)config->records_max + 1);
    if (records > 0) {
        maker->revision++;
    }
    uint32_t sub = 0;
    for (uint64_t i = 0; i < records; i++) {
        add_record(maker, sub++);
        if (draw(maker, 2) == 0 && i + 1 < records) {
            maker->revision++;
            sub = 0;
        }
    }
    for (uint64_t i = draw(maker, 3); i > 0; i--) {
        add_change(maker);
    }
    if (config->compact_one_in > 0 && draw(maker, config->compact_one_in) == 0 &&
        maker->revision > 0) {
        int64_t span = maker->revision - maker->compacted_revision;
        maker->compacted_revision += (int64_t)draw(maker, (uint64_t)span + 1);
    }
    *batch = (struct backend_batch){
        .records = &b->records[first_record],
        .record_count = b->record_count - first_record,
        .changes = &b->changes[first_change],
        .change_count = b->change_count - first_change,
        .size_bytes = 100 * (b->record_count - first_record),
        .state = {.applied_index = index,
                  .applied_term = 1 + index / 100,
                  .revision = maker->revision,
                  .compacted_revision = maker->compacted_revision,
                  .hash = {.lo = mix64(index), .hi = index}},
        .status = ERR_CANCELLED,
    };
}

struct batches *batches_new(const struct batches_config *config)
{
    struct batches_config c = *config;
    c.keys = c.keys == 0 ? 20 : c.keys;
    c.records_max = c.records_max == 0 ? 6 : c.records_max;
    c.value_max = c.value_max == 0 ? 100 : c.value_max;
    ASSERT(c.keys <= KEYS_MAX);
    struct batches *b = must(calloc(1, sizeof *b));
    b->count = c.count;
    struct shelf *shelf = must(calloc(1, sizeof *shelf + c.count * sizeof *b->items));
    shelf->owner = b;
    b->items = shelf->items;
    b->records = must(calloc(c.count * c.records_max + 1, sizeof *b->records));
    b->made = must(calloc(c.count * c.records_max + 1, sizeof *b->made));
    b->changes = must(calloc(c.count * 2 + 1, sizeof *b->changes));
    struct maker maker = {.config = &c, .batches = b, .random = c.seed, .compacted_revision = -1};
    for (size_t i = 0; i < c.count; i++) {
        make_batch(&maker, &b->items[i], i + 1);
    }
    return b;
}

void batches_free(struct batches *b)
{
    if (b == NULL) {
        return;
    }
    for (size_t i = 0; i < b->record_count; i++) {
        record_unref(b->records[i]);
    }
    for (size_t i = 0; i < b->change_count; i++) {
        free((void *)(uintptr_t)b->changes[i].key.data);
    }
    free(b->records);
    free(b->made);
    free(b->changes);
    free(shelf_of(b->items));
    free(b);
}

static void on_written(struct backend_batch *batch)
{
    ASSERT(batch->status == OK || batch->status == ERR_NO_SPACE);
    struct backend_batch *items = batch - (batch->state.applied_index - 1);
    shelf_of(items)->owner->written += batch->status == OK;
}

void batches_write(struct batches *batches, size_t i, struct backend *backend)
{
    ASSERT(i < batches->count);
    backend_write(backend, &batches->items[i], on_written);
}

size_t batches_written(const struct batches *batches)
{
    return batches->written;
}

static struct bytes copy_bytes(struct bytes bytes)
{
    uint8_t *memory = must(malloc(bytes.len + 1));
    if (bytes.len > 0) {
        memcpy(memory, bytes.data, bytes.len);
    }
    return bytes_of(memory, bytes.len);
}

enum err row_log_add(void *ctx, const struct backend_row *rows, size_t count)
{
    struct row_log *log = ctx;
    for (size_t i = 0; i < count; i++) {
        bool room = ARRAY_MAKE_ROOM(log->rows, log->count, log->cap, 64);
        ASSERT(room);
        struct backend_row *row = &log->rows[log->count++];
        *row = rows[i];
        row->header.key = copy_bytes(row->header.key);
        row->value = copy_bytes(row->value);
    }
    return OK;
}

void row_log_fini(struct row_log *log)
{
    for (size_t i = 0; i < log->count; i++) {
        free((void *)(uintptr_t)log->rows[i].header.key.data);
        free((void *)(uintptr_t)log->rows[i].value.data);
    }
    free(log->rows);
    *log = (struct row_log){0};
}

static const char *compare_row(const struct record *want, const struct backend_row *got)
{
    const struct record_header *h = &got->header;
    if (h->tombstone != want->tombstone || h->prev_rev != want->prev_rev ||
        h->create_revision != want->create_revision || h->version != want->version ||
        h->lease != want->lease || got->value_len != want->value_len ||
        !bytes_equal(h->key, record_key(want))) {
        return "a row is not as it was written";
    }
    if (got->value.len > 0 && !bytes_equal(got->value, record_value(want))) {
        return "a value is not as it was written";
    }
    return NULL;
}

/* May a compaction at AT have removed record I, one of the first ROWS? */
static bool is_garbage(const struct batches *b, size_t i, int64_t at)
{
    const struct record *record = b->records[i];
    int64_t superseded_at = b->made[i].superseded_at;
    return (superseded_at > 0 && superseded_at <= at) ||
           (record->tombstone && record_mod_revision(record) < at);
}

static int compare_rev(const void *rev, const void *row)
{
    revision_t left = *(const revision_t *)rev;
    revision_t right = ((const struct backend_row *)row)->rev;
    return (left > right) - (left < right);
}

static bool is_there(const struct row_log *log, revision_t rev)
{
    return log->count > 0 &&
           bsearch(&rev, log->rows, log->count, sizeof log->rows[0], compare_rev) != NULL;
}

const char *batches_compare(const struct batches *b, size_t n, const struct row_log *log,
                            int64_t removed_revision)
{
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        written += b->items[i].record_count;
    }
    int64_t compacted = n > 0 ? b->items[n - 1].state.compacted_revision : -1;
    size_t at = 0;
    for (size_t i = 0; i < written; i++) {
        const struct record *want = b->records[i];
        bool there = at < log->count && log->rows[at].rev == want->rev;
        if (there && is_garbage(b, i, removed_revision)) {
            return "a row that was compacted is still there";
        }
        if (!there && !is_garbage(b, i, compacted)) {
            return "a row is missing";
        }
        if (!there && is_there(log, want->prev_rev)) {
            return "a row went before the one that it supersedes";
        }
        if (there) {
            const char *wrong = compare_row(want, &log->rows[at]);
            if (wrong != NULL) {
                return wrong;
            }
            at++;
        }
    }
    return at == log->count ? NULL : "a row was never written";
}

struct expected_table {
    const struct batches *batches;
    const struct backend_change *rows[ROWS_MAX]; /* by the key's only byte */
    unsigned next;
    const char *wrong;
};

static enum err compare_table_row(void *ctx, struct bytes key, struct bytes value)
{
    struct expected_table *expected = ctx;
    while (expected->next < ROWS_MAX && expected->rows[expected->next] == NULL) {
        expected->next++;
    }
    if (expected->next == ROWS_MAX) {
        expected->wrong = "a row of a small table was never written";
        return OK;
    }
    const struct backend_change *want = expected->rows[expected->next++];
    if (!bytes_equal(want->key, key) || !bytes_equal(want->value, value)) {
        expected->wrong = "a row of a small table is not as it was written";
    }
    return OK;
}

const char *batches_compare_tables(const struct batches *b, size_t n, struct backend *backend)
{
    for (enum store_table table = 1; table < TABLE_COUNT; table++) {
        struct expected_table expected = {.batches = b};
        for (size_t i = 0; i < n; i++) {
            const struct backend_batch *batch = &b->items[i];
            for (size_t c = 0; c < batch->change_count; c++) {
                const struct backend_change *change = &batch->changes[c];
                if (change->table == table) {
                    expected.rows[change->key.data[0]] = change->is_delete ? NULL : change;
                }
            }
        }
        if (backend_table_foreach(backend, table, compare_table_row, &expected, NULL) != OK) {
            return "a small table cannot be read";
        }
        while (expected.next < ROWS_MAX && expected.rows[expected.next] == NULL) {
            expected.next++;
        }
        if (expected.next < ROWS_MAX) {
            return "a row of a small table is missing";
        }
        if (expected.wrong != NULL) {
            return expected.wrong;
        }
    }
    return NULL;
}
