/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivetd/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/limits.h"
#include "snapshot/restore.h"

#define ELECTION_MS_MAX       50000
#define RETENTION_DIGITS_MAX  12 /* so that nothing overflows */
#define QUOTA_BYTES_DEFAULT   (2ull * 1024 * 1024 * 1024)
#define WATCH_PROGRESS_MS_MIN 100

static enum err check_timing(const struct config *config, struct why *why)
{
    if (config->heartbeat_ms == 0) {
        why_set(why, "--heartbeat-interval must be >0 (set to 0ms)");
        return ERR_INVALID;
    }
    if (config->election_ms > ELECTION_MS_MAX) {
        why_set(why, "--election-timeout[%llums] is too long, and should be set less than %dms",
                (unsigned long long)config->election_ms, ELECTION_MS_MAX);
        return ERR_INVALID;
    }
    if (config->heartbeat_ms > config->election_ms / 5) {
        why_set(why,
                "--election-timeout[%llums] should be at least as 5 times as "
                "--heartbeat-interval[%llums]",
                (unsigned long long)config->election_ms, (unsigned long long)config->heartbeat_ms);
        return ERR_INVALID;
    }
    return OK;
}

static enum err check_range(const char *flag, uint64_t value, uint64_t min, uint64_t max,
                            struct why *why)
{
    if (value < min || value > max) {
        why_set(why, "--%s: %llu is not between %llu and %llu", flag, (unsigned long long)value,
                (unsigned long long)min, (unsigned long long)max);
        return ERR_INVALID;
    }
    return OK;
}

static enum err check_limits(const struct config *config, struct why *why)
{
    TRY(check_range("max-request-bytes", config->request_bytes_max, 1, REQUEST_BYTES_MAX, why));
    TRY(check_range("max-txn-ops", config->txn_ops_max, 1, TXN_OPS_MAX, why));
    TRY(check_range("snapshot-count", config->snapshot_count, 1, UINT32_MAX, why));
    TRY(check_range("max-learners", config->learners_max, 1, MEMBERS_MAX, why));
    TRY(check_range("snapshot-catchup-entries", config->snapshot_catchup_entries, 1, UINT32_MAX,
                    why));
    TRY(check_range("max-concurrent-streams", config->streams_max, 1, UINT32_MAX, why));
    if (config->watch_progress_ms < WATCH_PROGRESS_MS_MIN) {
        why_set(why, "--watch-progress-notify-interval must be at least %dms (set to %llums)",
                WATCH_PROGRESS_MS_MIN, (unsigned long long)config->watch_progress_ms);
        return ERR_INVALID;
    }
    if (strcmp(config->log_format, "json") != 0) {
        why_set(why, "--log-format: unknown log format '%s', only 'json' is supported",
                config->log_format);
        return ERR_INVALID;
    }
    if (strchr(config->log_outputs, ',') != NULL) {
        why_set(why, "--log-outputs: '%s': only one output is supported in this version",
                config->log_outputs);
        return ERR_UNSUPPORTED;
    }
    return OK;
}

static enum err check_level(const char *text, enum log_level *ret, struct why *why)
{
    static const struct {
        const char *text;
        enum log_level level;
    } levels[] = {{"debug", LOG_DEBUG}, {"info", LOG_INFO},   {"warn", LOG_WARN},
                  {"error", LOG_ERROR}, {"panic", LOG_ERROR}, {"fatal", LOG_ERROR}};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (strcmp(levels[i].text, text) == 0) {
            *ret = levels[i].level;
            return OK;
        }
    }
    why_set(why, "--log-level: unknown level '%s'", text);
    return ERR_INVALID;
}

/* Call FN for each item of a comma list. */
static enum err each_item(const char *list,
                          enum err (*fn)(void *ctx, struct bytes item, struct why *why), void *ctx,
                          struct why *why)
{
    for (const char *at = list; *list != '\0';) {
        const char *comma = strchrnul(at, ',');
        TRY(fn(ctx, bytes_of(at, (size_t)(comma - at)), why));
        if (*comma == '\0') {
            break;
        }
        at = comma + 1;
    }
    return OK;
}

struct addr_list {
    struct addr *addrs;
    size_t *count;
};

static enum err add_listen_url(void *ctx, struct bytes item, struct why *why)
{
    struct addr_list *list = ctx;
    struct url url;
    TRY(url_parse(item, &url, why));
    if (url.scheme != URL_HTTP) {
        why_set(why, "'%.*s': only http:// URLs can be listened on in this version", (int)item.len,
                (const char *)item.data);
        return ERR_UNSUPPORTED;
    }
    if (!addr_host_is_ip_or_localhost(url.addr.host)) {
        why_set(why, "expected IP in URL for binding (%.*s)", (int)item.len,
                (const char *)item.data);
        return ERR_INVALID;
    }
    if (*list->count == LISTEN_URLS_MAX) {
        why_set(why, "more than %d URLs", LISTEN_URLS_MAX);
        return ERR_LIMIT;
    }
    list->addrs[(*list->count)++] = url.addr;
    return OK;
}

