/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/genworld.h"

#include "base/assert.h"

/* What clients ask, and what the store does with it. A key is used for some hundred operations and
 * then never again, so that lists stay short. */
#define OPERATIONS_PER_KEY 100

static uint32_t pick_key(struct genworld *g, const char *prefix)
{
    unsigned keys = g->options->keys != 0 ? g->options->keys : 3;
    unsigned age = g->asked / (OPERATIONS_PER_KEY * keys);
    return gen_name(g, "%s%u", prefix, age * keys + (unsigned)gen_below(g, keys));
}

static uint32_t new_value(struct genworld *g)
{
    return history_int(g->h, g->next_value++);
}

static struct history_item *add_item(struct genclient *c, enum history_item_f f, uint32_t key,
                                     uint32_t value)
{
    struct history_item *item = &c->items[c->e.item_count++];
    *item = (struct history_item){.f = f, .key = key, .value = value};
    return item;
}

static uint32_t value_now(const struct genworld *g, uint32_t key)
{
    const struct genversion *v = genstore_at(&g->store, key, g->store.revision);
    return v == NULL ? HISTORY_NONE : v->value;
}

static void ask_register(struct genworld *g, struct genclient *c)
{
    uint32_t key = pick_key(g, "r");
    switch (gen_below(g, 4)) {
    case 0:
    case 1:
        c->e.f = HISTORY_READ;
        add_item(c, HISTORY_ITEM_READ, key, HISTORY_NONE);
        c->e.flags |= gen_percent(g, 25) ? HISTORY_SERIALIZABLE : 0;
        break;
    case 2:
        c->e.f = HISTORY_WRITE;
        add_item(c, HISTORY_ITEM_WRITE, key, gen_percent(g, 15) ? HISTORY_NONE : new_value(g));
        break;
    default:
        c->e.f = HISTORY_CAS;
        add_item(c, HISTORY_ITEM_COMPARE, key,
                 gen_percent(g, 80) ? value_now(g, key) : new_value(g));
        add_item(c, HISTORY_ITEM_WRITE, key, new_value(g));
        break;
    }
}

static void ask_set(struct genworld *g, struct genclient *c)
{
    uint32_t set = pick_key(g, "s");
    c->e.f = gen_percent(g, 60) ? HISTORY_ADD : HISTORY_READ;
    if (c->e.f == HISTORY_ADD) {
        add_item(c, HISTORY_ITEM_WRITE, set, new_value(g));
    } else {
        add_item(c, HISTORY_ITEM_READ, set, HISTORY_NONE);
    }
}

static bool has_written(const struct genclient *c, uint32_t key)
{
    for (uint32_t i = 0; i < c->e.item_count; i++) {
        if (c->items[i].key == key && c->items[i].f == HISTORY_ITEM_WRITE) {
            return true;
        }
    }
    return false;
}

static void ask_txn(struct genworld *g, struct genclient *c, bool lists)
{
    c->e.f = HISTORY_TXN;
    for (uint64_t n = 1 + gen_below(g, 4); n > 0; n--) {
        uint32_t key = pick_key(g, lists ? "l" : "w");
        if (gen_percent(g, 50)) {
            add_item(c, HISTORY_ITEM_READ, key, HISTORY_NONE);
        } else if (lists) {
            add_item(c, HISTORY_ITEM_APPEND, key, new_value(g));
        } else if (gen_percent(g, 15) && c->e.item_count == 0) {
            add_item(c, HISTORY_ITEM_COMPARE, key,
                     gen_percent(g, 70) ? value_now(g, key) : new_value(g));
        } else if (!has_written(c, key)) {
            add_item(c, HISTORY_ITEM_WRITE, key, new_value(g));
        }
    }
    if (c->e.item_count == 0) {
        add_item(c, HISTORY_ITEM_READ, pick_key(g, lists ? "l" : "w"), HISTORY_NONE);
    }
}

