/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"

void fuzz_claim_failed(const char *where, const char *claim)
{
    fprintf(stderr, "%s: does not hold: %s\n", where, claim);
    abort();
}

struct bytes fuzz_view(struct reader *input, size_t n)
{
    size_t left = reader_left(input);
    return read_bytes(input, n < left ? n : left);
}

struct bytes fuzz_take(struct reader *input, size_t n)
{
    struct bytes view = fuzz_view(input, n);
    uint8_t *copy = malloc(view.len);
    if (copy == NULL && view.len > 0) {
        fatal("no memory for an input");
    }
    if (view.len > 0) {
        memcpy(copy, view.data, view.len);
    }
    return bytes_of(copy, view.len);
}

void fuzz_free(struct bytes *bytes)
{
    free((void *)(uintptr_t)bytes->data);
    *bytes = bytes_of(NULL, 0);
}

/* fatal() leaves with _exit, which libFuzzer does not see: it would not keep the input. */
static void abort_on_fatal(const char *message)
{
    fprintf(stderr, "fatal: %s\n", message);
    abort();
}

__attribute__((constructor)) static void set_hook(void)
{
    fatal_set_hook(abort_on_fatal);
}

static jmp_buf on_fatal;
static char fatal_text[512];

static void catch_fatal(const char *message)
{
    (void)snprintf(fatal_text, sizeof fatal_text, "%s", message);
    longjmp(on_fatal, 1);
}

const char *fuzz_fatal(void (*fn)(void *ctx), void *ctx)
{
    const char *volatile text = NULL;
    fatal_set_hook(catch_fatal);
    if (setjmp(on_fatal) == 0) {
        fn(ctx);
    } else {
        text = fatal_text;
    }
    fatal_set_hook(abort_on_fatal);
    return text;
}

/* ---- files ---- */

static char directory[256];

static int remove_one(const char *path, const struct stat *stat_of, int type, struct FTW *at)
{
    (void)stat_of;
    (void)type;
    (void)at;
    return remove(path);
}

void fuzz_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void remove_directory(void)
{
    fuzz_remove_tree(directory);
}

const char *fuzz_directory(void)
{
    if (directory[0] == '\0') {
        const char *parent = getenv("TMPDIR");
        if (parent == NULL) {
            parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        }
        (void)snprintf(directory, sizeof directory, "%s/trivet-fuzz-XXXXXX", parent);
        CLAIM(mkdtemp(directory) != NULL);
        CLAIM(atexit(remove_directory) == 0);
    }
    return directory;
}
