/* SPDX-License-Identifier: Apache-2.0 */
/* The Raft log at start, from a directory that may be damaged in any way: it is refused, or what is
 * loaded hangs together, can be added to, and is the same the next time.
 *
 * The input is a list of steps: what u8 (enum step, modulo), and what that needs. The first ones
 * work on a log that is open, as a member does; DAMAGE and the like close it before, and the next
 * of the others opens it again. Where a checksum would stop every change, it is made right. */
#include "raft/raftlog_files.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "raft/segment.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"

#define DIR           "/log"
#define SEGMENT_SIZE  12288u
#define STEPS_MAX     48u
#define BATCH_MAX     16u
#define RECORDS_MAX   8u
#define METADATA_COPY 72u

enum step {
    APPEND,   /* count u8, length u16 of each, term u8 more than the last */
    TRUNCATE, /* u8: so many entries */
    SNAPSHOT, /* trailing u8: of everything */
    VOTE,     /* u8 terms more, vote u8 */
    REOPEN,
    CRASH,  /* u8: forget so many operations of the disk; seed u8 */
    DAMAGE, /* file u8, offset u16, length u8, bytes; checksums stay wrong */
    FORGE,  /* the same, and the checksum of metadata or the segment's header made right */
    GROUP,  /* file u8, place u8 (0: behind the last), number u8 more than the last, then records:
               count u8, each kind u8, entry kind u8, index u8, term u8, length u8, data */
    CUT,    /* file u8, size u16 */
    REMOVE, /* file u8 */
    COPY,   /* file u8, id u8 of a new segment */
    STEP_COUNT
};

struct run {
    struct env_fake *fake;
    struct fs_fault *disk;
    struct raftlog *log; /* NULL: closed */
    uint64_t term;
    uint64_t first_index;
    uint64_t next_index;
    uint64_t kept_index; /* of the snapshot: nothing up to there is ever truncated */
    unsigned waiting;
};

/* ---- the log, as a member uses it ---- */

struct asked {
    struct raftlog_request request;
    struct run *run;
};

static void on_done(struct raftlog_request *request)
{
    struct asked *asked = CONTAINER_OF(request, struct asked, request);
    asked->run->waiting--;
    free(asked);
}

static struct raftlog_request *new_request(struct run *run)
{
    struct asked *asked = calloc(1, sizeof *asked);
    CLAIM(asked != NULL);
    asked->run = run;
    run->waiting++;
    return &asked->request;
}

static void close_log(struct run *run)
{
    if (run->log != NULL) {
        run->log->ops->close(run->log);
        run->log = NULL;
        env_fake_run(run->fake);
    }
}

static void check_image(const struct raftlog_image *image)
{
    CLAIM(image->first_index >= 1);
    CLAIM(image->entry_count < UINT32_MAX);
    for (size_t i = 0; i < image->entry_count; i++) {
        const struct log_entry *entry = &image->entries[i];
        CLAIM(entry->kind >= LOG_ENTRY_COMMAND && entry->kind <= LOG_ENTRY_CHANGE);
    }
    if (image->snapshot.index > 0) {
        CLAIM(image->first_index <= image->snapshot.index + 1);
        CLAIM(image->snapshot.index < image->first_index + image->entry_count);
    }
}

static uint64_t last_term(const struct raftlog_image *image)
{
    return image->entry_count > 0 ? image->entries[image->entry_count - 1].term
                                  : image->snapshot.term;
}

/* False: what is there is refused. */
static bool open_log(struct run *run)
{
    if (run->log != NULL) {
        return true;
    }
    struct raftlog_files_config config = {
        .env = env_fake_env(run->fake),
        .fs = fs_fault_fs(run->disk),
        .dir = DIR,
        .cluster_id = 7,
        .member_id = 1,
        .segment_bytes = SEGMENT_SIZE,
    };
    struct raftlog_image image = {0};
    struct why why = {{0}};
    struct raftlog *log = NULL;
    enum err err = raftlog_files_open(&config, &log, &why);
    if (err == OK) {
        err = log->ops->load(log, &image, &why);
        if (err == OK) {
            check_image(&image);
            run->first_index = image.first_index;
            run->next_index = image.first_index + image.entry_count;
            run->kept_index = image.snapshot.index;
            run->term = last_term(&image) > image.term ? last_term(&image) : image.term;
            run->log = log;
        } else {
            log->ops->close(log);
        }
        raftlog_image_fini(&image);
    }
    CLAIM(err == OK || why.text[0] != '\0');
    env_fake_run(run->fake);
    return err == OK;
}

static void append(struct run *run, struct reader *input)
{
    static uint8_t data[UINT16_MAX];
    struct log_entry entries[BATCH_MAX];
    size_t count = read_u8(input) % BATCH_MAX + 1;
    struct bytes content = bytes_of(data, read_u16(input));
    run->term += read_u8(input);
    for (size_t i = 0; i < count; i++) {
        entries[i] =
            (struct log_entry){.term = run->term, .kind = LOG_ENTRY_COMMAND, .data = content};
    }
    struct raftlog_request *request = new_request(run);
    run->log->ops->append(run->log, request, run->next_index, entries, count, on_done);
    run->next_index += count;
    env_fake_run(run->fake);
    CLAIM(run->waiting == 0);
}

