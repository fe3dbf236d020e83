/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/generate.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "tests/history/genworld.h"

/* One step after the other, each by somebody at random: a client asks, the store does it, the
 * client is answered; a member catches up; a stream tells; something ends. */
#define CLIENT_WORKLOADS                                                                    \
    (1u << HISTORY_REGISTER | 1u << HISTORY_SET | 1u << HISTORY_APPEND | 1u << HISTORY_WR | \
     1u << HISTORY_LOCK | 1u << HISTORY_LEASE | 1u << HISTORY_BANK)
#define FIRST_STREAM 1000000 /* processes of streams */

uint64_t gen_below(struct genworld *g, uint64_t bound)
{
    g->random += 0x9e3779b97f4a7c15u;
    return mix64(g->random) % bound;
}

bool gen_percent(struct genworld *g, unsigned percent)
{
    return gen_below(g, 100) < percent;
}

uint32_t gen_name(struct genworld *g, const char *format, ...)
{
    char text[96];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return history_text(g->h, bytes_of_str(text));
}

void gen_add(struct genworld *g, struct history_event *e)
{
    e->time_ns = g->now_ns;
    history_add(g->h, e);
}

static unsigned unknown_percent(const struct genworld *g)
{
    unsigned percent = g->options->unknown_percent;
    return percent == 0 ? 5 : percent > 100 ? 0 : percent;
}

static enum history_workload pick_workload(struct genworld *g)
{
    uint32_t wanted = g->options->workloads & CLIENT_WORKLOADS;
    wanted = wanted == 0 ? CLIENT_WORKLOADS : wanted;
    for (;;) {
        unsigned w = (unsigned)gen_below(g, HISTORY_WORKLOADS);
        if ((wanted & 1u << w) != 0) {
            return (enum history_workload)w;
        }
    }
}

static void connect_client(struct genworld *g, struct genclient *c)
{
    c->member = (uint32_t)gen_below(g, GEN_MEMBERS);
    c->session = g->next_session++;
}

/* Nobody will know: the process is another from now on. */
static void lose_answer(struct genworld *g, struct genclient *c)
{
    c->e.type = HISTORY_INFO;
    c->e.revision = 0;
    gen_add(g, &c->e);
    c->process = g->next_process++;
    c->lock = HISTORY_NONE;
    c->phase = GEN_IDLE;
    connect_client(g, c);
}

/* It has not reached the store, and may do so later. */
static void lose_question(struct genworld *g, struct genclient *c)
{
    struct genclient copy = *c;
    lose_answer(g, c);
    copy.e.type = HISTORY_INVOKE;
    memset(copy.lists, 0, sizeof copy.lists);
    if (gen_percent(g, 60) && copy.e.workload != HISTORY_LEASE) {
        buf_append(&g->later, &copy, sizeof copy);
        ASSERT(buf_ok(&g->later));
    }
}

static void fail(struct genworld *g, struct genclient *c)
{
    c->e.type = HISTORY_FAIL;
    c->e.revision = 0;
    gen_add(g, &c->e);
    c->phase = GEN_IDLE;
}

static void answer(struct genworld *g, struct genclient *c)
{
    bool released =
        c->e.f == HISTORY_RELEASE || (c->e.f == HISTORY_FENCED && c->e.type == HISTORY_FAIL);
    gen_add(g, &c->e);
    c->phase = GEN_IDLE;
    c->lock = released ? HISTORY_NONE : c->lock;
}

