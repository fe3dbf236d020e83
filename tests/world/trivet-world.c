/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/lib/plantoption.h"
#include "tests/lib/simoption.h"
#include "tests/world/worldshrink.h"

#define SHRINK_SECONDS 60

/* Simulates clusters of whole members: runs seeds, says which fail and how, and what happened in
 * all of them. */
struct total {
    uint64_t good;
    uint64_t bad;
    struct world_stats sums;
    uint64_t recovery_ms_max;
    bool tap;
    struct timespec began;
    struct worldrun_outcome first_bad;
};

static const char usage_text[] =
    "usage: trivet-world [OPTION...]\n"
    "  --seed N          the first seed (1)\n"
    "  --seeds COUNT     how many (1)\n"
    "  --minutes M       as many as begin within so many minutes\n"
    "  --members M       members, 1 to 7 (0: each seed chooses)\n"
    "  --faults LIST     only these, by name; \"all\", \"none\"; \"-NAME\" leaves one out (all)\n"
    "  --faults-ms MS    how long faults come (20000)\n"
    "  --recovery-ms MS  how long recovery may take, the end of a replacement included (20000)\n"
    "  --jobs N          seeds at a time (1 for each core)\n"
    "  --show N          tell what happened for the first N that fail (1)\n"
    "  --trace           tell everything that happens\n"
    "  --logs            the members' own lines as well\n"
    "  --history FILE    what clients saw, when it was wrong\n"
    "  --no-shrink       do not look for a smaller run that fails as the first one did\n"
    "  --no-sync         members do not sync their logs: what loses power loses writes\n"
    "  --plant NAME      with this fault (base/plant.h), or: list\n"
    "  --twice           run each seed twice and compare\n"
    "  --tap             print a line of TAP for each seed\n"
    "faults:";

/* Of all seeds that have ended, which are processes. */
static double processor_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void add(struct world_stats *sums, const struct world_stats *stats)
{
    sums->events += stats->events;
    sums->frames += stats->frames;
    sums->entries += stats->entries;
    sums->ops += stats->ops;
    sums->unknown += stats->unknown;
    sums->refused += stats->refused;
    sums->watched += stats->watched;
    sums->lives += stats->lives;
    sums->states += stats->states;
    sums->disk_ops += stats->disk_ops;
    for (int i = 0; i < FAULT_COUNT; i++) {
        sums->faults[i] += stats->faults[i];
    }
    sums->simulated_ms += stats->simulated_ms;
    sums->recovery_ms += stats->recovery_ms;
    if (stats->memory_max > sums->memory_max) {
        sums->memory_max = stats->memory_max;
    }
}

static void on_done(void *ctx, const struct worldrun_outcome *outcome)
{
    struct total *total = ctx;
    if (outcome->is_good) {
        total->good++;
        add(&total->sums, &outcome->stats);
        /* A sum, as seeds end in no order. */
        total->sums.hash += mix64(outcome->stats.hash ^ outcome->seed);
        if (outcome->stats.recovery_ms > total->recovery_ms_max) {
            total->recovery_ms_max = outcome->stats.recovery_ms;
        }
    } else {
        if (total->bad++ == 0) {
            total->first_bad = *outcome;
        }
    }
    if (total->tap) {
        printf("%s %" PRIu64 " - seed %" PRIu64 "%s%s\n", outcome->is_good ? "ok" : "not ok",
               total->good + total->bad, outcome->seed, outcome->is_good ? "" : " # ",
               outcome->checker);
    } else if (!outcome->is_good) {
        printf("seed %" PRIu64 ": %s: %s\n", outcome->seed, outcome->checker, outcome->message);
    }
    fflush(stdout);
}

static void print_total(const struct total *total)
{
    const struct world_stats *sums = &total->sums;
    const char *mark = total->tap ? "# " : "";
    uint64_t good = total->good > 0 ? total->good : 1;
    double seconds = simoption_seconds_since(&total->began);
    double simulated = (double)sums->simulated_ms / 1000;
    printf("%sseeds %" PRIu64 ": good %" PRIu64 ", bad %" PRIu64 "\n", mark,
           total->good + total->bad, total->good, total->bad);
    double busy = processor_seconds();
    printf("%ssimulated %.2f h in %.1f s, %.1f s of a processor: %.0f times real time of one\n",
           mark, simulated / 3600, seconds, busy, simulated / busy);
    printf("%soperations: %" PRIu64 " acknowledged, %" PRIu64 " unknown, %" PRIu64
           " refused; watch events %" PRIu64 "\n",
           mark, sums->ops, sums->unknown, sums->refused, sums->watched);
    printf("%sevents %" PRIu64 ", frames %" PRIu64 ", entries applied %" PRIu64
           ", operations of disks %" PRIu64 ", lives %" PRIu64 "\n",
           mark, sums->events, sums->frames, sums->entries, sums->disk_ops, sums->lives);
    printf("%sfaults:", mark);
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (sums->faults[i] > 0) {
            printf(" %s %" PRIu64, world_fault_names[i], sums->faults[i]);
        }
    }
    printf("\n%srecovery: mean %" PRIu64 " ms, longest %" PRIu64 " ms\n", mark,
           sums->recovery_ms / good, total->recovery_ms_max);
    printf("%smemory: %" PRIu64 " MiB at most\n", mark, sums->memory_max >> 20);
    printf("%strace hash %016" PRIx64 "\n", mark, sums->hash);
}

static void print_usage(FILE *to)
{
    fputs(usage_text, to);
    for (int i = 0; i < FAULT_COUNT; i++) {
        fprintf(to, " %s", world_fault_names[i]);
    }
    fputc('\n', to);
}

