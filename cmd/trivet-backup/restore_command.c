/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup restore: the data directory of a member of a new cluster, with etcdutl's flags.
 *
 * They mean what trivetd takes them for: its own code reads and checks them. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "cmd/trivet-backup/backup_command.h"
#include "cmd/trivetd/settings.h"
#include "fsm/cluster.h"
#include "snapshot/restore.h"

struct restore_options {
    struct common_options common;
    const char *data_dir;
    const char *wal_dir;
    const char *name;
    const char *initial_cluster;
    const char *initial_cluster_token;
    const char *initial_advertise_peer_urls;
    bool skip_hash_check;
    uint64_t bump_revision;
    bool mark_compacted;
    uint64_t memory_map_size;
};

#define ROW(name, kind, field, unit, help)                              \
    {                                                                   \
        name, kind, offsetof(struct restore_options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("data-dir", OPTION_TEXT, data_dir, "DIR", "(default NAME.etcd); must be new or empty"),
    ROW("wal-dir", OPTION_TEXT, wal_dir, "DIR", "(default: in the data directory)"),
    ROW("name", OPTION_TEXT, name, "NAME", "of the member (default \"default\")"),
    ROW("initial-cluster", OPTION_TEXT, initial_cluster, "LIST",
        "name=url,...: all members (default: this one alone)"),
    ROW("initial-cluster-token", OPTION_TEXT, initial_cluster_token, "TEXT",
        "(default \"etcd-cluster\")"),
    ROW("initial-advertise-peer-urls", OPTION_TEXT, initial_advertise_peer_urls, "LIST",
        "of this member (default http://localhost:2380)"),
    ROW("bump-revision", OPTION_NUMBER, bump_revision, "N",
        "raise the revision, so that no client has seen what comes"),
    ROW("mark-compacted", OPTION_BOOL, mark_compacted, NULL,
        "that revision is compacted, so that watchers begin anew; with --bump-revision"),
    ROW("skip-hash-check", OPTION_BOOL, skip_hash_check, NULL,
        "the file has no SHA-256: copied from the data directory of a stopped member"),
    ROW("initial-memory-map-size", OPTION_NUMBER, memory_map_size, "N", "no effect here"),
    ROW("quiet", OPTION_BOOL, common.quiet, NULL, "no progress on the terminal"),
    ROW("help", OPTION_BOOL, common.help, NULL, "print this"),
};

/* ---- what trivetd would make of the flags ---- */

/* An empty one is none, to etcdutl as well. */
static void add_flag(const char **words, int *count, const char *flag, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        words[(*count)++] = flag;
        words[(*count)++] = value;
    }
}

static void ignore_warning(const char *text)
{
    (void)text;
}

static enum err make_settings(const struct restore_options *options, struct config *config,
                              struct settings *ret, struct why *why)
{
    static const char *const no_variables[] = {NULL};
    const char *words[16] = {"trivetd"};
    int count = 1;
    add_flag(words, &count, "--data-dir", options->data_dir);
    add_flag(words, &count, "--wal-dir", options->wal_dir);
    add_flag(words, &count, "--name", options->name);
    add_flag(words, &count, "--initial-cluster", options->initial_cluster);
    add_flag(words, &count, "--initial-cluster-token", options->initial_cluster_token);
    add_flag(words, &count, "--initial-advertise-peer-urls", options->initial_advertise_peer_urls);
    if (flags_parse(count, words, no_variables, config, ignore_warning, why) != FLAGS_OK) {
        return ERR_INVALID;
    }
    return settings_make(config, ret, why);
}

/* ---- the members ---- */

struct member_rows {
    struct node_member members[MEMBERS_MAX];
    struct dbrewrite_row rows[MEMBERS_MAX];
    char addresses[MEMBERS_MAX][NODE_ADDRESS_SIZE];
    uint8_t keys[MEMBERS_MAX][CLUSTER_ROW_KEY_BYTES];
    struct buf values[MEMBERS_MAX];
    size_t count;
};

static void member_rows_fini(struct member_rows *all)
{
    for (size_t i = 0; i < all->count; i++) {
        buf_fini(&all->values[i]);
    }
}

