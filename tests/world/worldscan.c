/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldscan.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "tests/world/worldask.h"
#include "tests/world/worldcheck.h"
#include "tests/world/worldclients.h"

#define SUSPECT_SCANS 6

struct world_scanner {
    struct world *world;
    int64_t process;
    uint64_t pause_ms;
    struct worldmember *suspect;
    unsigned suspect_left;
};

/* One read. Not freed: its client may be about to go away, or has, and it is called back later. */
struct scan {
    struct ask ask;
    struct world_scanner *scanner; /* NULL: it is one by itself */
    int64_t process;
    struct store_range_request range;
    struct history_item *found;
};

static struct scan *scan_of(struct ask *ask)
{
    return CONTAINER_OF(ask, struct scan, ask);
}

static void note_found(struct scan *scan)
{
    struct world *world = scan->ask.world;
    const struct record_list *records = &scan->range.result.records;
    scan->found = calloc(records->count + 1, sizeof *scan->found);
    ASSERT(scan->found != NULL);
    for (size_t i = 0; i < records->count; i++) {
        const struct record *record = records->items[i];
        scan->found[i] = (struct history_item){.f = HISTORY_ITEM_READ,
                                               .key = ask_symbol(world, record_key(record)),
                                               .value = ask_symbol(world, record_value(record)),
                                               .mod_revision = record_mod_revision(record),
                                               .create_revision = record->create_revision,
                                               .version = record->version};
    }
    scan->ask.event.item_count = (uint32_t)records->count;
    scan->ask.found = scan->found;
}

static void on_ranged(struct store_range_request *request)
{
    struct scan *scan = CONTAINER_OF(request, struct scan, range);
    enum err status = request->status;
    bool is_open = ask_is_open(&scan->ask);
    if (status == OK && is_open) {
        note_found(scan);
    }
    int64_t revision = status == OK ? request->result.revision : 0;
    if (status == OK) {
        range_result_fini(&request->result);
    }
    if (is_open) {
        ask_end(&scan->ask, status == OK ? HISTORY_OK : HISTORY_FAIL, revision);
    }
    free(scan->found);
}

static void begin_scan(struct ask *ask)
{
    struct scan *scan = scan_of(ask);
    scan->range = (struct store_range_request){
        .query = {.key = ask_bytes(ask->world, ask->items[0].key),
                  .range_end = ask_bytes(ask->world, ask->items[0].value),
                  .revision = ask->event.at_revision}};
    store_range_start(server_store(ask->member->now->server), &scan->range, on_ranged);
}

static void cancel(struct ask *ask)
{
    store_range_cancel(&scan_of(ask)->range);
}

static void go_on(struct world_scanner *scanner);

static void ended(struct ask *ask, enum history_type type)
{
    (void)type;
    if (scan_of(ask)->scanner != NULL) {
        go_on(scan_of(ask)->scanner);
    }
}

static void begin(struct worldmember *member, struct world_scanner *scanner, int64_t revision)
{
    struct world *world = member->world;
    struct scan *scan = calloc(1, sizeof *scan);
    ASSERT(scan != NULL);
    scan->scanner = scanner;
    scan->process = world->clients->next_process++;
    scan->ask = (struct ask){
        .world = world,
        .process = scanner != NULL ? &scanner->process : &scan->process,
        .event = {.workload = HISTORY_FINAL,
                  .f = HISTORY_STATE,
                  .flags = HISTORY_SERIALIZABLE,
                  .at_revision = revision,
                  .item_count = 1},
        .items = {{.key = ask_symbol(world, bytes_of_str("a")),
                   .value = ask_symbol(world, bytes_of_str("z"))}},
        .begin = begin_scan,
        .cancel = cancel,
        .ended = ended,
    };
    ask_begin(&scan->ask, member);
}

static void scan_at(struct world_scanner *scanner, struct worldmember *member)
{
    struct world *world = scanner->world;
    uint64_t revision = (uint64_t)worldcheck_revision(world);
    uint64_t back = world_between(world, 0, revision < 300 ? revision : 300);
    begin(member, scanner, (int64_t)(revision - back));
}

void worldscan_once(struct worldmember *member, int64_t revision)
{
    begin(member, NULL, revision);
}

static void on_time(struct world *world, const struct world_event *event)
{
    struct world_scanner *scanner = event->ptr;
    if (world->clients->are_stopped) {
        return;
    }
    struct worldmember *member = worldclients_pick(world);
    if (scanner->suspect_left > 0) {
        scanner->suspect_left--;
        member = scanner->suspect->alive && !scanner->suspect->stopping ? scanner->suspect : NULL;
    }
    if (member != NULL && worldcheck_revision(world) > 0) {
        scan_at(scanner, member);
    } else {
        go_on(scanner);
    }
}

static void go_on(struct world_scanner *scanner)
{
    struct world *world = scanner->world;
    uint64_t pause_ms = scanner->suspect_left > 0 ? 300 : scanner->pause_ms;
    world_at(world, world_between(world, 1, pause_ms) * WORLD_MS,
             &(struct world_event){.run = on_time, .ptr = scanner});
}

void worldscan_suspect(struct worldmember *member)
{
    struct world_scanner *scanner = member->world->clients->scanner;
    scanner->suspect = member;
    scanner->suspect_left = SUSPECT_SCANS;
}

void worldscan_init(struct world *world)
{
    struct world_scanner *scanner = calloc(1, sizeof *scanner);
    ASSERT(scanner != NULL);
    world->clients->scanner = scanner;
    scanner->world = world;
    scanner->process = world->clients->next_process++;
    scanner->pause_ms = world_between(world, 1000, 8000);
    go_on(scanner);
}