static void truncate_log(struct run *run, uint8_t count)
{
    uint64_t first = run->first_index > run->kept_index ? run->first_index : run->kept_index + 1;
    uint64_t there = run->next_index - first;
    uint64_t n = count < there ? count : there;
    if (n > 0) {
        run->log->ops->truncate(run->log, run->next_index - n);
        run->next_index -= n;
    }
    env_fake_run(run->fake);
}

static void take_snapshot(struct run *run, uint8_t trailing)
{
    struct log_snapshot snapshot = {.index = run->next_index - 1,
                                    .term = run->term,
                                    .configuration = bytes_of_str("members"),
                                    .data = bytes_of_str("manifest")};
    const struct log_snapshot *before = run->log->ops->snapshot(run->log);
    if (snapshot.index == 0 || (before != NULL && before->index >= snapshot.index)) {
        return;
    }
    struct raftlog_request *request = new_request(run);
    run->log->ops->snapshot_put(run->log, request, &snapshot, trailing, on_done);
    uint64_t first = snapshot.index + 1 > trailing ? snapshot.index + 1 - trailing : 1;
    run->first_index = first > run->first_index ? first : run->first_index;
    run->kept_index = snapshot.index;
    env_fake_run(run->fake);
    CLAIM(run->waiting == 0);
}

static void vote(struct run *run, struct reader *input)
{
    uint64_t more = read_u8(input);
    if (more > 0) {
        run->term += more;
        run->log->ops->set_term(run->log, run->term);
        run->log->ops->set_vote(run->log, read_u8(input));
    }
}

static void crash(struct run *run, struct reader *input)
{
    uint64_t count = fs_fault_op_count(run->disk);
    uint8_t back = read_u8(input);
    close_log(run);
    struct fs_fault *after =
        fs_fault_crash(run->disk, back < count ? count - back : 0, read_u8(input));
    fs_fault_free(run->disk);
    run->disk = after;
}

/* ---- the directory, behind its back ---- */

static bool path_of(struct run *run, uint8_t which, char path[FS_PATH_MAX])
{
    CLEANUP(fs_names_fini) struct fs_names names = {0};
    if (fs_list(fs_fault_fs(run->disk), DIR, &names, NULL) != OK || names.count == 0) {
        return false;
    }
    return fs_join(DIR, names.names[which % names.count], path, FS_PATH_MAX, NULL) == OK;
}

static void read_path(struct run *run, const char *path, struct buf *ret)
{
    CLAIM(fs_read_file(fs_fault_fs(run->disk), path, 1u << 24, ret, NULL) == OK);
}

static void write_path(struct run *run, const char *path, struct bytes content)
{
    struct fs_file *file;
    CLAIM(fs_open(fs_fault_fs(run->disk), path, FS_CREATE, &file, NULL) == OK);
    CLAIM(fs_truncate(file, content.len, NULL) == OK);
    CLAIM(content.len == 0 || fs_write(file, 0, content.data, content.len, NULL) == OK);
    fs_close(file);
}

/* CRC of the LEN bytes at AT, behind them. */
static void sign(struct buf *content, size_t at, size_t len)
{
    if (content->len >= at + len + 4) {
        put_u32(content->data + at + len, crc32c(0, content->data + at, len));
    }
}

static void change_file(struct run *run, struct reader *input, bool signs)
{
    char path[FS_PATH_MAX];
    CLEANUP(buf_fini) struct buf content = {0};
    uint8_t which = read_u8(input);
    size_t offset = read_u16(input);
    struct bytes bytes = fuzz_view(input, read_u8(input));
    if (!path_of(run, which, path)) {
        return;
    }
    read_path(run, path, &content);
    for (size_t i = 0; i < bytes.len && offset + i < content.len; i++) {
        content.data[offset + i] = bytes.data[i];
    }
    if (signs && strstr(path, "metadata") != NULL) {
        sign(&content, 0, METADATA_COPY - 4);
        sign(&content, SEGMENT_DATA_OFFSET, METADATA_COPY - 4);
    } else if (signs) {
        sign(&content, 0, 52);
    }
    write_path(run, path, buf_bytes(&content));
}

static uint64_t salt_of(struct run *run)
{
    CLEANUP(buf_fini) struct buf content = {0};
    if (fs_read_file(fs_fault_fs(run->disk), DIR "/metadata", 1u << 20, &content, NULL) != OK ||
        content.len < METADATA_COPY) {
        return 0;
    }
    return get_u64(content.data + 32);
}

