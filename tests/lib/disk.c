/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/disk.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/hash.h"

#define PAGE_BYTES   4096u
#define SECTOR_BYTES 512u

/* A sparse file: pages that were never written are NULL and read as zeros. */
struct content {
    uint64_t size;
    uint64_t allocated; /* reserved by DISK_ALLOCATE */
    uint8_t **pages;
    size_t page_count;
};

/* A directory, sorted by name. */
struct entry {
    char *name;
    unsigned node;
};
struct names {
    struct entry *entries;
    size_t count;
};

struct state {
    struct content content;
    struct names names;
};

struct pending {
    const struct disk_op *op;
    uint64_t seq;  /* over the whole disk */
    bool poisoned; /* a sync of it failed */
};

struct node {
    bool is_dir;
    struct state seen;
    struct state durable;
    struct pending *pending;
    size_t pending_count;
    size_t pending_cap;
};

struct disk {
    struct node *nodes;
    unsigned node_count;
    unsigned node_cap;
    uint64_t seq;
    void (*release)(const struct disk_op *op); /* may be NULL */
};

static void *must(void *memory)
{
    ASSERT(memory != NULL);
    return memory;
}

/* Contents. */

static void content_write(struct content *c, uint64_t offset, const uint8_t *data, size_t len)
{
    if (len == 0) {
        return;
    }
    uint64_t end = offset + len;
    size_t page_end = (size_t)((end + PAGE_BYTES - 1) / PAGE_BYTES);
    if (page_end > c->page_count) {
        c->pages = must(reallocarray(c->pages, page_end, sizeof *c->pages));
        memset(c->pages + c->page_count, 0, (page_end - c->page_count) * sizeof *c->pages);
        c->page_count = page_end;
    }
    while (len > 0) {
        size_t page = (size_t)(offset / PAGE_BYTES);
        size_t at = (size_t)(offset % PAGE_BYTES);
        size_t n = len < PAGE_BYTES - at ? len : PAGE_BYTES - at;
        if (c->pages[page] == NULL) {
            c->pages[page] = must(calloc(1, PAGE_BYTES));
        }
        memcpy(c->pages[page] + at, data, n);
        offset += n;
        data += n;
        len -= n;
    }
    c->size = c->size > end ? c->size : end;
}

static size_t content_read(const struct content *c, uint64_t offset, uint8_t *data, size_t len)
{
    if (offset >= c->size) {
        return 0;
    }
    size_t all = len < c->size - offset ? len : (size_t)(c->size - offset);
    for (size_t done = 0; done < all;) {
        size_t page = (size_t)((offset + done) / PAGE_BYTES);
        size_t at = (size_t)((offset + done) % PAGE_BYTES);
        size_t n = all - done < PAGE_BYTES - at ? all - done : PAGE_BYTES - at;
        if (page < c->page_count && c->pages[page] != NULL) {
            memcpy(data + done, c->pages[page] + at, n);
        } else {
            memset(data + done, 0, n);
        }
        done += n;
    }
    return all;
}

static void content_truncate(struct content *c, uint64_t size)
{
    size_t keep = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
    for (size_t i = keep; i < c->page_count; i++) {
        free(c->pages[i]);
    }
    c->page_count = keep < c->page_count ? keep : c->page_count;
    size_t at = (size_t)(size % PAGE_BYTES);
    if (at > 0 && keep > 0 && keep == c->page_count && c->pages[keep - 1] != NULL) {
        memset(c->pages[keep - 1] + at, 0, PAGE_BYTES - at);
    }
    c->size = size;
    c->allocated = c->allocated < size ? c->allocated : size;
}

static void content_allocate(struct content *c, uint64_t size)
{
    c->size = c->size > size ? c->size : size;
    c->allocated = c->allocated > size ? c->allocated : size;
}

static void content_fini(struct content *c)
{
    for (size_t i = 0; i < c->page_count; i++) {
        free(c->pages[i]);
    }
    free(c->pages);
    *c = (struct content){0};
}

static void content_copy(struct content *to, const struct content *from)
{
    content_fini(to);
    if (from->page_count > 0) {
        to->pages = must(calloc(from->page_count, sizeof *to->pages));
        to->page_count = from->page_count;
    }
    for (size_t i = 0; i < from->page_count; i++) {
        if (from->pages[i] != NULL) {
            to->pages[i] = must(malloc(PAGE_BYTES));
            memcpy(to->pages[i], from->pages[i], PAGE_BYTES);
        }
    }
    to->size = from->size;
    to->allocated = from->allocated;
}

