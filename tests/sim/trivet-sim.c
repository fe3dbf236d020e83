/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "raft/guard.h"
#include "tests/lib/plantoption.h"
#include "tests/lib/simoption.h"
#include "tests/sim/simrun.h"

/* The raft-layer simulator: runs seeds, says which fail and how, and a table at the end. */
struct total {
    uint64_t outcomes[SIM_OUTCOME_COUNT];
    struct sim_stats sums;
    uint64_t recovery_ms_max;
    bool tap;
    uint64_t number; /* of the case */
    struct timespec began;
};

static const char usage_text[] =
    "usage: trivet-sim [OPTION...]\n"
    "  --seed N          the first seed (1)\n"
    "  --seeds COUNT     how many (1)\n"
    "  --members M       members, 1 to 9 (3)\n"
    "  --churn           members are added, promoted, demoted and removed\n"
    "  --guard-off LIST  rules of the guard that are off, by number (raft/guard.h), or: all\n"
    "  --plant NAME      with this fault (base/plant.h), or: list\n"
    "  --no-reads        writes only\n"
    "  --losses          a crash may take the database of a member and leave its log\n"
    "  --no-states       the manifest is all that a member that fell behind needs\n"
    "  --head-start      elections after a start come early\n"
    "  --faults-ms MS    how long faults come (25000)\n"
    "  --recovery-ms MS  how long recovery may take (10000)\n"
    "  --jobs N          seeds at a time (1 for each core)\n"
    "  --show N          tell what happened for the first N that fail (3)\n"
    "  --trace           tell everything that happens\n"
    "  --twice           run each seed twice and compare\n"
    "  --tap             print a line of TAP for each seed\n";

static void on_done(void *ctx, uint64_t seed, enum sim_outcome outcome,
                    const struct sim_stats *stats)
{
    static const char *const names[] = {
        [SIM_GOOD] = "good",   [SIM_WRONG] = "wrong",     [SIM_STUCK] = "stuck",
        [SIM_FATAL] = "fatal", [SIM_CRASHED] = "crashed",
    };
    struct total *total = ctx;
    total->outcomes[outcome]++;
    total->number++;
    if (total->tap) {
        printf("%s %" PRIu64 " - seed %" PRIu64 " %s\n", outcome == SIM_GOOD ? "ok" : "not ok",
               total->number, seed, names[outcome]);
    } else if (outcome != SIM_GOOD) {
        printf("seed %" PRIu64 " %s\n", seed, names[outcome]);
    }
    fflush(stdout);
    if (stats == NULL) {
        return;
    }
    struct sim_stats *sums = &total->sums;
    sums->events += stats->events;
    sums->frames += stats->frames;
    sums->applied += stats->applied;
    sums->acked += stats->acked;
    sums->reads += stats->reads;
    sums->crashes += stats->crashes;
    sums->faults += stats->faults;
    sums->changes += stats->changes;
    sums->snapshots += stats->snapshots;
    sums->installs += stats->installs;
    sums->states += stats->states;
    sums->losses += stats->losses;
    sums->simulated_ms += stats->simulated_ms;
    sums->recovery_ms += stats->recovery_ms;
    /* A sum, as seeds end in no order. */
    sums->hash += mix64(stats->hash ^ seed);
    if (stats->recovery_ms > total->recovery_ms_max) {
        total->recovery_ms_max = stats->recovery_ms;
    }
}

static void print_total(const struct total *total, uint64_t seeds)
{
    const struct sim_stats *sums = &total->sums;
    const uint64_t *outcomes = total->outcomes;
    uint64_t good = outcomes[SIM_GOOD] > 0 ? outcomes[SIM_GOOD] : 1;
    double seconds = simoption_seconds_since(&total->began);
    const char *mark = total->tap ? "# " : "";
    printf("%sseeds %" PRIu64 ": good %" PRIu64 ", wrong %" PRIu64 ", fatal %" PRIu64
           ", crashed %" PRIu64 ", stuck %" PRIu64 "\n",
           mark, seeds, outcomes[SIM_GOOD], outcomes[SIM_WRONG], outcomes[SIM_FATAL],
           outcomes[SIM_CRASHED], outcomes[SIM_STUCK]);
    printf("%sper good seed: events %" PRIu64 ", frames %" PRIu64 ", applied %" PRIu64
           ", acknowledged %" PRIu64 ", reads %" PRIu64 ", faults %" PRIu64 ", crashes %" PRIu64
           ", changes %.1f, snapshots %" PRIu64
           ", installed %.1f, states %.1f, databases lost %.1f\n",
           mark, sums->events / good, sums->frames / good, sums->applied / good, sums->acked / good,
           sums->reads / good, sums->faults / good, sums->crashes / good,
           (double)sums->changes / (double)good, sums->snapshots / good,
           (double)sums->installs / (double)good, (double)sums->states / (double)good,
           (double)sums->losses / (double)good);
    printf("%srecovery: mean %" PRIu64 " ms, longest %" PRIu64 " ms\n", mark,
           sums->recovery_ms / good, total->recovery_ms_max);
    printf("%s%.1f s, %.1f seeds/s, %.0f times real time\n", mark, seconds, (double)seeds / seconds,
           (double)sums->simulated_ms / 1000 / seconds);
    printf("%strace hash %016" PRIx64 "\n", mark, sums->hash);
}