static enum err parse_listen(const char *flag, const char *text, struct addr *addrs, size_t *count,
                             bool required, struct why *why)
{
    struct addr_list list = {.addrs = addrs, .count = count};
    enum err err = each_item(text, add_listen_url, &list, why);
    if (err == OK && required && *count == 0) {
        why_set(why, "no URL is given");
        err = ERR_INVALID;
    }
    if (err != OK) {
        why_prefix(why, "--%s", flag);
    }
    return err;
}

static enum err add_client_url(void *ctx, struct bytes item, struct why *why)
{
    struct settings *settings = ctx;
    struct url url;
    TRY(url_parse(item, &url, why));
    if (settings->client_url_count == LISTEN_URLS_MAX) {
        why_set(why, "more than %d URLs", LISTEN_URLS_MAX);
        return ERR_LIMIT;
    }
    char *copy = strndup((const char *)item.data, item.len);
    if (copy == NULL) {
        return ERR_NOMEM;
    }
    settings->client_urls[settings->client_url_count++] = copy;
    return OK;
}

static enum err parse_urls(const struct config *config, struct settings *settings, struct why *why)
{
    if (config->client_urls_given && !config->advertise_client_given) {
        why_set(why,
                "--advertise-client-urls is required when --listen-client-urls is set explicitly");
        return ERR_INVALID;
    }
    TRY(parse_listen("listen-peer-urls", config->listen_peer_urls, settings->listen_peers,
                     &settings->listen_peer_count, true, why));
    TRY(parse_listen("listen-client-urls", config->listen_client_urls, settings->listen_clients,
                     &settings->listen_client_count, true, why));
    TRY(parse_listen("listen-metrics-urls", config->listen_metrics_urls, settings->listen_metrics,
                     &settings->listen_metrics_count, false, why));
    enum err err = each_item(config->advertise_client_urls, add_client_url, settings, why);
    if (err != OK) {
        why_prefix(why, "--advertise-client-urls");
    }
    return err;
}

/* The default initial cluster is this member alone: every one of its peer URLs under its name. */
static enum err default_cluster(const struct config *config, struct buf *buf)
{
    for (const char *at = config->initial_advertise_peer_urls;;) {
        const char *comma = strchrnul(at, ',');
        buf_printf(buf, "%s%s=%.*s", buf->len == 0 ? "" : ",", config->name, (int)(comma - at), at);
        if (*comma == '\0') {
            break;
        }
        at = comma + 1;
    }
    write_u8(buf, 0);
    return buf_ok(buf) ? OK : ERR_NOMEM;
}

/* Every advertised URL must be one of this member's in the initial cluster, and the other way
 * round. */
static enum err check_advertised(const struct config *config, const struct initial_member *self,
                                 struct why *why)
{
    size_t count = 0;
    for (const char *at = config->initial_advertise_peer_urls;;) {
        const char *comma = strchrnul(at, ',');
        struct bytes url = bytes_of(at, (size_t)(comma - at));
        bool found = false;
        for (size_t i = 0; i < self->peer_url_count; i++) {
            found |= bytes_equal(bytes_of_str(self->peer_urls[i]), url);
        }
        if (!found) {
            why_set(
                why,
                "--initial-advertise-peer-urls has %.*s but it is missing from --initial-cluster",
                (int)url.len, (const char *)url.data);
            return ERR_INVALID;
        }
        count++;
        if (*comma == '\0') {
            break;
        }
        at = comma + 1;
    }
    if (count != self->peer_url_count) {
        why_set(why,
                "--initial-cluster has %zu peer URLs for \"%s\" but --initial-advertise-peer-urls "
                "has %zu",
                self->peer_url_count, config->name, count);
        return ERR_INVALID;
    }
    return OK;
}

static enum err parse_cluster(const struct config *config, struct settings *settings,
                              struct why *why)
{
    CLEANUP(buf_fini) struct buf alone = {0};
    const char *text = config->initial_cluster;
    if (text == NULL || text[0] == '\0') {
        TRY(default_cluster(config, &alone));
        text = (const char *)alone.data;
    }
    if (strcmp(config->initial_cluster_state, "new") != 0 &&
        strcmp(config->initial_cluster_state, "existing") != 0) {
        why_set(why, "--initial-cluster-state: '%s' is neither 'new' nor 'existing'",
                config->initial_cluster_state);
        return ERR_INVALID;
    }
    enum err err =
        initial_cluster_parse(text, config->initial_cluster_token, &settings->cluster, why);
    if (err != OK) {
        why_prefix(why, "--initial-cluster");
        return err;
    }
    settings->joins = strcmp(config->initial_cluster_state, "existing") == 0;
    settings->self = initial_cluster_find(&settings->cluster, config->name);
    if (settings->self == NULL) {
        why_set(why, "couldn't find local name \"%s\" in the initial cluster configuration",
                config->name);
        return ERR_INVALID;
    }
    return check_advertised(config, settings->self, why);
}

