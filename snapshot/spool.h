/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAPSHOT_SPOOL_H
#define SNAPSHOT_SPOOL_H

#include "base/env.h"
#include "base/fs.h"
#include "storage/store.h"

/* Backups of a running member's store, handed out in pieces as fast as somebody takes them:
 *
 *   spool_start ─▶ copy of the store in a file beside it, which is removed once it is open  copy
 *                  │                                                                        thread
 *   spool_read  ─▶ piece, piece, ... , SHA-256 of them all                                  spool
 *                                                                                           thread
 *   spool_end   ─▶ the file is gone
 *
 * So who takes them slowly holds up nobody, and costs a file and one piece of memory. The file has
 * no name while it is read: a crash leaves nothing, and one in the moment of copying leaves a file
 * that the next spool_new removes.
 *
 * A piece is at most SPOOL_PIECE_BYTES. The first tells SQLite to expect no WAL, so that what was
 * copied can be opened anywhere, and where nobody may write; nothing else differs from the store's
 * own file. Everything on the loop. */
#define SPOOL_PIECE_BYTES (256u * 1024)

struct spool;
struct spool_file;

struct spool_config {
    struct env *env;
    struct fs *fs;
    struct store *store;
    const char *path;     /* of the store's file: copies lie beside it */
    unsigned copies_max;  /* at once */
    uint64_t spare_bytes; /* a copy must leave so much room on the disk */
};

MUST_CHECK enum err spool_new(const struct spool_config *config, struct spool **ret);
/* When the store is closed. Blocks until what is being read is; all copies must be ended, or be
 * ended by callbacks that this runs. NULL allowed. */
void spool_free(struct spool *spool);

/* One copy; embedded in its owner. While something is under way the owner keeps it and waits for
 * cb. */
struct spool_copy {
    uint64_t left_bytes; /* of the database, behind the piece */
    struct blob *piece;  /* the newest; the copy's, until the next call */
    bool is_last;        /* it is the digest */
    struct spool_file *file;
    void (*cb)(struct spool_copy *copy, enum err status);
};

/* Make the copy, of all that is applied and committed now. An error, and cb does not come:
 * ERR_TOO_MANY_REQUESTS; ERR_NO_SPACE; ERR_NOMEM. After OK it comes once, later, and spool_end must
 * follow in the end whatever it says. */
MUST_CHECK enum err spool_start(struct spool *spool, struct spool_copy *copy,
                                void (*cb)(struct spool_copy *copy, enum err status));
/* The next piece. Not after an error, nor after the last. cb comes once, later. */
void spool_read(struct spool_copy *copy, void (*cb)(struct spool_copy *copy, enum err status));
/* Not while something is under way. */
void spool_end(struct spool_copy *copy);

#endif
