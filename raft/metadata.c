/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/metadata.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/plant.h"

#define METADATA_MAGIC   0x314154454d565254u /* "TRVMETA1" */
#define METADATA_VERSION 1u
#define COPY_BYTES       72u
#define COPY_CRC_AT      68u
#define COPY_PLACE       4096u
#define FILE_BYTES       (2 * COPY_PLACE)

static const char file_name[] = "metadata";

struct metadata {
    struct fs_file *file;
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t salt;
    uint64_t sequence;
    uint64_t term;
    uint64_t vote;
    bool no_sync;
    bool mended;
    char path[FS_PATH_MAX];
};

struct copy {
    bool good;
    uint64_t salt;
    uint64_t sequence;
    uint64_t term;
    uint64_t vote;
};

static void encode(const struct metadata *m, uint8_t out[COPY_BYTES])
{
    memset(out, 0, COPY_BYTES);
    put_u64(out, METADATA_MAGIC);
    put_u32(out + 8, METADATA_VERSION);
    put_u64(out + 16, m->cluster_id);
    put_u64(out + 24, m->member_id);
    put_u64(out + 32, m->salt);
    put_u64(out + 40, m->sequence);
    put_u64(out + 48, m->term);
    put_u64(out + 56, m->vote);
    put_u32(out + COPY_CRC_AT, crc32c(0, out, COPY_CRC_AT));
}

/* An error only for a copy that is whole and not for us. */
static enum err decode(const struct metadata *m, const uint8_t *in, struct copy *ret,
                       struct why *why)
{
    *ret = (struct copy){0};
    if (get_u64(in) != METADATA_MAGIC || get_u32(in + COPY_CRC_AT) != crc32c(0, in, COPY_CRC_AT)) {
        return OK;
    }
    if (get_u32(in + 8) != METADATA_VERSION) {
        why_set(why, "raft log: '%s' has format version %" PRIu32 ", this program reads version %u",
                m->path, get_u32(in + 8), METADATA_VERSION);
        return ERR_VERSION;
    }
    if (get_u64(in + 16) != m->cluster_id || get_u64(in + 24) != m->member_id) {
        why_set(why,
                "raft log: '%s' belongs to member %" PRIx64 " of cluster %" PRIx64
                ", not to member %" PRIx64 " of cluster %" PRIx64,
                m->path, get_u64(in + 24), get_u64(in + 16), m->member_id, m->cluster_id);
        return ERR_FOREIGN;
    }
    *ret = (struct copy){
        .good = true,
        .salt = get_u64(in + 32),
        .sequence = get_u64(in + 40),
        .term = get_u64(in + 48),
        .vote = get_u64(in + 56),
    };
    return OK;
}

static enum err write_copy(struct metadata *m, unsigned which, struct why *why)
{
    uint8_t copy[COPY_BYTES];
    encode(m, copy);
    TRY(fs_write(m->file, (uint64_t)which * COPY_PLACE, copy, sizeof copy, why));
    return m->no_sync || PLANTED(VOTE_NOT_SYNCED) ? OK : fs_sync(m->file, why);
}

/* The one that holds, after the table in the header; NULL: none does. */
static const struct copy *choose(const struct copy *first, const struct copy *second)
{
    if (!first->good || !second->good) {
        return first->good ? first : second->good ? second : NULL;
    }
    bool same = first->sequence == second->sequence && first->term == second->term &&
                first->vote == second->vote;
    bool ahead = first->sequence == second->sequence + 1 && first->term >= second->term;
    return first->salt == second->salt && (same || ahead) ? first : NULL;
}

