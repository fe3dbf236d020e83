/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_GENSTORE_H
#define TESTS_HISTORY_GENSTORE_H

#include "tests/history/history.h"
#include "tests/history/numtable.h"

/* The store of the generator: every version of every key, plainly. */
struct genversion {
    int64_t revision;
    uint32_t value; /* HISTORY_NONE: deleted */
    int64_t create_revision;
    int64_t version;
};

struct genkey {
    uint32_t symbol;
    struct buf versions; /* struct genversion each */
};

struct genchange {
    int64_t revision;
    uint32_t key;     /* its place in `keys` */
    uint32_t version; /* its place in the key's versions */
};

/* A list or set, what was appended or added to it, and when. */
struct genowner {
    struct buf elements; /* struct genelement each */
};

struct genelement {
    uint32_t element;
    int64_t revision;
};

struct genstore {
    int64_t revision;
    struct numtable places; /* symbol -> place in `keys` */
    struct buf keys;        /* struct genkey each */
    struct buf changes;     /* struct genchange each */
    struct numtable owner_places;
    struct buf owners; /* struct genowner each */
    bool changed;      /* since genstore_begin */
};

void genstore_init(struct genstore *s);
void genstore_fini(struct genstore *s);

/* What is written between these has one revision, s->revision + 1, if anything is. */
void genstore_begin(struct genstore *s);
void genstore_put(struct genstore *s, uint32_t key, uint32_t value);
bool genstore_delete(struct genstore *s, uint32_t key); /* false: there is none */
void genstore_element(struct genstore *s, uint32_t owner, uint32_t element);
void genstore_commit(struct genstore *s);

/* The version of KEY at REVISION, or NULL when it is not there. */
const struct genversion *genstore_at(const struct genstore *s, uint32_t key, int64_t revision);
/* The elements of OWNER at REVISION, appended to RET. */
void genstore_elements(const struct genstore *s, uint32_t owner, int64_t revision, struct buf *ret);
const struct genkey *genstore_key(const struct genstore *s, uint32_t place);
size_t genstore_key_count(const struct genstore *s);

#endif
