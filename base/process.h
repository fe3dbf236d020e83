/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/metrics.h"

/* What every program of etcd's kind tells of its process, under the names that dashboards know:
 * memory, processor time, descriptors, and since when it runs (STARTED_MS: wall clock). */
void process_register(struct metrics *metrics, uint64_t started_ms);

#endif
