/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HISTORY_CYCLEGRAPH_H
#define TESTS_HISTORY_CYCLEGRAPH_H

#include "base/bytes.h"
#include "base/err.h"

/* Who must be before whom, and why. */
#define EDGE_WW 1u /* he wrote what she wrote over */
#define EDGE_WR 2u /* he wrote what she read */
#define EDGE_RW 4u /* he read what she wrote over */
#define EDGE_RT 8u /* he had ended before she began */

struct cyclegraph {
    uint32_t nodes;
    struct buf edges; /* struct edge each */
    uint32_t *starts; /* for each node, of its edges, once built */
    uint32_t *targets;
    uint8_t *kinds;
    uint32_t *component; /* for each node: of the last cyclegraph_components */
};

void cyclegraph_add(struct cyclegraph *g, uint32_t from, uint32_t to, uint8_t kind);
uint64_t cyclegraph_edges(const struct cyclegraph *g); /* how many */
/* When all edges are there. false: no memory. */
bool cyclegraph_build(struct cyclegraph *g, uint32_t nodes);
void cyclegraph_fini(struct cyclegraph *g);

/* Put nodes that reach each other over edges of MASK into one component; how many components have
 * more than one node. false: no memory. */
bool cyclegraph_components(struct cyclegraph *g, uint8_t mask, uint32_t *ret_cyclic);

/* The way from FROM to TO within their component over edges of MASK with the fewest RW edges; the
 * nodes after FROM, TO the last, and how each was reached. False: there is none. */
struct cyclestep {
    uint32_t node;
    uint8_t kind;
};
bool cyclegraph_way(const struct cyclegraph *g, uint32_t from, uint32_t to, uint8_t mask,
                    struct buf *ret_steps, bool *no_memory);

#endif
