/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup save: a backup from a member that runs; or one every now and then, of which the
 * newest are kept. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/trivet-backup/backup_command.h"
#include "cmd/trivet-backup/fetch.h"
#include "cmd/trivet-backup/schedule.h"
#include "snapshot/backupwriter.h"

#define EVERY_MS_MIN 1000u
#define ONCE         UINT64_MAX /* no --every */

struct save_options {
    struct common_options common;
    const char *endpoints;
    uint64_t stall_ms;
    uint64_t every_ms;
    uint64_t keep;
    bool verify;
};

#define ROW(name, kind, field, unit, help)                           \
    {                                                                \
        name, kind, offsetof(struct save_options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("endpoints", OPTION_TEXT, endpoints, "LIST",
        "host:port,...: the first that answers (default $ETCDCTL_ENDPOINTS or 127.0.0.1:2379)"),
    ROW("timeout", OPTION_DURATION_MS, stall_ms, "TIME",
        "a member that sends nothing for so long is given up (default 5m)"),
    ROW("verify", OPTION_BOOL, verify, NULL,
        "read and check all of it before it takes the place of FILE"),
    ROW("every", OPTION_DURATION_MS, every_ms, "TIME",
        "go on: FILE is a directory that gets a backup every TIME"),
    ROW("keep", OPTION_NUMBER, keep, "N", "with --every: the newest N stay (default: all)"),
    ROW("quiet", OPTION_BOOL, common.quiet, NULL, "no progress on the terminal"),
    ROW("help", OPTION_BOOL, common.help, NULL, "print this"),
};

struct saving {
    struct save_options options;
    const char *target; /* file or directory */
    struct command_loop loop;
    struct client *client;
    struct fetch *fetch; /* NULL: none under way */
    struct command_progress progress;
    struct command_progress verifying;
    char path[FS_PATH_MAX];
    char name[SCHEDULE_NAME_SIZE];
    struct env_timer timer;
    uv_signal_t signals[2];
    uint64_t due_ms;
    unsigned failures;      /* since the last one that was saved */
    uint64_t lacking_bytes; /* the disk had no room for so many; 0: it had */
    bool stopping;
    bool over;
    enum err status;
    struct why why;
};

static bool is_scheduled(const struct saving *saving)
{
    return saving->options.every_ms != ONCE;
}

/* ---- one backup ---- */

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct saving *saving = ctx;
    command_progress_show(&saving->progress, done, total);
}

static void tell_saved(const struct saving *saving)
{
    const struct fetch *fetch = saving->fetch;
    char size[SIZE_TEXT_SIZE];
    char took[SIZE_TEXT_SIZE];
    char rate[SIZE_TEXT_SIZE];
    uint64_t ms = fetch_ms(fetch) > 0 ? fetch_ms(fetch) : 1;
    size_text(fetch_bytes(fetch), size);
    duration_text(ms, took);
    size_text(fetch_bytes(fetch) * 1000 / ms, rate);
    printf("Snapshot saved at %s\n", saving->path);
    if (fetch_version(fetch)[0] != '\0') {
        printf("Server version %s\n", fetch_version(fetch));
    }
    printf("%s from %s in %s (%s/s)%s\n", size, fetch_endpoint(fetch), took, rate,
           saving->options.verify ? ", verified" : "");
    (void)fflush(stdout);
}

static void plan_next(struct saving *saving);

static enum err retain(struct saving *saving, struct why *why)
{
    unsigned removed;
    if (saving->options.keep == 0) {
        return OK;
    }
    return schedule_retain(fs_real(), saving->target, saving->options.keep, saving->name, &removed,
                           why);
}

/* With the next one, after one that ended with STATUS. */
static void go_on(struct saving *saving, enum err status, struct why *why)
{
    saving->failures = status == OK ? 0 : saving->failures + 1;
    if (status == OK) {
        status = retain(saving, why);
    }
    if (status != OK) {
        (void)command_fail(status, why);
    }
    plan_next(saving);
}

static void on_fetched(void *ctx, enum err status, const struct why *why)
{
    struct saving *saving = ctx;
    struct why cause = *why;
    saving->lacking_bytes = status == ERR_NO_SPACE ? fetch_expected_bytes(saving->fetch) : 0;
    command_progress_end(&saving->progress);
    command_progress_end(&saving->verifying);
    if (status == OK) {
        tell_saved(saving);
    }
    saving->fetch = NULL;
    if (!is_scheduled(saving) || saving->stopping) {
        saving->status = status;
        saving->why = cause;
        saving->over = true;
        return;
    }
    go_on(saving, status, &cause);
}

static void start_one(struct saving *saving)
{
    command_progress_init(&saving->progress, "saving", NULL, &saving->options.common);
    command_progress_init(&saving->verifying, "verifying", "records", &saving->options.common);
    struct fetch_config config = {
        .env = saving->loop.env,
        .client = saving->client,
        .fs = fs_real(),
        .path = saving->path,
        .stall_ms = saving->options.stall_ms,
        .on_progress = on_progress,
        .verify = saving->options.verify,
        .verify_progress = &saving->verifying.progress,
        .on_done = on_fetched,
        .ctx = saving,
    };
    saving->fetch = fetch_start(&config);
}

/* ---- one after the other ---- */

