/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/hash.h"
#include "tests/sim/simcheck.h"
#include "tests/sim/simclients.h"
#include "tests/sim/simmember.h"
#include "tests/sim/simnemesis.h"
#include "tests/sim/simnet.h"

#define TRACE_LINES 4096
#define TRACE_SHOWN 60

static struct sim *running; /* for fatal's hook: one run at a time in a process */

/* ---- chance ---- */

uint64_t sim_random(struct sim *sim)
{
    sim->chance += 0x9e3779b97f4a7c15ull;
    return mix64(sim->chance);
}

uint64_t sim_between(struct sim *sim, uint64_t from, uint64_t to)
{
    ASSERT(from <= to);
    return from + sim_random(sim) % (to - from + 1);
}

bool sim_chance(struct sim *sim, unsigned per_mille)
{
    return sim_random(sim) % 1000 < per_mille;
}

/* ---- what happened ---- */

void sim_note(struct sim *sim, const char *text, uint64_t a, uint64_t b)
{
    trace_add(sim->trace, sim->now_us * 1000, text, a, b);
    if (sim->options.verbose) {
        fprintf(stderr, "%10.3f %s %" PRIu64 " %" PRIu64 "\n", (double)sim->now_us / 1000, text, a,
                b);
    }
}

static void show_trace(const struct sim *sim)
{
    size_t count = trace_count(sim->trace);
    for (size_t i = count > TRACE_SHOWN ? count - TRACE_SHOWN : 0; i < count; i++) {
        const struct trace_event *event = trace_at(sim->trace, i);
        fprintf(stderr, "    %10.3f ms  %-32s %" PRIu64 " %" PRIu64 "\n",
                (double)event->time_ns / 1e6, event->text, event->a, event->b);
    }
}

static _Noreturn void end_badly(struct sim *sim, int status, const char *message)
{
    fprintf(stderr, "seed %" PRIu64 ": %s (at %.3f s)\n", sim->options.seed, message,
            (double)sim->now_us / 1e6);
    show_trace(sim);
    fflush(NULL);
    _exit(status);
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    end_badly(sim, SIM_EXIT_WRONG, message);
}

void sim_fail_stuck(struct sim *sim, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    end_badly(sim, SIM_EXIT_STUCK, message);
}

static void on_fatal(const char *message)
{
    end_badly(running, SIM_EXIT_FATAL, message);
}

/* ---- events: a binary heap by (time, sequence) ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->seq < b->seq);
}

void sim_at(struct sim *sim, uint64_t delay_us, const struct sim_event *event)
{
    bool room = ARRAY_MAKE_ROOM(sim->events, sim->event_count, sim->event_cap, 1024);
    ASSERT(room);
    struct sim_event added = *event;
    added.at_us = sim->now_us + delay_us;
    added.seq = sim->next_seq++;
    size_t at = sim->event_count++;
    while (at > 0 && before(&added, &sim->events[(at - 1) / 2])) {
        sim->events[at] = sim->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->events[at] = added;
}

static struct sim_event take_first(struct sim *sim)
{
    struct sim_event first = sim->events[0];
    struct sim_event last = sim->events[--sim->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->event_count) {
            break;
        }
        if (child + 1 < sim->event_count && before(&sim->events[child + 1], &sim->events[child])) {
            child++;
        }
        if (!before(&sim->events[child], &last)) {
            break;
        }
        sim->events[at] = sim->events[child];
        at = child;
    }
    sim->events[at] = last;
    return first;
}

static void run_event(struct sim *sim, const struct sim_event *event)
{
    if (event->member == 0) {
        event->run(sim, event);
        return;
    }
    struct simmember *member = sim->members[event->member];
    if (member->life != event->life || !member->alive) {
        return;
    }
    if (member->paused_until_us > sim->now_us) {
        sim_at(sim, member->paused_until_us - sim->now_us, event);
        return;
    }
    event->run(sim, event);
    simmember_settle(member);
}

/* ---- a run ---- */

static void on_calm(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    sim_note(sim, "sim: faults are over", 0, 0);
    sim->calm = true;
    simnemesis_end(sim);
    simclients_await_recovery(sim);
}

static void on_deadline(struct sim *sim, const struct sim_event *event)
{
    (void)event;
    simclients_say_why_stuck(sim);
}

static void start(struct sim *sim)
{
    simnet_init(sim);
    simcheck_init(sim);
    simmember_init_all(sim);
    simclients_init(sim);
    simnemesis_init(sim);
    uint64_t faults_us = sim->options.faults_ms * SIM_MS;
    sim_at(sim, faults_us, &(struct sim_event){.run = on_calm});
    sim_at(sim, faults_us + sim->options.recovery_ms * SIM_MS,
           &(struct sim_event){.run = on_deadline});
}

void sim_run(const struct sim_options *options, struct sim_stats *ret)
{
    struct sim sim = {.options = *options, .chance = mix64(options->seed + 1)};
    enum err err = trace_new(TRACE_LINES, &sim.trace);
    ASSERT(err == OK);
    trace_hash_start(sim.trace);
    running = &sim;
    fatal_set_hook(on_fatal);
    start(&sim);
    while (!sim.done) {
        struct sim_event event = take_first(&sim);
        sim.now_us = event.at_us;
        sim.stats.events++;
        run_event(&sim, &event);
    }
    simcheck_end(&sim);
    sim.stats.simulated_ms = sim.now_us / SIM_MS;
    sim.stats.hash = trace_hash(sim.trace);
    *ret = sim.stats;
    trace_free(sim.trace);
    free(sim.events);
}