/* As a new cluster's first members are: not started, known by their peer URLs. */
static enum err fill_rows(const struct initial_cluster *cluster, struct member_rows *ret,
                          struct why *why)
{
    for (size_t i = 0; i < cluster->count; i++) {
        const struct initial_member *initial = &cluster->members[i];
        struct cluster_member member = {
            .id = initial->id,
            .name = "",
            .peer_urls = (const char *const *)initial->peer_urls,
            .peer_url_count = initial->peer_url_count,
        };
        cluster_encode_row(&member, ret->keys[i], &ret->values[i]);
        ret->count = i + 1;
        if (!buf_ok(&ret->values[i])) {
            return ERR_NOMEM;
        }
        ret->rows[i] = (struct dbrewrite_row){.table = TABLE_MEMBER,
                                              .key = bytes_of(ret->keys[i], sizeof ret->keys[i]),
                                              .value = buf_bytes(&ret->values[i])};
        if (!node_address_format(initial->id, initial->address, ret->addresses[i])) {
            why_set(why, "the address '%s' is too long", initial->address);
            return ERR_LIMIT;
        }
        ret->members[i] = (struct node_member){
            .id = initial->id, .address = ret->addresses[i], .role = MEMBER_VOTER};
    }
    return OK;
}

/* ---- the command ---- */

static enum err restore_as(const char *file, const struct restore_options *options,
                           const struct settings *settings, struct restore_result *ret,
                           struct why *why)
{
    CLEANUP(member_rows_fini) struct member_rows all = {.count = 0};
    struct command_loop loop;
    char data_dir[PATH_MAX];
    TRY(fill_rows(&settings->cluster, &all, why));
    TRY(command_loop_init(&loop, why));
    /* The member directory is a path in it. */
    int len = snprintf(data_dir, sizeof data_dir, "%s", settings->member_dir);
    ASSERT(len > (int)strlen("/member") && len < (int)sizeof data_dir);
    *strrchr(data_dir, '/') = '\0';
    struct command_progress progress;
    command_progress_init(&progress, "verifying", "records", &options->common);
    struct restore_config config = {
        .env = loop.env,
        .file = file,
        .data_dir = data_dir,
        .wal_dir = settings->config->wal_dir,
        .identity = {.cluster_id = settings->cluster.cluster_id, .member_id = settings->self->id},
        .members = all.members,
        .member_count = all.count,
        .rows = all.rows,
        .row_count = all.count,
        .without_digest = options->skip_hash_check,
        .bump_revision = (int64_t)options->bump_revision,
        .mark_compacted = options->mark_compacted,
        .progress = &progress.progress,
    };
    enum err err = restore(&config, ret, why);
    command_progress_end(&progress);
    TRY(err);
    printf("Restored %s into %s: member %" PRIx64 " of cluster %" PRIx64 ", %zu member%s\n"
           "revision %" PRId64 ", compacted %" PRId64 ", %" PRIu64
           " keys, log begins behind %" PRIu64 "\n",
           file, data_dir, settings->self->id, settings->cluster.cluster_id, all.count,
           all.count == 1 ? "" : "s", ret->revision, ret->compacted_revision, ret->key_count,
           ret->index);
    return OK;
}

static int run(const struct backup_command *command, int argc, const char *const *argv)
{
    struct restore_options options = {.name = NULL};
    const char *args[COMMAND_ARGS_MAX];
    size_t count;
    int status;
    if (!command_parse(command, argc, argv, &options, args, 1, 1, &count, &status)) {
        return status;
    }
    if ((options.bump_revision > 0) != options.mark_compacted) {
        fprintf(stderr, "Error: --mark-compacted required if --bump-revision, and only then\n");
        return EXIT_COMMAND;
    }
    if (options.bump_revision > INT64_MAX) {
        fprintf(stderr, "Error: --bump-revision is too large\n");
        return EXIT_COMMAND;
    }
    struct why why = {{0}};
    struct config config;
    struct settings settings;
    enum err err = make_settings(&options, &config, &settings, &why);
    if (err != OK) {
        (void)command_fail(err, &why);
        return EXIT_COMMAND;
    }
    struct restore_result result;
    err = restore_as(args[0], &options, &settings, &result, &why);
    settings_fini(&settings);
    return err == OK ? EXIT_SUCCESS : command_fail(err, &why);
}

const struct backup_command command_restore = {
    .name = "restore",
    .args = "FILE",
    .help = "make the data directory of a member of a new cluster",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .run = run,
};
