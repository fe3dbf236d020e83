/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target is without libFuzzer: a program that gives it every input of its corpus once,
 * and prints TAP.
 *
 *     fuzz_NAME                     $srcdir/tests/fuzz/corpus/NAME
 *     fuzz_NAME FILE|DIRECTORY...   these
 *
 * The inputs are run one after the other in a process of its own, which says in shared memory
 * which it is at: when it dies, that one is told, and another process goes on behind it. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_SECONDS_MAX 120
#define INPUT_BYTES_MAX   (64u * 1024 * 1024)

static struct inputs {
    char **paths;
    size_t count;
} inputs;

static void stop(const char *what, const char *path)
{
    printf("Bail out! %s '%s': %s\n", what, path, strerror(errno));
    exit(99);
}

static void add_input(const char *path)
{
    inputs.paths = reallocarray(inputs.paths, inputs.count + 1, sizeof *inputs.paths);
    char *copy = strdup(path);
    if (inputs.paths == NULL || copy == NULL) {
        stop("remember", path);
    }
    inputs.paths[inputs.count++] = copy;
}

static void add(const char *path)
{
    struct stat stat_of;
    if (stat(path, &stat_of) != 0) {
        stop("look at", path);
    }
    if (!S_ISDIR(stat_of.st_mode)) {
        add_input(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        stop("read", path);
    }
    for (int i = 0; i < count; i++) {
        char joined[PATH_MAX];
        (void)snprintf(joined, sizeof joined, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            add_input(joined);
        }
        free(entries[i]);
    }
    free(entries);
}

static void run_input(const char *path)
{
    CLEANUP(buf_fini) struct buf content = {0};
    struct why why;
    if (fs_read_file(fs_real(), path, INPUT_BYTES_MAX, &content, &why) != OK) {
        fprintf(stderr, "%s\n", why.text);
        exit(99);
    }
    /* Memory of exactly that size: a sanitizer sees who reads beyond. */
    CLEANUP(freep) uint8_t *exact = malloc(content.len);
    if (content.len > 0) {
        memcpy(exact, content.data, content.len);
    }
    alarm(INPUT_SECONDS_MAX);
    (void)LLVMFuzzerTestOneInput(exact, content.len);
    alarm(0);
}

/* Run the inputs from *AT on; *AT is where it is. Its status. */
static int run_from(volatile size_t *at)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        stop("fork for", inputs.paths[*at]);
    }
    if (pid == 0) {
        for (; *at < inputs.count; (*at)++) {
            run_input(inputs.paths[*at]);
        }
        exit(EXIT_SUCCESS);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid) {
        stop("wait for", inputs.paths[*at]);
    }
    return status;
}

static void tell(const char *path, int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        printf("# %s: not done after %d s\n", path, INPUT_SECONDS_MAX);
    } else if (WIFSIGNALED(status)) {
        printf("# %s: signal %d\n", path, WTERMSIG(status));
    } else {
        printf("# %s: status %d\n", path, WEXITSTATUS(status));
    }
}

static const char *target_name(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *name = slash == NULL ? program : slash + 1;
    return strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name;
}

int main(int argc, char **argv)
{
    const char *name = target_name(argv[0]);
    const char *srcdir = getenv("srcdir");
    char corpus[PATH_MAX];
    (void)snprintf(corpus, sizeof corpus, "%s/tests/fuzz/corpus/%s", srcdir == NULL ? "." : srcdir,
                   name);
    for (int i = 1; i < argc; i++) {
        add(argv[i]);
    }
    if (argc < 2) {
        add(corpus);
    }
    volatile size_t *at =
        mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        stop("share memory for", name);
    }
    bool good = inputs.count > 0;
    for (*at = 0; *at < inputs.count; (*at)++) {
        int status = run_from(at);
        if (status != 0) {
            /* Behind the last one: what they left behind all together. */
            tell(*at < inputs.count ? inputs.paths[*at] : "at the end", status);
            good = false;
        }
    }
    printf("1..1\n%sok 1 - %s: %zu inputs\n", good ? "" : "not ", name, inputs.count);
    for (size_t i = 0; i < inputs.count; i++) {
        free(inputs.paths[i]);
    }
    free(inputs.paths);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