static void add_records(struct group *group, struct reader *input, const struct run *run)
{
    unsigned count = read_u8(input) % RECORDS_MAX;
    for (unsigned i = 0; i < count; i++) {
        struct record record = {.kind = read_u8(input)};
        record.entry_kind = read_u8(input);
        record.index = run->next_index + (uint64_t)(int8_t)read_u8(input);
        record.term = run->term + (uint64_t)(int8_t)read_u8(input);
        if (record.kind == RECORD_STATE) {
            record.term = record.index + (uint64_t)(int8_t)read_u8(input);
        }
        record.data = fuzz_view(input, read_u8(input));
        group_add(group, &record);
    }
}

/* Where the groups of CONTENT end, and the number of the last. */
static uint64_t end_of_groups(struct bytes content, uint64_t tag, uint64_t *number)
{
    uint64_t at = SEGMENT_DATA_OFFSET;
    struct group_view view;
    while (group_read(content, at, tag, &view)) {
        *number = view.number;
        at += view.bytes;
    }
    return at;
}

static void put_group(struct buf *content, uint64_t at, const struct bytes *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < parts[i].len && at < content->len; k++) {
            content->data[at++] = parts[i].data[k];
        }
    }
}

/* A whole group of any records, where the log would write it or somewhere else. */
static void forge_group(struct run *run, struct reader *input)
{
    char path[FS_PATH_MAX];
    CLEANUP(buf_fini) struct buf content = {0};
    CLEANUP(group_fini) struct group group = {0};
    uint8_t which = read_u8(input);
    uint64_t place = read_u8(input);
    uint64_t more = read_u8(input);
    uint64_t id;
    add_records(&group, input, run);
    if (!path_of(run, which, path) || !segment_parse_name(path + sizeof DIR, &id)) {
        return;
    }
    read_path(run, path, &content);
    uint64_t tag = mix64(salt_of(run) ^ id);
    uint64_t number = 0;
    uint64_t end = end_of_groups(buf_bytes(&content), tag, &number);
    uint64_t at = place == 0 ? end : SEGMENT_DATA_OFFSET + 8 * place;
    const struct bytes *parts;
    size_t count;
    CLAIM(group_seal(&group, tag, number + more, at, &parts, &count) == OK);
    put_group(&content, at, parts, count);
    write_path(run, path, buf_bytes(&content));
}

static void cut(struct run *run, struct reader *input)
{
    char path[FS_PATH_MAX];
    CLEANUP(buf_fini) struct buf content = {0};
    uint8_t which = read_u8(input);
    size_t size = read_u16(input);
    if (path_of(run, which, path)) {
        read_path(run, path, &content);
        write_path(run, path, bytes_of(content.data, size < content.len ? size : content.len));
    }
}

static void remove_file(struct run *run, uint8_t which)
{
    char path[FS_PATH_MAX];
    if (path_of(run, which, path)) {
        CLAIM(fs_unlink(fs_fault_fs(run->disk), path, NULL) == OK);
    }
}

static void copy(struct run *run, struct reader *input)
{
    char path[FS_PATH_MAX];
    char to[64];
    CLEANUP(buf_fini) struct buf content = {0};
    uint8_t which = read_u8(input);
    (void)snprintf(to, sizeof to, DIR "/segment-%016x", read_u8(input));
    if (path_of(run, which, path)) {
        read_path(run, path, &content);
        write_path(run, to, buf_bytes(&content));
    }
}

/* ---- steps ---- */

static void work(struct run *run, enum step step, struct reader *input)
{
    switch (step) {
    case APPEND:
        append(run, input);
        break;
    case TRUNCATE:
        truncate_log(run, read_u8(input));
        break;
    case SNAPSHOT:
        take_snapshot(run, read_u8(input));
        break;
    case VOTE:
        vote(run, input);
        break;
    default:
        close_log(run);
    }
}

static void change(struct run *run, enum step step, struct reader *input)
{
    close_log(run);
    switch (step) {
    case DAMAGE:
    case FORGE:
        change_file(run, input, step == FORGE);
        break;
    case GROUP:
        forge_group(run, input);
        break;
    case CUT:
        cut(run, input);
        break;
    case REMOVE:
        remove_file(run, read_u8(input));
        break;
    case COPY:
        copy(run, input);
        break;
    default:
        crash(run, input);
    }
}

/* What was loaded once, and closed, is there the next time. */
static void check_again(struct run *run)
{
    if (!open_log(run)) {
        return;
    }
    uint64_t first_index = run->first_index;
    uint64_t next_index = run->next_index;
    close_log(run);
    CLAIM(open_log(run));
    CLAIM(run->first_index == first_index && run->next_index == next_index);
    close_log(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_of(bytes_of(data, size));
    struct run run = {.fake = env_fake_new(1), .disk = fs_fault_new()};
    bool good = open_log(&run);
    CLAIM(good);
    for (unsigned i = 0; good && i < STEPS_MAX && reader_left(&input) > 0; i++) {
        enum step step = read_u8(&input) % STEP_COUNT;
        if (step >= CRASH) {
            change(&run, step, &input);
        } else if ((good = open_log(&run))) {
            work(&run, step, &input);
        }
    }
    check_again(&run);
    close_log(&run);
    fs_fault_free(run.disk);
    env_fake_free(run.fake);
    return 0;
}