static void plan_next(struct saving *saving)
{
    uint64_t now_ms = env_now_ms(saving->loop.env);
    uint64_t next_ms =
        schedule_next_ms(saving->due_ms, now_ms, saving->options.every_ms, saving->failures);
    if (saving->failures == 0) {
        saving->due_ms = next_ms;
    }
    env_timer_start(saving->loop.env, &saving->timer, next_ms - now_ms);
}

/* To be asked costs a member a copy of all it has: not every minute, for a disk that stays full. */
static enum err check_room(const struct saving *saving, struct why *why)
{
    enum err err = backupwriter_check_room(fs_real(), saving->target, saving->lacking_bytes, why);
    if (err != OK) {
        why_prefix(why, "no member is asked");
    }
    return err;
}

static void on_timer(struct env_timer *timer)
{
    struct saving *saving = CONTAINER_OF(timer, struct saving, timer);
    schedule_name(env_wall_ms(saving->loop.env), saving->name);
    enum err err =
        fs_join(saving->target, saving->name, saving->path, sizeof saving->path, &saving->why);
    if (err != OK) {
        saving->status = err;
        saving->over = true;
        return;
    }
    err = check_room(saving, &saving->why);
    if (err != OK) {
        go_on(saving, err, &saving->why);
        return;
    }
    start_one(saving);
}

/* What is half saved goes; a service that is stopped has not failed. */
static void on_signal(uv_signal_t *signal, int number)
{
    struct saving *saving = signal->data;
    (void)number;
    saving->stopping = true;
    if (saving->fetch != NULL) {
        fetch_cancel(saving->fetch);
        return;
    }
    env_timer_stop(saving->loop.env, &saving->timer);
    saving->over = true;
}

static enum err watch_signals(struct saving *saving, struct why *why)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_t *signal = &saving->signals[i];
        signal->data = saving;
        if (uv_signal_init(&saving->loop.uv, signal) != 0 ||
            uv_signal_start(signal, on_signal, numbers[i]) != 0) {
            why_set(why, "watch signal %d", numbers[i]);
            return ERR_IO;
        }
    }
    return OK;
}

static enum err begin(struct saving *saving, struct why *why)
{
    TRY(command_loop_init(&saving->loop, why));
    env_timer_init(&saving->timer, on_timer);
    TRY(watch_signals(saving, why));
    struct client_config config = {
        .env = saving->loop.env, .loop = &saving->loop.uv, .endpoints = saving->options.endpoints};
    TRY(client_new(&config, &saving->client, why));
    if (is_scheduled(saving)) {
        TRY(fs_make_dirs(fs_real(), saving->target, why));
        TRY(schedule_clean(fs_real(), saving->target, why));
        saving->due_ms = env_now_ms(saving->loop.env);
        env_timer_start(saving->loop.env, &saving->timer, 0);
        return OK;
    }
    struct stat there;
    if (stat(saving->target, &there) == 0 && S_ISDIR(there.st_mode)) {
        why_set(why, "'%s' is a directory: name a file in it, or say how often (--every)",
                saving->target);
        return ERR_INVALID;
    }
    if (strlen(saving->target) >= sizeof saving->path) {
        why_set(why, "the path is too long");
        return ERR_INVALID;
    }
    strcpy(saving->path, saving->target);
    start_one(saving);
    return OK;
}

static enum err save(struct saving *saving, struct why *why)
{
    TRY(begin(saving, why));
    while (!saving->over) {
        uv_run(&saving->loop.uv, UV_RUN_ONCE);
    }
    client_close_sync(saving->client);
    *why = saving->why;
    bool stopped = is_scheduled(saving) && saving->stopping;
    return stopped && saving->status == ERR_CANCELLED ? OK : saving->status;
}

static bool check_options(const struct save_options *options)
{
    const char *wrong = NULL;
    if (options->every_ms < EVERY_MS_MIN) {
        wrong = "--every must be at least 1s";
    } else if (options->keep != 0 && options->every_ms == ONCE) {
        wrong = "--keep goes with --every";
    } else if (options->stall_ms == 0) {
        wrong = "--timeout must not be 0";
    }
    if (wrong != NULL) {
        fprintf(stderr, "Error: %s\n", wrong);
    }
    return wrong == NULL;
}

static int run(const struct backup_command *command, int argc, const char *const *argv)
{
    struct saving saving = {.options = {.stall_ms = 300000, .every_ms = ONCE}};
    const char *args[COMMAND_ARGS_MAX];
    size_t count;
    int status;
    if (!command_parse(command, argc, argv, &saving.options, args, 1, 1, &count, &status)) {
        return status;
    }
    if (!check_options(&saving.options)) {
        return EXIT_COMMAND;
    }
    if (saving.options.endpoints == NULL) {
        const char *variable = getenv("ETCDCTL_ENDPOINTS");
        bool is_set = variable != NULL && variable[0] != '\0'; /* as etcdctl has it */
        saving.options.endpoints = is_set ? variable : "127.0.0.1:2379";
    }
    saving.target = args[0];
    struct why why = {{0}};
    enum err err = save(&saving, &why);
    return err == OK ? EXIT_SUCCESS : command_fail(err, &why);
}

const struct backup_command command_save = {
    .name = "save",
    .args = "FILE",
    .help = "a backup from a member that runs, or one every now and then",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .run = run,
};