static enum err load(struct metadata *m, struct why *why)
{
    uint8_t content[FILE_BYTES] = {0};
    size_t len;
    TRY(fs_read(m->file, 0, content, sizeof content, &len, why));
    struct copy first;
    struct copy second;
    TRY(decode(m, content, &first, why));
    TRY(decode(m, content + COPY_PLACE, &second, why));
    const struct copy *chosen = choose(&first, &second);
    if (chosen == NULL) {
        why_set(why, "raft log: '%s' is damaged: %s: term and vote are not known", m->path,
                first.good ? "its copies at offsets 0 and 4096 contradict each other"
                           : "both copies, at offsets 0 and 4096");
        return ERR_CORRUPT;
    }
    m->salt = chosen->salt;
    m->sequence = chosen->sequence;
    m->term = chosen->term;
    m->vote = chosen->vote;
    m->mended = !first.good || !second.good || first.sequence != second.sequence;
    /* Always written anew: what was read may be in memory only, since a failed sync. Last comes the
     * copy that is on disk for certain, so that there is one at any moment: the first, unless it is
     * damaged or was written and the second not yet. */
    bool same = second.good && first.sequence == second.sequence;
    unsigned last = first.good && (same || !second.good) ? 0 : 1;
    TRY(write_copy(m, 1 - last, why));
    return write_copy(m, last, why);
}

static enum err create(struct metadata *m, const struct metadata_config *config, struct why *why)
{
    m->salt = env_random_u64(config->env);
    uint8_t content[FILE_BYTES] = {0};
    encode(m, content);
    encode(m, content + COPY_PLACE);
    TRY(fs_replace_file(config->fs, config->dir, file_name, bytes_of(content, sizeof content),
                        why));
    return fs_open(config->fs, m->path, FS_WRITE, &m->file, why);
}

enum err metadata_open(const struct metadata_config *config, struct metadata **ret, struct why *why)
{
    CLEANUP(metadata_closep) struct metadata *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return ERR_NOMEM;
    }
    m->cluster_id = config->cluster_id;
    m->member_id = config->member_id;
    m->no_sync = config->no_sync;
    TRY(fs_join(config->dir, file_name, m->path, sizeof m->path, why));
    enum err err = fs_open(config->fs, m->path, FS_WRITE, &m->file, why);
    if (err == ERR_NOT_FOUND && config->may_create) {
        TRY(create(m, config, why));
    } else {
        TRY(err);
        TRY(load(m, why));
    }
    *ret = TAKE(m);
    return OK;
}

static enum err read_identity(struct fs_file *file, const char *path, uint64_t *cluster_id,
                              uint64_t *member_id, struct why *why)
{
    uint8_t content[FILE_BYTES] = {0};
    size_t len;
    TRY(fs_read(file, 0, content, sizeof content, &len, why));
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *copy = content + i * COPY_PLACE;
        struct metadata m = {.cluster_id = get_u64(copy + 16), .member_id = get_u64(copy + 24)};
        struct copy decoded;
        strcpy(m.path, path);
        TRY(decode(&m, copy, &decoded, why));
        if (decoded.good) {
            *cluster_id = m.cluster_id;
            *member_id = m.member_id;
            return OK;
        }
    }
    why_set(why, "raft log: '%s' is damaged: both copies, at offsets 0 and 4096", path);
    return ERR_CORRUPT;
}

enum err metadata_identity(struct fs *fs, const char *dir, uint64_t *cluster_id,
                           uint64_t *member_id, struct why *why)
{
    char path[FS_PATH_MAX];
    struct fs_file *file;
    TRY(fs_join(dir, file_name, path, sizeof path, why));
    TRY(fs_open(fs, path, FS_READ, &file, why));
    enum err err = read_identity(file, path, cluster_id, member_id, why);
    fs_close(file);
    return err;
}

void metadata_close(struct metadata *metadata)
{
    if (metadata != NULL) {
        fs_close(metadata->file);
        free(metadata);
    }
}

void metadata_closep(struct metadata **metadata)
{
    metadata_close(*metadata);
}

uint64_t metadata_term(const struct metadata *metadata)
{
    return metadata->term;
}

uint64_t metadata_vote(const struct metadata *metadata)
{
    return metadata->vote;
}

uint64_t metadata_salt(const struct metadata *metadata)
{
    return metadata->salt;
}

bool metadata_mended(const struct metadata *metadata)
{
    return metadata->mended;
}

enum err metadata_set(struct metadata *metadata, uint64_t term, uint64_t vote, struct why *why)
{
    metadata->sequence++;
    metadata->term = term;
    metadata->vote = vote;
    TRY(write_copy(metadata, 0, why));
    return write_copy(metadata, 1, why);
}
