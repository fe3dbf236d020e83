/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_WGL_H
#define TESTS_HISTORY_WGL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The search of Wing and Gong (1993) for an order of operations that explains what they returned,
 * with Lowe's memory of where it has been (2017). It knows nothing of stores or revisions: cells
 * with numbers in them, and operations of a few steps. */
struct wgl;

#define WGL_ABSENT 0u /* what a cell has at first */
#define WGL_NONE   UINT32_MAX
#define WGL_NEVER  UINT32_MAX

enum wgl_kind { WGL_READ, WGL_WRITE, WGL_APPEND };

struct wgl_step {
    enum wgl_kind kind;
    bool differs; /* READ: the cell has another value than this */
    uint32_t cell;
    uint64_t value;
};

enum wgl_verdict { WGL_POSSIBLE, WGL_IMPOSSIBLE, WGL_TOO_LARGE, WGL_NO_MEMORY };

/* At most OPS_MAX operations; the search gives up after STATES_MAX states. NULL: no memory. */
struct wgl *wgl_new(uint32_t cells, size_t ops_max, uint64_t states_max);
void wgl_free(struct wgl *wgl); /* NULL allowed */

/* In the order of BEGIN. END of WGL_NEVER: it may take effect at any time after, or never. NUMBER
 * is the caller's. false: no memory. */
bool wgl_add(struct wgl *wgl, uint32_t number, uint32_t begin, uint32_t end,
             const struct wgl_step *steps, uint32_t step_count);
enum wgl_verdict wgl_search(struct wgl *wgl);

/* After IMPOSSIBLE: how many operations had an order at best, and the first that then had to be
 * next and could not, with the last before it; WGL_NONE: there is none. */
uint32_t wgl_longest(const struct wgl *wgl, uint32_t ret_stuck[2]);

/* What APPEND makes of a value. */
uint64_t wgl_append(uint64_t value, uint64_t element);

#endif
