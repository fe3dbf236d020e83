/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_PROBE_H
#define API_PROBE_H

#include "api/http_private.h"

/* /livez and /readyz: what a kubelet asks to learn whether the member must be started again, and
 * whether it serves. */
struct probe {
    unsigned checks; /* a bit each */
    bool is_whole;   /* all checks of /livez or /readyz, not one: some may be left out */
    bool is_of_life;
};

/* False: PATH is none of theirs. */
bool probe_find(struct bytes path, struct probe *ret);
void probe_start(const struct probe *probe, const struct exchange *exchange);

#endif
