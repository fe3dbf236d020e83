/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAFT_RAFTHEAP_H
#define RAFT_RAFTHEAP_H

#include <stddef.h>

/* MEMORY, or fatal when it is NULL: the core cannot go on without, so that nobody here tries to. */
void *raftheap_must(void *memory);

/* Give the core (all of them, in this process) an allocator that does the same, and whose memory is
 * zero at first. */
void raftheap_set(void);

/* Memory that the core may free, and that the caller fills at once: what is in it until then is
 * anything. */
void *raftheap_alloc(size_t size);

#endif