static void ask_bank(struct genworld *g, struct genclient *c)
{
    if (gen_percent(g, 40)) {
        c->e.f = HISTORY_READ;
        return;
    }
    uint64_t from = gen_below(g, GEN_ACCOUNTS);
    uint64_t to = (from + 1 + gen_below(g, GEN_ACCOUNTS - 1)) % GEN_ACCOUNTS;
    c->e.f = HISTORY_TRANSFER;
    c->e.number = 1 + (int64_t)gen_below(g, 40);
    add_item(c, HISTORY_ITEM_READ, g->accounts[from], HISTORY_NONE);
    add_item(c, HISTORY_ITEM_READ, g->accounts[to], HISTORY_NONE);
}

void gen_ask(struct genworld *g, struct genclient *c, enum history_workload workload)
{
    c->e = (struct history_event){.process = c->process,
                                  .type = HISTORY_INVOKE,
                                  .workload = workload,
                                  .member = gen_name(g, "m%u", c->member + 1),
                                  .session = c->session,
                                  .items = c->items};
    switch (workload) {
    case HISTORY_SET:
        ask_set(g, c);
        break;
    case HISTORY_APPEND:
    case HISTORY_WR:
        ask_txn(g, c, workload == HISTORY_APPEND);
        break;
    case HISTORY_BANK:
        ask_bank(g, c);
        break;
    case HISTORY_LOCK:
        gen_ask_lock(g, c);
        break;
    case HISTORY_LEASE:
        gen_ask_lease(g, c);
        break;
    default:
        ask_register(g, c);
        break;
    }
    gen_add(g, &c->e);
    c->phase = GEN_ASKED;
}

/* ---- The store's side ---- */

static void read_key(struct genworld *g, struct history_item *item, int64_t revision)
{
    const struct genversion *v = genstore_at(&g->store, item->key, revision);
    item->value = v == NULL ? HISTORY_NONE : v->value;
    item->mod_revision = v == NULL ? 0 : v->revision;
}

static void read_list(struct genworld *g, struct genclient *c, uint32_t i, int64_t revision)
{
    struct history_item *item = &c->items[i];
    buf_clear(&c->lists[i]);
    genstore_elements(&g->store, item->key, revision, &c->lists[i]);
    item->list = (const uint32_t *)(const void *)c->lists[i].data;
    item->list_count = (uint32_t)(c->lists[i].len / sizeof(uint32_t));
}

static bool comparisons_hold(const struct genworld *g, const struct genclient *c)
{
    for (uint32_t i = 0; i < c->e.item_count; i++) {
        if (c->items[i].f == HISTORY_ITEM_COMPARE &&
            c->items[i].value != value_now(g, c->items[i].key)) {
            return false;
        }
    }
    return true;
}

/* Then its key is written already: a transaction writes a key once. */
static bool appended_before(const struct genclient *c, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (c->items[k].f == HISTORY_ITEM_APPEND && c->items[k].key == c->items[i].key) {
            return true;
        }
    }
    return false;
}

/* Register, append and wr: the items in order, and reads see what was written before them. */
static void execute_items(struct genworld *g, struct genclient *c)
{
    bool serializable = (c->e.flags & HISTORY_SERIALIZABLE) != 0;
    int64_t at = serializable ? g->applied[c->member] : g->store.revision;
    if (!comparisons_hold(g, c)) {
        c->e.type = HISTORY_FAIL;
        c->e.revision = g->store.revision;
        return;
    }
    bool unchanged = c->e.f == HISTORY_WRITE;
    genstore_begin(&g->store);
    for (uint32_t i = 0; i < c->e.item_count; i++) {
        struct history_item *item = &c->items[i];
        if (item->f == HISTORY_ITEM_APPEND) {
            genstore_element(&g->store, item->key, item->value);
            if (!appended_before(c, i)) {
                genstore_put(&g->store, item->key,
                             gen_name(g, "list %lld", (long long)g->next_value++));
            }
        } else if (item->f == HISTORY_ITEM_READ && c->e.workload == HISTORY_APPEND) {
            read_list(g, c, i, at + 1);
        } else if (item->f == HISTORY_ITEM_READ) {
            read_key(g, item, serializable ? at : at + 1);
        } else if (item->f == HISTORY_ITEM_WRITE && item->value != HISTORY_NONE) {
            genstore_put(&g->store, item->key, item->value);
            unchanged = false;
        } else if (item->f == HISTORY_ITEM_WRITE) {
            unchanged &= !genstore_delete(&g->store, item->key);
        }
    }
    genstore_commit(&g->store);
    c->e.flags |= unchanged ? HISTORY_UNCHANGED : 0;
    c->e.revision = serializable ? at : g->store.revision;
}