static enum err join(char *to, size_t size, const char *dir, const char *name, struct why *why)
{
    int n = snprintf(to, size, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= size) {
        why_set(why, "path too long: %s/%s", dir, name);
        return ERR_INVALID;
    }
    return OK;
}

static enum err make_paths(const struct config *config, struct settings *settings, struct why *why)
{
    char data_dir[PATH_MAX];
    bool given = config->data_dir != NULL && config->data_dir[0] != '\0'; /* else it were in "/" */
    int n = given ? snprintf(data_dir, sizeof data_dir, "%s", config->data_dir)
                  : snprintf(data_dir, sizeof data_dir, "%s.etcd", config->name);
    if (n < 0 || (size_t)n >= sizeof data_dir) {
        why_set(why, "--data-dir: path too long");
        return ERR_INVALID;
    }
    TRY(join(settings->member_dir, sizeof settings->member_dir, data_dir, "member", why));
    TRY(join(settings->removed_path, sizeof settings->removed_path, settings->member_dir, "removed",
             why));
    TRY(join(settings->store_path, sizeof settings->store_path, settings->member_dir, "store.db",
             why));
    TRY(join(settings->restoring_path, sizeof settings->restoring_path, data_dir, RESTORE_STAGING,
             why));
    if (config->wal_dir != NULL && config->wal_dir[0] != '\0') {
        n = snprintf(settings->raft_dir, sizeof settings->raft_dir, "%s", config->wal_dir);
        if (n < 0 || (size_t)n >= sizeof settings->raft_dir) {
            why_set(why, "--wal-dir: path too long");
            return ERR_INVALID;
        }
        return OK;
    }
    return join(settings->raft_dir, sizeof settings->raft_dir, settings->member_dir, "raft", why);
}

/* Whole numbers are hours or revisions, by mode; of hours there may be parts, as a duration. */
static enum err parse_compaction(const struct config *config, struct settings *settings,
                                 struct why *why)
{
    static const struct {
        const char *text;
        enum compactor_mode mode;
        uint64_t unit;
    } modes[] = {{"periodic", COMPACTOR_PERIODIC, 3600000}, {"revision", COMPACTOR_REVISION, 1}};
    size_t i = 0;
    while (i < ARRAY_LEN(modes) && strcmp(modes[i].text, config->compaction_mode) != 0) {
        i++;
    }
    if (i == ARRAY_LEN(modes)) {
        why_set(why, "unknown auto-compaction-mode \"%s\"", config->compaction_mode);
        return ERR_INVALID;
    }
    settings->compactor_mode = modes[i].mode;
    const char *text = config->compaction_retention;
    bool is_number = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
    enum err err = ERR_INVALID;
    if (is_number && strlen(text) <= RETENTION_DIGITS_MAX) {
        settings->compactor_retention = strtoull(text, NULL, 10) * modes[i].unit;
        err = OK;
    } else if (!is_number && modes[i].mode == COMPACTOR_PERIODIC) {
        err = flags_parse_duration(text, &settings->compactor_retention);
    }
    if (err == OK && modes[i].mode == COMPACTOR_PERIODIC &&
        settings->compactor_retention > COMPACTOR_RETENTION_MS_MAX) {
        err = ERR_LIMIT;
    }
    if (err != OK) {
        why_set(why, "error parsing auto-compaction-retention: \"%s\"", text);
    }
    return err;
}

static uint64_t quota_of(const struct config *config)
{
    if (config->quota_bytes < 0) {
        return 0;
    }
    return config->quota_bytes == 0 ? QUOTA_BYTES_DEFAULT : (uint64_t)config->quota_bytes;
}

enum err settings_make(const struct config *config, struct settings *ret, struct why *why)
{
    *ret = (struct settings){.config = config, .quota_bytes = quota_of(config)};
    enum err err = check_timing(config, why);
    if (err == OK) {
        err = check_limits(config, why);
    }
    if (err == OK) {
        err = check_level(config->log_level, &ret->log_level, why);
    }
    if (err == OK) {
        err = parse_compaction(config, ret, why);
    }
    if (err == OK) {
        err = parse_urls(config, ret, why);
    }
    if (err == OK) {
        err = parse_cluster(config, ret, why);
    }
    if (err == OK) {
        err = make_paths(config, ret, why);
    }
    if (err != OK) {
        settings_fini(ret);
    }
    return err;
}

void settings_fini(struct settings *settings)
{
    initial_cluster_fini(&settings->cluster);
    for (size_t i = 0; i < settings->client_url_count; i++) {
        free(settings->client_urls[i]);
    }
    settings->client_url_count = 0;
}