static uint64_t fault_bits(const char *name)
{
    if (strcmp(name, "all") == 0) {
        return WORLD_FAULT_ALL;
    }
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (strcmp(name, world_fault_names[i]) == 0) {
            return 1ull << i;
        }
    }
    return 0;
}

static bool parse_faults(char *list, uint64_t *ret)
{
    uint64_t mask = list[0] == '-' ? WORLD_FAULT_ALL : 0;
    for (char *name = strtok(list, ","); name != NULL; name = strtok(NULL, ",")) {
        bool without = name[0] == '-';
        uint64_t bits = fault_bits(name + without);
        if (bits == 0 && strcmp(name, "none") != 0) {
            return false;
        }
        mask = without ? mask & ~bits : mask | bits;
    }
    *ret = mask;
    return true;
}

struct arguments {
    struct world_options world;
    uint64_t seeds;
    uint64_t minutes;
    uint64_t jobs;
    uint64_t shown;
    bool twice;
    bool tap;
    bool no_shrink;
};

static bool parse_flag(int option, struct arguments *ret)
{
    switch (option) {
    case 't':
        ret->world.verbose = true;
        return true;
    case 'l':
        ret->world.logs = true;
        return true;
    case '2':
        ret->twice = true;
        return true;
    case 'n':
        ret->no_shrink = true;
        return true;
    case 'y':
        ret->world.no_sync = true;
        return true;
    case 'T':
        ret->tap = true;
        return true;
    default:
        return false;
    }
}

static bool parse(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'S'},
        {"minutes", required_argument, NULL, 'M'},
        {"members", required_argument, NULL, 'm'},
        {"faults", required_argument, NULL, 'f'},
        {"faults-ms", required_argument, NULL, 'F'},
        {"recovery-ms", required_argument, NULL, 'R'},
        {"jobs", required_argument, NULL, 'j'},
        {"show", required_argument, NULL, 'w'},
        {"trace", no_argument, NULL, 't'},
        {"logs", no_argument, NULL, 'l'},
        {"history", required_argument, NULL, 'h'},
        {"no-shrink", no_argument, NULL, 'n'},
        {"no-sync", no_argument, NULL, 'y'},
        {"plant", required_argument, NULL, 'p'},
        {"twice", no_argument, NULL, '2'},
        {"tap", no_argument, NULL, 'T'},
        {0},
    };
    uint64_t members = 0;
    bool ok = true;
    int option;
    while (ok && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 's':
            ok = simoption_number(optarg, UINT64_MAX / 2, &ret->world.seed);
            break;
        case 'S':
            ok = simoption_number(optarg, UINT32_MAX, &ret->seeds);
            break;
        case 'M':
            ok = simoption_number(optarg, UINT16_MAX, &ret->minutes);
            break;
        case 'm':
            ok = simoption_number(optarg, WORLD_PLACES_MAX, &members);
            break;
        case 'f':
            ok = parse_faults(optarg, &ret->world.fault_mask);
            break;
        case 'F':
            ok = simoption_number(optarg, UINT32_MAX, &ret->world.faults_ms);
            break;
        case 'R':
            ok = simoption_number(optarg, UINT32_MAX, &ret->world.recovery_ms);
            break;
        case 'j':
            ok = simoption_number(optarg, 64, &ret->jobs) && ret->jobs > 0;
            break;
        case 'w':
            ok = simoption_number(optarg, UINT32_MAX, &ret->shown);
            break;
        case 'p':
            ok = plantoption_take(optarg);
            break;
        case 'h':
            ret->world.history_path = optarg;
            break;
        default:
            ok = parse_flag(option, ret);
            break;
        }
    }
    ret->world.members = (unsigned)members;
    return ok && optind == argc;
}

static void run_all(const struct arguments *arguments, bool tap, struct total *total)
{
    *total = (struct total){.tap = tap};
    clock_gettime(CLOCK_MONOTONIC, &total->began);
    struct worldrun_config config = {
        .options = arguments->world,
        .count = arguments->minutes != 0 ? UINT32_MAX : arguments->seeds,
        .seconds = arguments->minutes * 60,
        .jobs = (unsigned)arguments->jobs,
        .shown = arguments->shown,
        .done = on_done,
        .ctx = total,
    };
    worldrun_all(&config);
}

static void show_smallest(const struct arguments *arguments, const struct total *total)
{
    const struct worldrun_outcome *outcome = &total->first_bad;
    if (outcome->places == 0) {
        return; /* the process ended without a word */
    }
    printf("%sa smaller run that fails as seed %" PRIu64 " did: trivet-world ",
           total->tap ? "# " : "", outcome->seed);
    fflush(stdout);
    struct world_options smallest = worldshrink(&arguments->world, outcome, SHRINK_SECONDS);
    worldshrink_print(&smallest);
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct arguments arguments = {
        .world = {.seed = 1,
                  .fault_mask = WORLD_FAULT_ALL,
                  .faults_ms = 20000,
                  .recovery_ms = 20000},
        .seeds = 1,
        .jobs = cores > 0 ? (uint64_t)cores : 1,
        .shown = 1,
    };
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (!parse(argc, argv, &arguments)) {
        print_usage(stderr);
        return 2;
    }
    if (arguments.tap) {
        printf("1..%" PRIu64 "\n", arguments.seeds);
    }
    struct total total;
    run_all(&arguments, arguments.tap, &total);
    print_total(&total);
    bool good = total.bad == 0;
    if (!good && !arguments.no_shrink) {
        show_smallest(&arguments, &total);
    }
    if (arguments.twice) {
        struct total again;
        run_all(&arguments, false, &again);
        bool same = again.sums.hash == total.sums.hash;
        printf("%sthe second run was %s\n", total.tap ? "# " : "",
               same ? "the same" : "ANOTHER ONE");
        good = good && same;
    }
    return good ? 0 : 1;
}