static bool parse_rules(char *list, struct sim_options *options)
{
    if (strcmp(list, "all") == 0) {
        options->unguarded = true;
        return true;
    }
    for (char *rule = strtok(list, ","); rule != NULL; rule = strtok(NULL, ",")) {
        uint64_t v;
        if (!simoption_number(*rule == 'G' ? rule + 1 : rule, GUARD_RULE_COUNT - 1, &v)) {
            return false;
        }
        options->guard_off_mask |= 1u << v;
    }
    return true;
}

struct arguments {
    struct sim_options sim;
    uint64_t seeds;
    uint64_t jobs;
    uint64_t shown;
    bool twice;
    bool tap;
};

static bool parse(int argc, char **argv, struct arguments *ret)
{
    enum {
        SEED = 1,
        SEEDS,
        MEMBERS,
        CHURN,
        OFF,
        FAULTS,
        RECOVERY,
        JOBS,
        SHOW,
        TRACE_ALL,
        TWICE,
        TAP,
        NO_READS,
        NO_STATES,
        LOSSES,
        HEAD_START,
        PLANT
    };
    static const struct option options[] = {
        {"seed", required_argument, NULL, SEED},
        {"seeds", required_argument, NULL, SEEDS},
        {"members", required_argument, NULL, MEMBERS},
        {"churn", no_argument, NULL, CHURN},
        {"guard-off", required_argument, NULL, OFF},
        {"faults-ms", required_argument, NULL, FAULTS},
        {"recovery-ms", required_argument, NULL, RECOVERY},
        {"jobs", required_argument, NULL, JOBS},
        {"show", required_argument, NULL, SHOW},
        {"trace", no_argument, NULL, TRACE_ALL},
        {"twice", no_argument, NULL, TWICE},
        {"tap", no_argument, NULL, TAP},
        {"no-reads", no_argument, NULL, NO_READS},
        {"no-states", no_argument, NULL, NO_STATES},
        {"losses", no_argument, NULL, LOSSES},
        {"head-start", no_argument, NULL, HEAD_START},
        {"plant", required_argument, NULL, PLANT},
        {0},
    };
    uint64_t members = 3;
    bool ok = true;
    int option;
    while (ok && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case SEED:
            ok = simoption_number(optarg, UINT64_MAX / 2, &ret->sim.seed);
            break;
        case SEEDS:
            ok = simoption_number(optarg, UINT32_MAX, &ret->seeds);
            break;
        case MEMBERS:
            ok = simoption_number(optarg, SIM_MEMBERS_MAX, &members) && members > 0;
            break;
        case CHURN:
            ret->sim.churn = true;
            break;
        case OFF:
            ok = parse_rules(optarg, &ret->sim);
            break;
        case FAULTS:
            ok = simoption_number(optarg, UINT32_MAX, &ret->sim.faults_ms);
            break;
        case RECOVERY:
            ok = simoption_number(optarg, UINT32_MAX, &ret->sim.recovery_ms);
            break;
        case JOBS:
            ok = simoption_number(optarg, 64, &ret->jobs) && ret->jobs > 0;
            break;
        case SHOW:
            ok = simoption_number(optarg, UINT32_MAX, &ret->shown);
            break;
        case TRACE_ALL:
            ret->sim.verbose = true;
            break;
        case TWICE:
            ret->twice = true;
            break;
        case NO_READS:
            ret->sim.reads = false;
            break;
        case NO_STATES:
            ret->sim.states = false;
            break;
        case LOSSES:
            ret->sim.losses = true;
            break;
        case HEAD_START:
            ret->sim.head_start = true;
            break;
        case TAP:
            ret->tap = true;
            break;
        case PLANT:
            ok = plantoption_take(optarg);
            break;
        default:
            ok = false;
            break;
        }
    }
    ret->sim.members = (unsigned)members;
    return ok && optind == argc;
}

static uint64_t run_all(const struct arguments *arguments, struct total *total)
{
    *total = (struct total){.tap = arguments->tap};
    clock_gettime(CLOCK_MONOTONIC, &total->began);
    struct simrun_config config = {
        .options = arguments->sim,
        .count = arguments->seeds,
        .jobs = (unsigned)arguments->jobs,
        .shown = arguments->shown,
        .done = on_done,
        .ctx = total,
    };
    simrun_all(&config);
    return total->sums.hash;
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct arguments arguments = {
        .sim = {.seed = 1, .reads = true, .states = true, .faults_ms = 25000, .recovery_ms = 10000},
        .seeds = 1,
        .jobs = cores > 0 ? (uint64_t)cores : 1,
        .shown = 3};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (!parse(argc, argv, &arguments)) {
        fputs(usage_text, stderr);
        return 2;
    }
    if (arguments.tap) {
        printf("1..%" PRIu64 "\n", arguments.seeds);
    }
    struct total total;
    uint64_t hash = run_all(&arguments, &total);
    print_total(&total, arguments.seeds);
    bool good = total.outcomes[SIM_GOOD] == arguments.seeds;
    if (arguments.twice) {
        arguments.tap = false;
        struct total again;
        bool same = run_all(&arguments, &again) == hash;
        printf("%sthe second run was %s\n", total.tap ? "# " : "",
               same ? "the same" : "ANOTHER ONE");
        good = good && same;
    }
    return good ? 0 : 1;
}
