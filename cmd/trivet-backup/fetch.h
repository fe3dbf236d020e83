/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRIVET_BACKUP_FETCH_H
#define CMD_TRIVET_BACKUP_FETCH_H

#include "client/client.h"
#include "storage/dbfile.h"

/* One backup from a member that answers into a file: the endpoints are asked one after the other
 * until one of them has given a whole one. On the loop, and writes and reads the disk there: for a
 * tool that does nothing else. */
struct fetch;

struct fetch_config {
    struct env *env;
    struct client *client; /* a slot for each endpoint */
    struct fs *fs;
    const char *path;  /* the file; what was there is replaced when the new one is whole */
    uint64_t stall_ms; /* a member that sends nothing for so long is given up */
    void (*on_progress)(void *ctx, uint64_t done, uint64_t total); /* bytes; may be NULL */
    bool verify; /* whole is what backup_verify finds to be; else what its SHA-256 says */
    const struct dbfile_progress *verify_progress; /* may be NULL */
    /* Once, in a later turn, and the fetch is gone. */
    void (*on_done)(void *ctx, enum err status, const struct why *why);
    void *ctx;
};

struct fetch *fetch_start(const struct fetch_config *config);

/* What was fetched, inside on_done with OK. */
uint64_t fetch_bytes(const struct fetch *fetch);
uint64_t fetch_ms(const struct fetch *fetch);
const char *fetch_endpoint(const struct fetch *fetch);
const char *fetch_version(const struct fetch *fetch); /* of the member's storage; "" before 3.6 */

/* Inside on_done, whatever it says: how large it was to be by the last member that began to send;
 * 0: none did. */
uint64_t fetch_expected_bytes(const struct fetch *fetch);

/* End it now: on_done comes with ERR_CANCELLED, and nothing of it stays on the disk. */
void fetch_cancel(struct fetch *fetch);

#endif
