/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"

#define BUCKETS_MAX 64

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

static const char *const kind_texts[] = {
    [KIND_COUNTER] = "counter",
    [KIND_GAUGE] = "gauge",
    [KIND_HISTOGRAM] = "histogram",
};

/* One line of text, or one histogram: the labels tell it from its family's others. */
struct sample {
    struct sample *next;
    char *labels; /* NULL: none */
    double value; /* a histogram's sum */
    double (*fn)(void *ctx);
    void *ctx;
    unsigned bucket_count;
    double start;
    uint64_t *buckets; /* how many observations each took; the last one is +Inf */
};

/* The doors' types are samples that know what may be done with them. */
struct counter {
    struct sample sample;
};
struct gauge {
    struct sample sample;
};
struct histogram {
    struct sample sample;
};

struct family {
    struct family *next;
    char *name;
    char *help;
    enum kind kind;
    struct sample *samples; /* in the order of registration */
};

struct metrics {
    struct family *families; /* in the order of name */
};

struct metrics *metrics_new(void)
{
    return calloc(1, sizeof(struct metrics));
}

static void sample_free(struct sample *sample)
{
    if (sample != NULL) {
        free(sample->labels);
        free(sample->buckets);
        free(sample);
    }
}

static void family_free(struct family *family)
{
    if (family == NULL) {
        return;
    }
    while (family->samples != NULL) {
        struct sample *next = family->samples->next;
        sample_free(family->samples);
        family->samples = next;
    }
    free(family->name);
    free(family->help);
    free(family);
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    while (metrics->families != NULL) {
        struct family *next = metrics->families->next;
        family_free(metrics->families);
        metrics->families = next;
    }
    free(metrics);
}

/* The family of this name, made when it is new; NULL: no memory. */
static struct family *family_get(struct metrics *metrics, const char *name, const char *help,
                                 enum kind kind)
{
    struct family **at = &metrics->families;
    while (*at != NULL && strcmp((*at)->name, name) < 0) {
        at = &(*at)->next;
    }
    if (*at != NULL && strcmp((*at)->name, name) == 0) {
        ASSERT((*at)->kind == kind);
        return *at;
    }
    struct family *family = calloc(1, sizeof *family);
    if (family == NULL) {
        return NULL;
    }
    family->kind = kind;
    family->name = strdup(name);
    family->help = strdup(help);
    if (family->name == NULL || family->help == NULL) {
        family_free(family);
        return NULL;
    }
    family->next = *at;
    *at = family;
    return family;
}

static bool same_labels(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The sample of this name and labels, made when it is new. The public structs are a sample each. */
static struct sample *sample_get(struct metrics *metrics, const char *name, const char *help,
                                 const char *labels, enum kind kind)
{
    if (metrics == NULL) {
        return NULL;
    }
    struct family *family = family_get(metrics, name, help, kind);
    if (family == NULL) {
        return NULL;
    }
    struct sample **at = &family->samples;
    for (; *at != NULL; at = &(*at)->next) {
        if (same_labels((*at)->labels, labels)) {
            return *at;
        }
    }
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL) {
        return NULL;
    }
    if (labels != NULL && (sample->labels = strdup(labels)) == NULL) {
        free(sample);
        return NULL;
    }
    *at = sample;
    return sample;
}

struct counter *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                                const char *labels)
{
    struct sample *sample = sample_get(metrics, name, help, labels, KIND_COUNTER);
    return sample == NULL ? NULL : CONTAINER_OF(sample, struct counter, sample);
}

struct gauge *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                            const char *labels)
{
    struct sample *sample = sample_get(metrics, name, help, labels, KIND_GAUGE);
    return sample == NULL ? NULL : CONTAINER_OF(sample, struct gauge, sample);
}

static void set_fn(struct sample *sample, double (*fn)(void *ctx), void *ctx)
{
    if (sample != NULL) {
        sample->fn = fn;
        sample->ctx = ctx;
    }
}

void metrics_gauge_fn(struct metrics *metrics, const char *name, const char *help,
                      const char *labels, double (*fn)(void *ctx), void *ctx)
{
    set_fn(sample_get(metrics, name, help, labels, KIND_GAUGE), fn, ctx);
}