static bool page_charged(const struct content *c, uint64_t page)
{
    return page * PAGE_BYTES < c->allocated || (page < c->page_count && c->pages[page] != NULL);
}

static uint64_t content_used(const struct content *c)
{
    uint64_t used = (c->allocated + PAGE_BYTES - 1) / PAGE_BYTES;
    for (size_t i = (size_t)used; i < c->page_count; i++) {
        used += c->pages[i] != NULL;
    }
    return used * PAGE_BYTES;
}

/* Names. */

/* The place of NAME, or where it belongs. */
static size_t names_find(const struct names *n, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = n->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(n->entries[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = false;
    return low;
}

static void names_set(struct names *n, const char *name, unsigned node)
{
    bool found;
    size_t i = names_find(n, name, &found);
    if (!found) {
        n->entries = must(reallocarray(n->entries, n->count + 1, sizeof *n->entries));
        memmove(n->entries + i + 1, n->entries + i, (n->count - i) * sizeof *n->entries);
        n->entries[i].name = must(strdup(name));
        n->count++;
    }
    n->entries[i].node = node;
}

static void names_remove(struct names *n, const char *name)
{
    bool found;
    size_t i = names_find(n, name, &found);
    if (found) {
        free(n->entries[i].name);
        n->count--;
        memmove(n->entries + i, n->entries + i + 1, (n->count - i) * sizeof *n->entries);
    }
}

static void names_fini(struct names *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->entries[i].name);
    }
    free(n->entries);
    *n = (struct names){0};
}

static void names_copy(struct names *to, const struct names *from)
{
    names_fini(to);
    for (size_t i = 0; i < from->count; i++) {
        names_set(to, from->entries[i].name, from->entries[i].node);
    }
}

/* Operations. */

static void state_apply(struct state *s, const struct disk_op *op)
{
    bool found;
    switch (op->kind) {
    case DISK_LINK:
        names_set(&s->names, op->name, op->target);
        break;
    case DISK_UNLINK:
        names_remove(&s->names, op->name);
        break;
    case DISK_RENAME: {
        size_t i = names_find(&s->names, op->name, &found);
        if (found) {
            unsigned node = s->names.entries[i].node;
            names_remove(&s->names, op->name);
            names_set(&s->names, op->to_name, node);
        }
        break;
    }
    case DISK_WRITE:
        content_write(&s->content, op->offset, op->data, op->len);
        break;
    case DISK_TRUNCATE:
        content_truncate(&s->content, op->offset);
        break;
    case DISK_ALLOCATE:
        content_allocate(&s->content, op->offset);
        break;
    case DISK_SYNC:
    case DISK_SYNC_FAILED:
        break;
    }
}

static unsigned node_add(struct disk *disk, bool is_dir)
{
    bool room = ARRAY_MAKE_ROOM(disk->nodes, disk->node_count, disk->node_cap, 16);
    ASSERT(room);
    disk->nodes[disk->node_count] = (struct node){.is_dir = is_dir};
    return disk->node_count++;
}

static void add_pending(struct disk *disk, struct node *node, const struct disk_op *op)
{
    bool room = ARRAY_MAKE_ROOM(node->pending, node->pending_count, node->pending_cap, 16);
    ASSERT(room);
    node->pending[node->pending_count++] = (struct pending){.op = op, .seq = disk->seq};
}

static void release(const struct disk *disk, const struct disk_op *op)
{
    if (disk->release != NULL) {
        disk->release(op);
    }
}

static void sync_node(struct disk *disk, struct node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->pending_count; i++) {
        /* Names change in order: what follows a poisoned change is as uncertain. */
        if (node->pending[i].poisoned || (node->is_dir && kept > 0)) {
            node->pending[kept++] = node->pending[i];
        } else {
            state_apply(&node->durable, node->pending[i].op);
            release(disk, node->pending[i].op);
        }
    }
    node->pending_count = kept;
}

void disk_apply(struct disk *disk, const struct disk_op *op)
{
    ASSERT(op->node < disk->node_count);
    disk->seq++;
    if (op->kind == DISK_LINK && op->target == disk->node_count) {
        node_add(disk, op->target_is_dir);
    }
    struct node *node = &disk->nodes[op->node];
    if (op->kind == DISK_SYNC) {
        sync_node(disk, node);
        release(disk, op);
    } else if (op->kind == DISK_SYNC_FAILED) {
        for (size_t i = 0; i < node->pending_count; i++) {
            node->pending[i].poisoned = true;
        }
        release(disk, op);
    } else {
        state_apply(&node->seen, op);
        add_pending(disk, node, op);
    }
}