static void client_step(struct genworld *g, struct genclient *c)
{
    switch (c->phase) {
    case GEN_IDLE:
        if (gen_percent(g, 3)) {
            connect_client(g, c);
        }
        gen_ask(g, c, pick_workload(g));
        g->asked++;
        break;
    case GEN_ASKED:
        if (gen_percent(g, unknown_percent(g))) {
            lose_question(g, c);
        } else if (gen_percent(g, 3)) {
            fail(g, c);
        } else {
            gen_execute(g, c);
        }
        break;
    case GEN_WAITING:
        gen_has_lock(g, c);
        break;
    case GEN_DONE:
        if (gen_percent(g, unknown_percent(g))) {
            /* What the question did not say is not known either. */
            struct history_item items[GEN_ITEMS_MAX];
            memcpy(items, c->items, sizeof items);
            for (int i = 0; i < GEN_ITEMS_MAX; i++) {
                bool told = items[i].f == HISTORY_ITEM_READ;
                items[i].value = told && c->e.workload != HISTORY_LOCK ? 0 : items[i].value;
                items[i].list_count = 0;
                items[i].mod_revision = 0;
                items[i].create_revision = 0;
                items[i].key = c->e.f == HISTORY_ACQUIRE ? HISTORY_NONE : items[i].key;
            }
            c->e.items = items;
            c->e.item_count =
                c->e.f == HISTORY_READ && c->e.workload == HISTORY_BANK ? 0 : c->e.item_count;
            lose_answer(g, c);
            c->e.items = c->items;
        } else {
            answer(g, c);
        }
        break;
    }
}

/* An attempt that nobody waits for any more. What it reads goes nowhere. */
static void execute_later(struct genworld *g)
{
    struct genclient *all = (struct genclient *)(void *)g->later.data;
    size_t count = g->later.len / sizeof *all;
    if (count == 0) {
        return;
    }
    struct genclient *c = &all[gen_below(g, count)];
    struct genclient taken = *c;
    *c = all[count - 1];
    g->later.len -= sizeof *c;
    taken.e.items = taken.items;
    gen_execute(g, &taken);
    for (int i = 0; i < GEN_ITEMS_MAX; i++) {
        buf_fini(&taken.lists[i]);
    }
}

static void step(struct genworld *g)
{
    g->now_ns += 1 + (int64_t)gen_below(g, 20000000);
    uint64_t what = gen_below(g, 100);
    if (what < 10) {
        uint64_t m = gen_below(g, GEN_MEMBERS);
        g->applied[m] += (int64_t)gen_below(g, (uint64_t)(g->store.revision - g->applied[m]) + 1);
    } else if (what < 25 && g->stream_count > 0) {
        gen_watch_step(g, &g->streams[gen_below(g, g->stream_count)]);
    } else if (what < 27) {
        execute_later(g);
    } else if (what < 28) {
        gen_expire_lock(g);
    } else if (what < 31) {
        gen_expire_leases(g);
    } else {
        client_step(g, &g->clients[gen_below(g, g->client_count)]);
    }
}

/* All are answered, all members have caught up, all streams have told everything. */
static void finish(struct genworld *g)
{
    for (unsigned i = 0; i < g->client_count; i++) {
        struct genclient *c = &g->clients[i];
        while (c->phase != GEN_IDLE) {
            g->now_ns += 1000;
            if (c->phase == GEN_WAITING && !gen_has_lock(g, c)) {
                gen_expire_lock(g);
            } else {
                client_step(g, c);
            }
        }
    }
    while (g->later.len > 0) {
        execute_later(g);
    }
    for (int i = 0; i < GEN_MEMBERS; i++) {
        g->applied[i] = g->store.revision;
    }
    for (unsigned i = 0; i < g->stream_count; i++) {
        gen_watch_end(g, &g->streams[i]);
    }
}

static int by_key(const void *a, const void *b, void *ctx)
{
    const struct history_item *x = a;
    const struct history_item *y = b;
    return bytes_compare(history_symbol_text(ctx, x->key), history_symbol_text(ctx, y->key));
}

