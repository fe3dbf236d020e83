/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/genworld.h"

#include "base/assert.h"

/* Streams: a watch is told what its member has applied, in responses of a few revisions, some of
 * them in fragments; streams break and go on where they were. */
static bool in_range(const struct genworld *g, const struct genwatch *w, uint32_t key)
{
    if (w->end == HISTORY_NONE) {
        return key == w->key;
    }
    struct bytes name = history_symbol_text(g->h, key);
    struct bytes end = history_symbol_text(g->h, w->end);
    bool to_the_end = end.len == 1 && end.data[0] == '\0';
    return bytes_compare(name, history_symbol_text(g->h, w->key)) >= 0 &&
           (to_the_end || bytes_compare(name, end) < 0);
}

static void start(struct genworld *g, struct genstream *s, struct genwatch *w)
{
    struct history_item range = {.f = HISTORY_ITEM_READ, .key = w->key, .value = w->end};
    struct history_event e = {.process = s->process,
                              .type = HISTORY_INVOKE,
                              .workload = HISTORY_WATCH,
                              .f = HISTORY_START,
                              .flags = w->flags,
                              .id = w->id,
                              .at_revision = w->next,
                              .items = &range,
                              .item_count = 1};
    gen_add(g, &e);
    e.type = HISTORY_OK;
    e.revision = g->applied[s->member];
    gen_add(g, &e);
    w->next = w->next == 0 ? g->applied[s->member] + 1 : w->next;
}

static void open_stream(struct genworld *g, struct genstream *s)
{
    s->open = true;
    s->member = (uint32_t)gen_below(g, GEN_MEMBERS);
    for (int i = 0; i < GEN_WATCHES; i++) {
        start(g, s, &s->watches[i]);
    }
}

static struct history_item event_of(const struct genworld *g, const struct genwatch *w,
                                    const struct genchange *change)
{
    const struct genkey *key = genstore_key(&g->store, change->key);
    const struct genversion *versions = (const struct genversion *)(const void *)key->versions.data;
    const struct genversion *v = &versions[change->version];
    const struct genversion *before = change->version == 0 ? NULL : v - 1;
    struct history_item item = {.f = HISTORY_ITEM_PUT,
                                .key = key->symbol,
                                .value = v->value,
                                .mod_revision = v->revision,
                                .create_revision = v->create_revision,
                                .version = v->version};
    if (v->value == HISTORY_NONE) {
        item.f = HISTORY_ITEM_DELETE;
    }
    if ((w->flags & HISTORY_PREV_KV) != 0 && before != NULL && before->value != HISTORY_NONE) {
        item.prev_value = before->value;
        item.prev_mod_revision = before->revision;
    }
    return item;
}

static void send(struct genworld *g, const struct genstream *s, const struct genwatch *w,
                 struct buf *items, uint32_t flags)
{
    struct history_event e = {.process = s->process,
                              .type = HISTORY_INFO,
                              .workload = HISTORY_WATCH,
                              .f = HISTORY_EVENTS,
                              .flags = flags,
                              .revision = g->applied[s->member],
                              .id = w->id,
                              .items = (const struct history_item *)(const void *)items->data,
                              .item_count = (uint32_t)(items->len / sizeof(struct history_item))};
    ASSERT(buf_ok(items));
    gen_add(g, &e);
    buf_clear(items);
}

/* All up to REVISION, in one response. */
static void tell(struct genworld *g, const struct genstream *s, struct genwatch *w,
                 int64_t revision)
{
    const struct genchange *changes = (const struct genchange *)(const void *)g->store.changes.data;
    size_t low = 0;
    size_t high = g->store.changes.len / sizeof *changes;
    size_t count = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (changes[middle].revision < w->next) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    struct buf items = {0};
    for (size_t i = low; i < count && changes[i].revision <= revision; i++) {
        struct history_item item = event_of(g, w, &changes[i]);
        bool filtered =
            (w->flags & (item.f == HISTORY_ITEM_PUT ? HISTORY_NO_PUT : HISTORY_NO_DELETE)) != 0;
        if (filtered || !in_range(g, w, item.key)) {
            continue;
        }
        if (items.len > 0 && gen_percent(g, 10)) {
            send(g, s, w, &items, HISTORY_MORE);
        }
        buf_append(&items, &item, sizeof item);
    }
    if (items.len > 0) {
        send(g, s, w, &items, 0);
    }
    buf_fini(&items);
    w->next = revision + 1 > w->next ? revision + 1 : w->next;
}

static void progress(struct genworld *g, struct genstream *s)
{
    struct history_event e = {.process = s->process,
                              .type = HISTORY_INFO,
                              .workload = HISTORY_WATCH,
                              .f = HISTORY_PROGRESS,
                              .revision = g->applied[s->member],
                              .id = HISTORY_WATCH_ALL};
    for (int i = 0; i < GEN_WATCHES; i++) {
        if (s->watches[i].next > e.revision + 1) {
            return; /* it begins in the future, for this member */
        }
        tell(g, s, &s->watches[i], e.revision);
    }
    gen_add(g, &e);
}

void gen_watch_step(struct genworld *g, struct genstream *s)
{
    if (!s->open) {
        open_stream(g, s);
    } else if (gen_percent(g, 2)) {
        struct history_event e = {.process = s->process,
                                  .type = HISTORY_INFO,
                                  .workload = HISTORY_WATCH,
                                  .f = HISTORY_CLOSE};
        gen_add(g, &e);
        s->open = false;
    } else if (gen_percent(g, 10)) {
        progress(g, s);
    } else {
        struct genwatch *w = &s->watches[gen_below(g, GEN_WATCHES)];
        int64_t applied = g->applied[s->member];
        if (applied >= w->next) {
            tell(g, s, w, w->next + (int64_t)gen_below(g, (uint64_t)(applied - w->next) + 1));
        }
    }
}

void gen_watch_end(struct genworld *g, struct genstream *s)
{
    if (!s->open) {
        open_stream(g, s);
    }
    progress(g, s);
}
