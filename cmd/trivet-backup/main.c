/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup: backups of a cluster, and clusters of backups. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/trivet-backup/backup_command.h"
#include "config.h"

#define WORDS_MAX 256

static const struct backup_command *const commands[] = {
    &command_save, &command_verify,  &command_status,
    &command_list, &command_restore, &command_recover,
};

static void print_help(FILE *out)
{
    fprintf(out, "usage: trivet-backup COMMAND [OPTION...] [ARGUMENT...]\n"
                 "Backups of a Trivet cluster, and clusters of backups.\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%s %s", commands[i]->name, commands[i]->args);
        fprintf(out, "  %-22s %s\n", left, commands[i]->help);
    }
    fprintf(out, "\ntrivet-backup COMMAND --help tells its options; --version the version.\n");
}

/* ---- what the commands have in common ---- */

static void print_command_help(const struct backup_command *command)
{
    printf("usage: trivet-backup %s [OPTION...] %s\n%s\n\n", command->name, command->args,
           command->help);
    options_help(stdout, command->rows, command->row_count);
}

/* -w is all that etcd's tools have of short options. Behind "--" are arguments, keys perhaps. */
static int expand(int argc, const char *const *argv, const char **words)
{
    int count = 0;
    bool options_over = false;
    for (int i = 0; i < argc && count < WORDS_MAX - 1; i++) {
        options_over |= strcmp(argv[i], "--") == 0;
        words[count++] = options_over                 ? argv[i]
                         : strcmp(argv[i], "-w") == 0 ? "--write-out"
                         : strcmp(argv[i], "-h") == 0 ? "--help"
                                                      : argv[i];
    }
    words[count] = NULL;
    return count;
}

bool command_parse(const struct backup_command *command, int argc, const char *const *argv,
                   void *target, const char **args, size_t min, size_t max, size_t *arg_count,
                   int *status)
{
    struct common_options *common = target;
    const char *words[WORDS_MAX];
    int count = expand(argc, argv, words);
    struct why why = {{0}};
    enum err err = options_parse(command->rows, command->row_count, count, words, target, args,
                                 COMMAND_ARGS_MAX, arg_count, &why);
    *status = EXIT_SUCCESS;
    if (err == OK && common->help) {
        print_command_help(command);
        return false;
    }
    if (err == OK && (*arg_count < min || *arg_count > max)) {
        why_set(&why, "usage: trivet-backup %s [OPTION...] %s", command->name, command->args);
        err = ERR_INVALID;
    }
    if (err != OK) {
        fprintf(stderr, "Error: %s\n", why.text);
        *status = EXIT_COMMAND;
        return false;
    }
    return true;
}

bool command_format(const struct common_options *options, unsigned allowed, enum output_format *ret)
{
    static const char *const names[] = {[OUTPUT_SIMPLE] = "simple",
                                        [OUTPUT_JSON] = "json",
                                        [OUTPUT_TABLE] = "table",
                                        [OUTPUT_FIELDS] = "fields"};
    const char *name = options->format == NULL ? names[OUTPUT_SIMPLE] : options->format;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0 && (allowed & 1u << i) != 0) {
            *ret = (enum output_format)i;
            return true;
        }
    }
    fprintf(stderr, "Error: %s not supported as output format\n", name);
    return false;
}

int command_fail(enum err err, const struct why *why)
{
    fprintf(stderr, "Error: %s\n", why->text[0] != '\0' ? why->text : err_text(err));
    return EXIT_FAILED;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void command_progress_show(struct command_progress *progress, uint64_t done, uint64_t total)
{
    char line[PROGRESS_LINE_SIZE];
    if (progress->wanted && progress_line(&progress->line, now_ms(), done, total, line)) {
        fprintf(stderr, "\r\033[K%s", line);
        fflush(stderr);
        progress->shown = true;
    }
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    command_progress_show(ctx, done, total);
}

void command_progress_init(struct command_progress *progress, const char *what, const char *unit,
                           const struct common_options *options)
{
    *progress = (struct command_progress){
        .line = {.what = what, .unit = unit},
        .progress = {.fn = on_progress, .ctx = progress},
        .wanted = !options->quiet && isatty(STDERR_FILENO) == 1,
    };
}

void command_progress_end(struct command_progress *progress)
{
    if (progress->shown) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
        progress->shown = false;
    }
}

enum err command_loop_init(struct command_loop *loop, struct why *why)
{
    if (uv_loop_init(&loop->uv) != 0) {
        why_set(why, "make the event loop: out of memory or descriptors");
        return ERR_NOMEM;
    }
    TRY(env_real_new(&loop->uv, &loop->real, why));
    loop->env = env_real_env(loop->real);
    return OK;
}

int main(int argc, char **argv)
{
    const char *const *words = (const char *const *)argv;
    fs_real_hold_standard();
    if (argc > 1 && strcmp(argv[1], "snapshot") == 0) {
        argc--; /* as etcdutl has them */
        words++;
    }
    if (argc < 2) {
        print_help(stderr);
        return EXIT_COMMAND;
    }
    if (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0) {
        print_help(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(words[1], "--version") == 0 || strcmp(words[1], "version") == 0) {
        printf("trivet-backup %s\n", TRIVET_VERSION);
        return EXIT_SUCCESS;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(words[1], commands[i]->name) == 0) {
            int status = commands[i]->run(commands[i], argc - 1, words + 1);
            if (fflush(stdout) != 0 || ferror(stdout) != 0) {
                fprintf(stderr, "Error: write to the standard output: %s\n", strerror(errno));
                return EXIT_FAILED;
            }
            return status;
        }
    }
    fprintf(stderr, "Error: unknown command '%s' for trivet-backup\n", words[1]);
    return EXIT_COMMAND;
}
