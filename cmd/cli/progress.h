/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CLI_PROGRESS_H
#define CMD_CLI_PROGRESS_H

#include "base/bytes.h"

/* How far something has come that takes long, on one line of a terminal:
 *
 *   saving [##########..........]  52 %  158.1 MB of 301.4 MB  231.0 MB/s  1 s left
 *
 * The caller says when it is. All zero but `what` is a beginning. */
struct progress {
    const char *what;
    const char *unit; /* NULL: bytes */
    uint64_t began_ms;
    uint64_t shown_ms;
    bool begun;
};

#define PROGRESS_LINE_SIZE 160

/* The line for now; false when the last one is younger than 100 ms. */
bool progress_line(struct progress *progress, uint64_t now_ms, uint64_t done, uint64_t total,
                   char ret[PROGRESS_LINE_SIZE]);

/* Bytes for people, as etcd writes them: "25 kB", "1.2 GB". */
#define SIZE_TEXT_SIZE 32
void size_text(uint64_t bytes, char ret[SIZE_TEXT_SIZE]);

/* Go's way: "85ms", "1.5s", "2m3s". */
void duration_text(uint64_t ms, char ret[SIZE_TEXT_SIZE]);

#endif