/* Crashes. */

struct chance {
    uint64_t state;
    bool in_order; /* operations before cut_seq, the one there torn; else each by itself */
    uint64_t cut_seq;
    unsigned keep_of_16; /* how many of 16 operations, and of 16 sectors, are kept */
};

static uint64_t chance_next(struct chance *chance)
{
    chance->state += 0x9e3779b97f4a7c15u;
    return mix64(chance->state);
}

static bool chance_keep(struct chance *chance)
{
    return chance_next(chance) % 16 < chance->keep_of_16;
}

static struct chance chance_of(uint64_t seed, uint64_t seq_min, uint64_t seq_max)
{
    static const unsigned keep[] = {1, 8, 15};
    struct chance chance = {.state = seed};
    if (seed == 0 || seed == 1) {
        chance.in_order = true;
        chance.cut_seq = seed == 0 ? 0 : UINT64_MAX;
        return chance;
    }
    chance.in_order = chance_next(&chance) % 2 == 0;
    chance.cut_seq = seq_min + chance_next(&chance) % (seq_max - seq_min + 1);
    chance.keep_of_16 = keep[chance_next(&chance) % 3];
    return chance;
}

/* Some of a write's sectors; the file's new length with or without them. */
static void keep_sectors(struct content *c, const struct disk_op *op, struct chance *chance)
{
    for (size_t at = 0; at < op->len;) {
        size_t n = SECTOR_BYTES - (size_t)((op->offset + at) % SECTOR_BYTES);
        n = n < op->len - at ? n : op->len - at;
        if (chance_keep(chance)) {
            content_write(c, op->offset + at, op->data + at, n);
        }
        at += n;
    }
    uint64_t end = op->offset + op->len;
    if (end > c->size && chance_keep(chance)) {
        c->size = end;
    }
}

static void crash_file(struct node *node, struct chance *chance)
{
    for (size_t i = 0; i < node->pending_count; i++) {
        const struct pending *p = &node->pending[i];
        struct content *c = &node->durable.content;
        if (!chance->in_order) {
            if (p->op->kind == DISK_WRITE) {
                keep_sectors(c, p->op, chance);
            } else if (chance_keep(chance)) {
                state_apply(&node->durable, p->op);
            }
        } else if (p->seq < chance->cut_seq) {
            state_apply(&node->durable, p->op);
        } else if (p->seq == chance->cut_seq && p->op->kind == DISK_WRITE && p->op->len > 0) {
            content_write(c, p->op->offset, p->op->data,
                          (size_t)(chance_next(chance) % p->op->len));
        }
    }
}

static void crash_dir(struct node *node, struct chance *chance)
{
    for (size_t i = 0; i < node->pending_count; i++) {
        const struct pending *p = &node->pending[i];
        if (chance->in_order ? p->seq >= chance->cut_seq : !chance_keep(chance)) {
            return;
        }
        state_apply(&node->durable, p->op);
    }
}

static const struct names *names_of(const struct node *node, bool durable)
{
    return durable ? &node->durable.names : &node->seen.names;
}

/* Which nodes the names lead to; the caller frees. */
static bool *reachable(const struct disk *disk, bool durable)
{
    bool *reached = must(calloc(disk->node_count, sizeof *reached));
    reached[DISK_ROOT] = true;
    /* A directory's number is below those of what it holds, so one pass in order finds all; but for
     * renames from one directory to another, for which there is the next pass. */
    for (bool more = true; more;) {
        more = false;
        for (unsigned d = 0; d < disk->node_count; d++) {
            const struct names *names = names_of(&disk->nodes[d], durable);
            for (size_t i = 0; reached[d] && i < names->count; i++) {
                more |= !reached[names->entries[i].node];
                reached[names->entries[i].node] = true;
            }
        }
    }
    return reached;
}

static void forget_unreachable(struct disk *disk)
{
    bool *reached = reachable(disk, true);
    for (unsigned n = 0; n < disk->node_count; n++) {
        struct node *node = &disk->nodes[n];
        if (!reached[n]) {
            content_fini(&node->durable.content);
            names_fini(&node->durable.names);
            content_fini(&node->seen.content);
            names_fini(&node->seen.names);
        }
    }
    free(reached);
}

static void drop_pending(struct disk *disk, struct node *node)
{
    for (size_t i = 0; i < node->pending_count; i++) {
        release(disk, node->pending[i].op);
    }
    node->pending_count = 0;
}