void metrics_counter_fn(struct metrics *metrics, const char *name, const char *help,
                        const char *labels, double (*fn)(void *ctx), void *ctx)
{
    set_fn(sample_get(metrics, name, help, labels, KIND_COUNTER), fn, ctx);
}

struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                    const char *labels, double start, unsigned count)
{
    ASSERT(count >= 1);
    ASSERT(count <= BUCKETS_MAX);
    ASSERT(start > 0);
    struct sample *sample = sample_get(metrics, name, help, labels, KIND_HISTOGRAM);
    if (sample == NULL) {
        return NULL;
    }
    if (sample->buckets == NULL) {
        sample->buckets = calloc(count + 1, sizeof *sample->buckets);
        sample->bucket_count = sample->buckets == NULL ? 0 : count;
        sample->start = start;
    }
    return CONTAINER_OF(sample, struct histogram, sample);
}

void counter_add(struct counter *counter, double n)
{
    if (counter != NULL) {
        ASSERT(n >= 0);
        counter->sample.value += n;
    }
}

void gauge_set(struct gauge *gauge, double v)
{
    if (gauge != NULL) {
        gauge->sample.value = v;
    }
}

void histogram_observe(struct histogram *histogram, double v)
{
    if (histogram == NULL || histogram->sample.buckets == NULL) {
        return;
    }
    struct sample *sample = &histogram->sample;
    unsigned i = 0;
    for (double bound = sample->start; i < sample->bucket_count && v > bound; bound *= 2) {
        i++;
    }
    sample->buckets[i]++;
    sample->value += v;
}

/* The shortest text that reads back as V; whole numbers without an exponent. */
static void write_value(struct buf *buf, double v)
{
    if (isnan(v) || isinf(v)) {
        buf_append_str(buf, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (fabs(v) < 9007199254740992.0 && v == trunc(v)) {
        buf_printf(buf, "%.0f", v + 0.0); /* no minus before a zero */
        return;
    }
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    buf_append_str(buf, text);
}

/* name_suffix{labels,le="bound"} value */
static void write_line(struct buf *buf, const char *name, const char *suffix, const char *labels,
                       const double *bound, double value)
{
    buf_append_str(buf, name);
    buf_append_str(buf, suffix);
    if (labels != NULL || bound != NULL) {
        buf_append_str(buf, "{");
        buf_append_str(buf, labels == NULL ? "" : labels);
        if (bound != NULL) {
            buf_append_str(buf, labels == NULL ? "le=\"" : ",le=\"");
            write_value(buf, *bound);
            buf_append_str(buf, "\"");
        }
        buf_append_str(buf, "}");
    }
    buf_append_str(buf, " ");
    write_value(buf, value);
    buf_append_str(buf, "\n");
}

static void write_histogram(struct buf *buf, const char *name, const struct sample *sample)
{
    uint64_t below = 0;
    double bound = sample->start;
    for (unsigned i = 0; i < sample->bucket_count; i++, bound *= 2) {
        below += sample->buckets[i];
        write_line(buf, name, "_bucket", sample->labels, &bound, (double)below);
    }
    below += sample->buckets == NULL ? 0 : sample->buckets[sample->bucket_count];
    bound = HUGE_VAL;
    write_line(buf, name, "_bucket", sample->labels, &bound, (double)below);
    write_line(buf, name, "_sum", sample->labels, NULL, sample->value);
    write_line(buf, name, "_count", sample->labels, NULL, (double)below);
}

void metrics_write(const struct metrics *metrics, struct buf *buf)
{
    for (const struct family *f = metrics->families; f != NULL; f = f->next) {
        buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
                   kind_texts[f->kind]);
        for (const struct sample *s = f->samples; s != NULL; s = s->next) {
            if (f->kind == KIND_HISTOGRAM) {
                write_histogram(buf, f->name, s);
            } else {
                write_line(buf, f->name, "", s->labels, NULL,
                           s->fn == NULL ? s->value : s->fn(s->ctx));
            }
        }
    }
}
