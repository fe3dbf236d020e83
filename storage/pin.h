/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_PIN_H
#define STORAGE_PIN_H

#include "storage/backend.h"

struct store;

/* While held, neither index nor disk forget what can be seen at the compacted revision of its
 * beginning, or later. */
struct store_pin {
    struct backend_pin backend;
    struct queue link;
    int64_t compacted_revision;
};
void store_pin(struct store *store, struct store_pin *pin);
void store_unpin(struct store *store, struct store_pin *pin);

#endif