static void add_states(struct genworld *g)
{
    struct buf items = {0};
    for (uint32_t i = 0; i < genstore_key_count(&g->store); i++) {
        const struct genkey *key = genstore_key(&g->store, i);
        const struct genversion *v = genstore_at(&g->store, key->symbol, g->store.revision);
        if (v != NULL) {
            struct history_item item = {.f = HISTORY_ITEM_READ,
                                        .key = key->symbol,
                                        .value = v->value,
                                        .mod_revision = v->revision,
                                        .create_revision = v->create_revision,
                                        .version = v->version};
            buf_append(&items, &item, sizeof item);
        }
    }
    ASSERT(buf_ok(&items));
    if (items.len > 0) {
        qsort_r(items.data, items.len / sizeof(struct history_item), sizeof(struct history_item),
                by_key, g->h);
    }
    struct history_item range = {.f = HISTORY_ITEM_READ,
                                 .key = history_text(g->h, bytes_of(NULL, 0)),
                                 .value = history_text(g->h, bytes_of("\0", 1))};
    for (unsigned m = 0; m < GEN_MEMBERS; m++) {
        struct history_event e = {.process = g->next_process++,
                                  .type = HISTORY_INVOKE,
                                  .workload = HISTORY_FINAL,
                                  .f = HISTORY_STATE,
                                  .member = gen_name(g, "m%u", m + 1),
                                  .items = &range,
                                  .item_count = 1};
        gen_add(g, &e);
        e.type = HISTORY_OK;
        e.revision = g->store.revision;
        e.number = (int64_t)(items.len + 17);
        e.items = (const struct history_item *)(const void *)items.data;
        e.item_count = (uint32_t)(items.len / sizeof(struct history_item));
        gen_add(g, &e);
    }
    buf_fini(&items);
}

static void init(struct genworld *g)
{
    static const uint32_t flags[] = {HISTORY_PREV_KV, 0, HISTORY_NO_PUT, HISTORY_NO_DELETE};
    genstore_init(&g->store);
    for (int i = 0; i < GEN_MEMBERS; i++) {
        g->applied[i] = 1;
    }
    for (int i = 0; i < GEN_LOCKS; i++) {
        g->locks[i].name = gen_name(g, "lock%d", i);
    }
    for (unsigned i = 0; i < g->client_count; i++) {
        g->clients[i].process = g->next_process++;
        connect_client(g, &g->clients[i]);
    }
    uint32_t all = history_text(g->h, bytes_of("\0", 1));
    for (unsigned i = 0; i < g->stream_count; i++) {
        struct genstream *s = &g->streams[i];
        s->process = FIRST_STREAM + i;
        s->watches[0] = (struct genwatch){
            .id = 1, .key = all, .end = all, .flags = i == 0 ? HISTORY_PREV_KV : 0, .next = 1};
        s->watches[1] =
            (struct genwatch){.id = 2,
                              .key = gen_name(g, gen_percent(g, 50) ? "r1" : "l"),
                              .end = gen_percent(g, 50) ? HISTORY_NONE : gen_name(g, "s"),
                              .flags = flags[gen_below(g, 4)],
                              .next = (int64_t)gen_below(g, 2)};
    }
}

static void fini(struct genworld *g)
{
    for (unsigned i = 0; i < g->client_count; i++) {
        for (int k = 0; k < GEN_ITEMS_MAX; k++) {
            buf_fini(&g->clients[i].lists[k]);
        }
    }
    for (size_t i = 0; i < g->leases.len / sizeof(struct genlease); i++) {
        buf_fini(&((struct genlease *)(void *)g->leases.data)[i].keys);
    }
    for (int i = 0; i < GEN_LOCKS; i++) {
        buf_fini(&g->locks[i].queue);
    }
    buf_fini(&g->leases);
    buf_fini(&g->later);
    genstore_fini(&g->store);
    free(g->clients);
    free(g->streams);
}

void history_generate(struct history *h, const struct generate_options *options)
{
    bool watches = options->workloads == 0 || (options->workloads & 1u << HISTORY_WATCH) != 0;
    struct genworld g = {.h = h,
                         .options = options,
                         .random = options->seed,
                         .next_session = 1,
                         .next_value = 1,
                         .client_count = options->clients != 0 ? options->clients : 5};
    g.stream_count = !watches ? 0 : options->watchers != 0 ? options->watchers : 3;
    g.clients = calloc(g.client_count, sizeof *g.clients);
    g.streams = calloc(g.stream_count + 1, sizeof *g.streams);
    ASSERT(g.clients != NULL);
    ASSERT(g.streams != NULL);
    init(&g);
    gen_open_bank(&g);
    unsigned operations = options->operations != 0 ? options->operations : 400;
    while (g.asked < operations) {
        step(&g);
    }
    finish(&g);
    add_states(&g);
    fini(&g);
}