void disk_crash(struct disk *disk, uint64_t seed)
{
    uint64_t seq_min = disk->seq;
    for (unsigned n = 0; n < disk->node_count; n++) {
        if (disk->nodes[n].pending_count > 0 && disk->nodes[n].pending[0].seq < seq_min) {
            seq_min = disk->nodes[n].pending[0].seq;
        }
    }
    struct chance chance = chance_of(seed, seq_min, disk->seq);
    for (unsigned n = 0; n < disk->node_count; n++) {
        struct node *node = &disk->nodes[n];
        if (node->pending_count == 0) {
            continue; /* seen and durable are the same */
        }
        if (node->is_dir) {
            crash_dir(node, &chance);
        } else {
            crash_file(node, &chance);
        }
        drop_pending(disk, node);
        content_copy(&node->seen.content, &node->durable.content);
        names_copy(&node->seen.names, &node->durable.names);
    }
    forget_unreachable(disk);
}

/* Making, copying, looking. */

struct disk *disk_new(void)
{
    struct disk *disk = must(calloc(1, sizeof *disk));
    node_add(disk, true);
    return disk;
}

void disk_free(struct disk *disk)
{
    if (disk == NULL) {
        return;
    }
    for (unsigned n = 0; n < disk->node_count; n++) {
        struct node *node = &disk->nodes[n];
        content_fini(&node->seen.content);
        content_fini(&node->durable.content);
        names_fini(&node->seen.names);
        names_fini(&node->durable.names);
        drop_pending(disk, node);
        free(node->pending);
    }
    free(disk->nodes);
    free(disk);
}

struct disk *disk_copy(const struct disk *disk)
{
    struct disk *copy = must(calloc(1, sizeof *copy));
    for (unsigned n = 0; n < disk->node_count; n++) {
        const struct node *from = &disk->nodes[n];
        unsigned added = node_add(copy, from->is_dir);
        struct node *to = &copy->nodes[added];
        content_copy(&to->durable.content, &from->durable.content);
        names_copy(&to->durable.names, &from->durable.names);
        content_copy(&to->seen.content, &from->durable.content);
        names_copy(&to->seen.names, &from->durable.names);
    }
    return copy;
}

void disk_on_release(struct disk *disk, void (*fn)(const struct disk_op *op))
{
    disk->release = fn;
}

static void content_flip(struct content *c, uint64_t offset, uint8_t mask)
{
    uint8_t byte;
    if (content_read(c, offset, &byte, 1) == 1) {
        byte ^= mask;
        content_write(c, offset, &byte, 1);
    }
}

void disk_flip(struct disk *disk, unsigned node, uint64_t offset, uint8_t mask)
{
    content_flip(&disk->nodes[node].seen.content, offset, mask);
    content_flip(&disk->nodes[node].durable.content, offset, mask);
}

unsigned disk_lookup(const struct disk *disk, unsigned dir, const char *name)
{
    const struct names *names = &disk->nodes[dir].seen.names;
    bool found;
    size_t i = names_find(names, name, &found);
    return found ? names->entries[i].node : DISK_NONE;
}

bool disk_is_dir(const struct disk *disk, unsigned node)
{
    return disk->nodes[node].is_dir;
}

unsigned disk_next_node(const struct disk *disk)
{
    return disk->node_count;
}

uint64_t disk_size(const struct disk *disk, unsigned node)
{
    return disk->nodes[node].seen.content.size;
}

size_t disk_read(const struct disk *disk, unsigned node, uint64_t offset, void *data, size_t len)
{
    return content_read(&disk->nodes[node].seen.content, offset, data, len);
}

size_t disk_name_count(const struct disk *disk, unsigned dir)
{
    return disk->nodes[dir].seen.names.count;
}

const char *disk_name(const struct disk *disk, unsigned dir, size_t i)
{
    return disk->nodes[dir].seen.names.entries[i].name;
}

uint64_t disk_used_bytes(const struct disk *disk)
{
    bool *reached = reachable(disk, false);
    uint64_t used = 0;
    for (unsigned n = 0; n < disk->node_count; n++) {
        used += reached[n] ? content_used(&disk->nodes[n].seen.content) : 0;
    }
    free(reached);
    return used;
}

uint64_t disk_bytes_needed(const struct disk *disk, unsigned node, uint64_t offset, uint64_t len)
{
    const struct content *c = &disk->nodes[node].seen.content;
    uint64_t needed = 0;
    for (uint64_t page = offset / PAGE_BYTES; page * PAGE_BYTES < offset + len; page++) {
        needed += !page_charged(c, page);
    }
    return needed * PAGE_BYTES;
}
