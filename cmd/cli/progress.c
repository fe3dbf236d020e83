/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"

#define BAR_WIDTH   20u
#define INTERVAL_MS 100u

void size_text(uint64_t bytes, char ret[SIZE_TEXT_SIZE])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1000 && unit + 1 < ARRAY_LEN(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(ret, SIZE_TEXT_SIZE, unit > 0 && value < 10 ? "%.1f %s" : "%.0f %s", value,
                   units[unit]);
}

void duration_text(uint64_t ms, char ret[SIZE_TEXT_SIZE])
{
    if (ms < 1000) {
        (void)snprintf(ret, SIZE_TEXT_SIZE, "%" PRIu64 "ms", ms);
    } else if (ms < 60000) {
        (void)snprintf(ret, SIZE_TEXT_SIZE, "%.1fs", (double)ms / 1000);
    } else {
        uint64_t s = ms / 1000;
        (void)snprintf(ret, SIZE_TEXT_SIZE, "%" PRIu64 "m%" PRIu64 "s", s / 60, s % 60);
    }
}

static void amount_text(const struct progress *progress, uint64_t amount, char ret[SIZE_TEXT_SIZE])
{
    if (progress->unit == NULL) {
        size_text(amount, ret);
    } else {
        (void)snprintf(ret, SIZE_TEXT_SIZE, "%" PRIu64, amount);
    }
}

bool progress_line(struct progress *progress, uint64_t now_ms, uint64_t done, uint64_t total,
                   char ret[PROGRESS_LINE_SIZE])
{
    if (!progress->begun) {
        progress->begun = true;
        progress->began_ms = now_ms;
    } else if (now_ms - progress->shown_ms < INTERVAL_MS) {
        return false;
    }
    progress->shown_ms = now_ms;
    double part = total == 0 || done >= total ? 1 : (double)done / (double)total;
    double seconds = (double)(now_ms - progress->began_ms) / 1000;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char bar[BAR_WIDTH + 1];
    for (size_t i = 0; i < BAR_WIDTH; i++) {
        bar[i] = (double)i < part * BAR_WIDTH ? '#' : '.';
    }
    bar[BAR_WIDTH] = '\0';
    char done_text[SIZE_TEXT_SIZE];
    char total_text[SIZE_TEXT_SIZE];
    char rate_text[SIZE_TEXT_SIZE];
    amount_text(progress, done, done_text);
    amount_text(progress, total, total_text);
    amount_text(progress, (uint64_t)rate, rate_text);
    int len = snprintf(
        ret, PROGRESS_LINE_SIZE, "%s [%s] %3.0f %%  %s of %s%s%s  %s%s%s/s", progress->what, bar,
        part * 100, done_text, total_text, progress->unit == NULL ? "" : " ",
        progress->unit == NULL ? "" : progress->unit, rate_text, progress->unit == NULL ? "" : " ",
        progress->unit == NULL ? "" : progress->unit);
    if (rate > 0 && done < total && len > 0 && len < PROGRESS_LINE_SIZE) {
        (void)snprintf(ret + len, PROGRESS_LINE_SIZE - (size_t)len, "  %.0f s left",
                       (double)(total - done) / rate);
    }
    return true;
}