static void execute_set(struct genworld *g, struct genclient *c)
{
    const struct history_item *item = &c->items[0];
    if (c->e.f == HISTORY_READ) {
        read_list(g, c, 0, g->store.revision);
    } else {
        char name[64];
        int64_t element = 0;
        history_symbol_int(g->h, item->value, &element);
        struct bytes set = history_symbol_text(g->h, item->key);
        snprintf(name, sizeof name, "%.*s/%lld", (int)set.len, (const char *)set.data,
                 (long long)element);
        genstore_begin(&g->store);
        genstore_element(&g->store, item->key, item->value);
        genstore_put(&g->store, gen_name(g, "%s", name), history_int(g->h, 1));
        genstore_commit(&g->store);
    }
    c->e.revision = g->store.revision;
}

static int64_t *balance_of(struct genworld *g, uint32_t account)
{
    uint32_t i = 0;
    while (g->accounts[i] != account) {
        i++;
        ASSERT(i < GEN_ACCOUNTS);
    }
    return &g->balances[i];
}

static void put_balance(struct genworld *g, uint32_t account)
{
    genstore_put(&g->store, account, history_int(g->h, *balance_of(g, account)));
}

static void execute_bank(struct genworld *g, struct genclient *c)
{
    if (c->e.f == HISTORY_READ) {
        for (uint32_t i = 0; i < GEN_ACCOUNTS; i++) {
            add_item(c, HISTORY_ITEM_READ, g->accounts[i], history_int(g->h, g->balances[i]));
        }
    } else if (*balance_of(g, c->items[0].key) < c->e.number) {
        c->e.type = HISTORY_FAIL;
        return;
    } else {
        *balance_of(g, c->items[0].key) -= c->e.number;
        *balance_of(g, c->items[1].key) += c->e.number;
        genstore_begin(&g->store);
        put_balance(g, c->items[0].key);
        put_balance(g, c->items[1].key);
        genstore_commit(&g->store);
    }
    c->e.revision = g->store.revision;
}

void gen_execute(struct genworld *g, struct genclient *c)
{
    c->e.type = HISTORY_OK;
    c->phase = GEN_DONE;
    switch (c->e.workload) {
    case HISTORY_SET:
        execute_set(g, c);
        break;
    case HISTORY_BANK:
        execute_bank(g, c);
        break;
    case HISTORY_LOCK:
        gen_execute_lock(g, c);
        break;
    case HISTORY_LEASE:
        gen_execute_lease(g, c);
        break;
    default:
        execute_items(g, c);
        break;
    }
    if ((c->e.flags & HISTORY_SERIALIZABLE) == 0) {
        g->applied[c->member] = g->store.revision; /* it answers when it has applied */
    }
}

void gen_open_bank(struct genworld *g)
{
    struct history_item items[GEN_ACCOUNTS];
    struct history_event e = {.process = g->next_process++,
                              .type = HISTORY_INVOKE,
                              .workload = HISTORY_BANK,
                              .f = HISTORY_OPEN,
                              .items = items,
                              .item_count = GEN_ACCOUNTS};
    genstore_begin(&g->store);
    for (uint32_t i = 0; i < GEN_ACCOUNTS; i++) {
        g->accounts[i] = gen_name(g, "account%u", i);
        g->balances[i] = 100;
        items[i] = (struct history_item){
            .f = HISTORY_ITEM_WRITE, .key = g->accounts[i], .value = history_int(g->h, 100)};
        put_balance(g, g->accounts[i]);
    }
    genstore_commit(&g->store);
    gen_add(g, &e);
    e.type = HISTORY_OK;
    e.revision = g->store.revision;
    gen_add(g, &e);
}
