/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/world/worldshrink.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define FAULTS_MS_MIN 200

static bool fails_too(const struct world_options *options, const char *checker)
{
    struct worldrun_outcome outcome;
    worldrun_one(options, true, &outcome);
    return !outcome.is_good && strcmp(outcome.checker, checker) == 0;
}

static bool is_over(time_t end)
{
    return time(NULL) >= end;
}

/* Without one kind after the other. */
static bool drop_kinds(struct world_options *best, const char *checker, time_t end)
{
    bool smaller = false;
    for (int fault = 0; fault < FAULT_COUNT && !is_over(end); fault++) {
        struct world_options next = *best;
        next.fault_mask &= ~(1ull << fault);
        if (next.fault_mask != best->fault_mask && fails_too(&next, checker)) {
            *best = next;
            smaller = true;
        }
    }
    return smaller;
}

static void end_earlier(struct world_options *best, uint64_t at_ms, const char *checker, time_t end)
{
    if (at_ms < best->faults_ms) {
        best->faults_ms = at_ms + 1; /* nothing after it has happened */
    }
    while (best->faults_ms > FAULTS_MS_MIN && !is_over(end)) {
        struct world_options next = *best;
        next.faults_ms = best->faults_ms * 3 / 4;
        if (!fails_too(&next, checker)) {
            return;
        }
        *best = next;
    }
}

struct world_options worldshrink(const struct world_options *options,
                                 const struct worldrun_outcome *outcome, unsigned seconds)
{
    time_t end = time(NULL) + seconds;
    struct world_options best = *options;
    best.seed = outcome->seed;
    best.members = outcome->places;
    best.fault_mask = outcome->faults;
    best.history_path = NULL;
    best.verbose = false;
    best.logs = false;
    end_earlier(&best, outcome->at_ms, outcome->checker, end);
    while (drop_kinds(&best, outcome->checker, end) && !is_over(end)) {
    }
    end_earlier(&best, best.faults_ms, outcome->checker, end);
    return best;
}

void worldshrink_print(const struct world_options *options)
{
    const char *separator = "";
    printf("--seed %" PRIu64 " --faults-ms %" PRIu64 " --recovery-ms %" PRIu64, options->seed,
           options->faults_ms, options->recovery_ms);
    if (options->members != 0) {
        printf(" --members %u", options->members);
    }
    printf(" --faults ");
    for (int fault = 0; fault < FAULT_COUNT; fault++) {
        if ((options->fault_mask >> fault & 1) != 0) {
            printf("%s%s", separator, world_fault_names[fault]);
            separator = ",";
        }
    }
    printf("%s%s\n", options->fault_mask == 0 ? "none" : "", options->no_sync ? " --no-sync" : "");
}
