/* SPDX-License-Identifier: Apache-2.0 */
/* trivet-backup status: what is in a backup, in the words of etcdutl snapshot status. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/cli/table.h"
#include "cmd/trivet-backup/backup_command.h"
#include "snapshot/backup.h"

struct status_options {
    struct common_options common;
};

#define ROW(name, kind, field, unit, help)                             \
    {                                                                  \
        name, kind, offsetof(struct status_options, field), unit, help \
    }
static const struct option_row rows[] = {
    ROW("write-out", OPTION_TEXT, common.format, "FORMAT",
        "simple, json, table or fields; also -w"),
    ROW("quiet", OPTION_BOOL, common.quiet, NULL, "no progress on the terminal"),
    ROW("help", OPTION_BOOL, common.help, NULL, "print this"),
};

#define VERSION_BYTES 32

struct backup_status {
    struct dbfile_info info;
    struct dbfile_hash hash;
    char version[VERSION_BYTES]; /* of the cluster; "" when it had none yet */
    bool has_digest;
};

static enum err take_version(void *ctx, struct bytes key, struct bytes value)
{
    struct backup_status *status = ctx;
    if (bytes_equal(key, bytes_of_str("version")) && value.len < VERSION_BYTES) {
        memcpy(status->version, value.data, value.len);
        status->version[value.len] = '\0';
        if (strspn(status->version, "0123456789.") != value.len) {
            status->version[0] = '\0';
        }
    }
    return OK;
}

static enum err read_status(const char *path, const struct status_options *options,
                            struct backup_status *ret, struct why *why)
{
    CLEANUP(backup_closep) struct backup *backup = NULL;
    TRY(backup_open(fs_real(), path, &backup, why));
    struct dbfile *database = backup_database(backup);
    struct command_progress progress;
    command_progress_init(&progress, "reading", "records", &options->common);
    enum err err = dbfile_hash(database, &progress.progress, &ret->hash, why);
    command_progress_end(&progress);
    TRY(err);
    ret->info = *dbfile_info(database);
    ret->has_digest = backup_has_digest(backup);
    return dbfile_table(database, TABLE_CLUSTER, take_version, ret, why);
}

static void print_json(const struct backup_status *s)
{
    printf("{\"hash\":%" PRIu32 ",\"revision\":%" PRId64 ",\"totalKey\":%" PRId64
           ",\"totalSize\":%" PRIu64 ",\"version\":\"%s\",\"compactRevision\":%" PRId64
           ",\"records\":%" PRIu64 ",\"raftIndex\":%" PRIu64 ",\"raftTerm\":%" PRIu64
           ",\"clusterId\":%" PRIu64 ",\"memberId\":%" PRIu64 ",\"format\":%" PRId64
           ",\"sha256\":%s}\n",
           s->hash.hash, s->info.revision, s->hash.key_count, s->info.size_bytes, s->version,
           s->info.compacted_revision, s->info.record_count, s->info.applied_index,
           s->info.applied_term, s->info.identity.cluster_id, s->info.identity.member_id,
           s->info.format, s->has_digest ? "true" : "false");
}

static void print_fields(const struct backup_status *s)
{
    printf("\"Hash\" : %" PRIu32 "\n\"Revision\" : %" PRId64 "\n\"Keys\" : %" PRId64
           "\n\"Size\" : %" PRIu64 "\n\"Version\" : \"%s\"\n\"CompactRevision\" : %" PRId64
           "\n\"Records\" : %" PRIu64 "\n\"RaftIndex\" : %" PRIu64 "\n\"RaftTerm\" : %" PRIu64
           "\n\"ClusterID\" : %" PRIu64 "\n\"MemberID\" : %" PRIu64 "\n\"Format\" : %" PRId64 "\n",
           s->hash.hash, s->info.revision, s->hash.key_count, s->info.size_bytes, s->version,
           s->info.compacted_revision, s->info.record_count, s->info.applied_index,
           s->info.applied_term, s->info.identity.cluster_id, s->info.identity.member_id,
           s->info.format);
}

static void print_table(const struct backup_status *s)
{
    static const char *const heads[] = {"HASH",    "REVISION",         "TOTAL KEYS", "TOTAL SIZE",
                                        "VERSION", "COMPACT REVISION", "RECORDS",    "FORMAT"};
    char texts[8][SIZE_TEXT_SIZE];
    (void)snprintf(texts[0], SIZE_TEXT_SIZE, "%" PRIx32, s->hash.hash);
    (void)snprintf(texts[1], SIZE_TEXT_SIZE, "%" PRId64, s->info.revision);
    (void)snprintf(texts[2], SIZE_TEXT_SIZE, "%" PRId64, s->hash.key_count);
    size_text(s->info.size_bytes, texts[3]);
    (void)snprintf(texts[4], SIZE_TEXT_SIZE, "%s", s->version);
    (void)snprintf(texts[5], SIZE_TEXT_SIZE, "%" PRId64, s->info.compacted_revision);
    (void)snprintf(texts[6], SIZE_TEXT_SIZE, "%" PRIu64, s->info.record_count);
    (void)snprintf(texts[7], SIZE_TEXT_SIZE, "%" PRId64, s->info.format);
    const char *cells[ARRAY_LEN(texts)];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        cells[i] = texts[i];
    }
    table_print(stdout, heads, cells, ARRAY_LEN(heads));
}

static void print_simple(const struct backup_status *s)
{
    char size[SIZE_TEXT_SIZE];
    size_text(s->info.size_bytes, size);
    printf("%" PRIx32 ", %" PRId64 ", %" PRId64 ", %s, %s\n", s->hash.hash, s->info.revision,
           s->hash.key_count, size, s->version);
}

static int run(const struct backup_command *command, int argc, const char *const *argv)
{
    static void (*const print[])(const struct backup_status *s) = {
        [OUTPUT_SIMPLE] = print_simple,
        [OUTPUT_JSON] = print_json,
        [OUTPUT_TABLE] = print_table,
        [OUTPUT_FIELDS] = print_fields,
    };
    struct status_options options = {.common = {.help = false}};
    const char *args[COMMAND_ARGS_MAX];
    size_t count;
    int status;
    enum output_format format;
    if (!command_parse(command, argc, argv, &options, args, 1, 1, &count, &status)) {
        return status;
    }
    if (!command_format(&options.common, ~0u, &format)) {
        return EXIT_COMMAND;
    }
    struct backup_status result = {.version = ""};
    struct why why = {{0}};
    enum err err = read_status(args[0], &options, &result, &why);
    if (err != OK) {
        return command_fail(err, &why);
    }
    print[format](&result);
    return EXIT_SUCCESS;
}

const struct backup_command command_status = {
    .name = "status",
    .args = "FILE",
    .help = "hash, revision, number of keys and size of a backup",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .run = run,
};
