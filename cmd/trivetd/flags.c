/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/trivetd/flags.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"

#define FLAG_NAME_MAX 64

enum flag_kind {
    FLAG_TEXT,
    FLAG_NUMBER, /* uint64 */
    FLAG_SIGNED, /* int64 */
    FLAG_BOOL,
    FLAG_DURATION, /* Go's: 300ms, 5s, 1h30m; stored as milliseconds */
    FLAG_IGNORED,  /* etcd's, without meaning here: a warning when it is set */
    FLAG_IGNORED_BOOL,
    FLAG_REFUSED, /* etcd's, and going on without it would be wrong; empty or false asks for nothing
                   */
    FLAG_REFUSED_BOOL,
};

struct flag {
    const char *name;
    enum flag_kind kind;
    const char *initial; /* as a text; NULL: none */
    const char *help;    /* for FLAG_REFUSED: why */
    size_t offset;
};

#define TO(member) offsetof(struct config, member)
#define NO_TLS     "TLS is not supported in this version"

static const struct flag flags[] = {
    {"name", FLAG_TEXT, "default", "name of this member", TO(name)},
    {"data-dir", FLAG_TEXT, NULL, "data directory (default '<name>.etcd')", TO(data_dir)},
    {"wal-dir", FLAG_TEXT, NULL, "directory of the Raft log (default: in the data directory)",
     TO(wal_dir)},
    {"snapshot-count", FLAG_NUMBER, "100000", "entries between snapshots of the Raft log",
     TO(snapshot_count)},
    {"snapshot-catchup-entries", FLAG_NUMBER, "250000",
     "entries of the Raft log that are kept for a member that is behind",
     TO(snapshot_catchup_entries)},
    {"heartbeat-interval", FLAG_NUMBER, "100", "milliseconds between heartbeats", TO(heartbeat_ms)},
    {"election-timeout", FLAG_NUMBER, "1000", "milliseconds without a leader before an election",
     TO(election_ms)},
    {"listen-peer-urls", FLAG_TEXT, "http://localhost:2380", "URLs to listen on for peers",
     TO(listen_peer_urls)},
    {"listen-client-urls", FLAG_TEXT, "http://localhost:2379", "URLs to listen on for clients",
     TO(listen_client_urls)},
    {"listen-metrics-urls", FLAG_TEXT, "", "more URLs for /metrics and /health",
     TO(listen_metrics_urls)},
    {"initial-advertise-peer-urls", FLAG_TEXT, "http://localhost:2380", "this member's peer URLs",
     TO(initial_advertise_peer_urls)},
    {"advertise-client-urls", FLAG_TEXT, "http://localhost:2379", "this member's client URLs",
     TO(advertise_client_urls)},
    {"initial-cluster", FLAG_TEXT, NULL, "members of the new cluster: name=peer-url,...",
     TO(initial_cluster)},
    {"initial-cluster-state", FLAG_TEXT, "new", "'new' or 'existing'", TO(initial_cluster_state)},
    {"initial-cluster-token", FLAG_TEXT, "etcd-cluster",
     "text that goes into the ids of a new cluster", TO(initial_cluster_token)},
    {"strict-reconfig-check", FLAG_BOOL, "true",
     "refuse changes of the members that could lose the quorum", TO(strict_reconfig)},
    {"max-learners", FLAG_NUMBER, "1", "most members that are learners", TO(learners_max)},
    {"quota-backend-bytes", FLAG_SIGNED, "0",
     "size limit of the database; 0: 2 GiB, negative: none", TO(quota_bytes)},
    {"auto-compaction-mode", FLAG_TEXT, "periodic",
     "what --auto-compaction-retention counts: 'periodic' time, 'revision' revisions",
     TO(compaction_mode)},
    {"auto-compaction-retention", FLAG_TEXT, "0",
     "history that stays: hours or a duration (72h, 5m), or revisions; 0: all of it",
     TO(compaction_retention)},
    {"max-txn-ops", FLAG_NUMBER, "128", "most operations in one transaction", TO(txn_ops_max)},
    {"max-request-bytes", FLAG_NUMBER, "1572864", "largest request", TO(request_bytes_max)},
    {"max-concurrent-streams", FLAG_NUMBER, "4294967295", "most streams of one client connection",
     TO(streams_max)},
    {"grpc-keepalive-min-time", FLAG_DURATION, "5s",
     "shortest interval of client pings that is allowed", TO(keepalive_min_ms)},
    {"grpc-keepalive-interval", FLAG_DURATION, "2h",
     "interval of server pings on a silent connection", TO(keepalive_interval_ms)},
    {"grpc-keepalive-timeout", FLAG_DURATION, "20s", "time to answer a server ping",
     TO(keepalive_timeout_ms)},
    {"watch-progress-notify-interval", FLAG_DURATION, "10m",
     "interval of notices to watchers that asked for them and had no event", TO(watch_progress_ms)},
    {"corrupt-check-time", FLAG_DURATION, "0",
     "interval of comparing members' hashes; 0: 5s, never off", TO(corrupt_check_ms)},
    {"scrub-time", FLAG_DURATION, "24h",
     "interval of reading and checking the whole database; 0: never", TO(scrub_ms)},
    {"log-level", FLAG_TEXT, "info", "debug, info, warn, error, panic or fatal", TO(log_level)},
    {"log-outputs", FLAG_TEXT, "default", "'default' or 'stderr', 'stdout', or a file",
     TO(log_outputs)},
    {"log-format", FLAG_TEXT, "json", "json", TO(log_format)},
    {"version", FLAG_BOOL, "false", "print the version and exit", TO(version)},
    {"help", FLAG_BOOL, "false", "print this text and exit", TO(help)},
    {"h", FLAG_BOOL, "false", NULL, TO(help)},
    {"server-version", FLAG_TEXT, "3.7.1", NULL, TO(server_version)},

    {"config-file", FLAG_REFUSED, NULL, "configuration files are not supported in this version", 0},
    {"force-new-cluster", FLAG_BOOL, "false",
     "go on alone with this member's data: when most members are lost for good",
     TO(force_new_cluster)},
    {"cert-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"key-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"trusted-ca-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"client-cert-auth", FLAG_REFUSED_BOOL, NULL, NO_TLS, 0},
    {"client-cert-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"client-key-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"client-crl-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"client-cert-allowed-hostname", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"auto-tls", FLAG_REFUSED_BOOL, NULL, NO_TLS, 0},
    {"peer-cert-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-key-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-trusted-ca-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-client-cert-auth", FLAG_REFUSED_BOOL, NULL, NO_TLS, 0},
    {"peer-auto-tls", FLAG_REFUSED_BOOL, NULL, NO_TLS, 0},
    {"peer-client-cert-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-client-key-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-crl-file", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-cert-allowed-cn", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"peer-cert-allowed-hostname", FLAG_REFUSED, NULL, NO_TLS, 0},
    {"discovery-srv", FLAG_REFUSED, NULL, "discovery is not supported", 0},
    {"discovery-srv-name", FLAG_REFUSED, NULL, "discovery is not supported", 0},
    {"discovery-token", FLAG_REFUSED, NULL, "discovery is not supported", 0},
    {"discovery-endpoints", FLAG_REFUSED, NULL, "discovery is not supported", 0},
    {"listen-client-http-urls", FLAG_REFUSED, NULL,
     "separate HTTP listeners are not supported in this version", 0},
    {"unsafe-no-fsync", FLAG_REFUSED_BOOL, NULL, "losing acknowledged writes is not on offer", 0},

    {"pre-vote", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"initial-election-tick-advance", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"max-snapshots", FLAG_IGNORED, NULL, NULL, 0},
    {"max-wals", FLAG_IGNORED, NULL, NULL, 0},
    {"backend-bbolt-freelist-type", FLAG_IGNORED, NULL, NULL, 0},
    {"backend-batch-interval", FLAG_IGNORED, NULL, NULL, 0},
    {"backend-batch-limit", FLAG_IGNORED, NULL, NULL, 0},
    {"peer-skip-client-san-verification", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"cipher-suites", FLAG_IGNORED, NULL, NULL, 0},
    {"tls-min-version", FLAG_IGNORED, NULL, NULL, 0},
    {"tls-max-version", FLAG_IGNORED, NULL, NULL, 0},
    {"self-signed-cert-validity", FLAG_IGNORED, NULL, NULL, 0},
    {"cors", FLAG_IGNORED, NULL, NULL, 0},
    {"host-whitelist", FLAG_IGNORED, NULL, NULL, 0},
    {"auth-token", FLAG_IGNORED, NULL, NULL, 0},
    {"auth-token-ttl", FLAG_IGNORED, NULL, NULL, 0},
    {"bcrypt-cost", FLAG_IGNORED, NULL, NULL, 0},
    {"compaction-batch-limit", FLAG_IGNORED, NULL, NULL, 0},
    {"compaction-sleep-interval", FLAG_IGNORED, NULL, NULL, 0},
    {"enable-grpc-gateway", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"enable-pprof", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"enable-v2", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"metrics", FLAG_IGNORED, NULL, NULL, 0},
    {"logger", FLAG_IGNORED, NULL, NULL, 0},
    {"enable-log-rotation", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"log-rotation-config-json", FLAG_IGNORED, NULL, NULL, 0},
    {"debug", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"log-package-levels", FLAG_IGNORED, NULL, NULL, 0},
    {"socket-reuse-port", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"socket-reuse-address", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"raft-read-timeout", FLAG_IGNORED, NULL, NULL, 0},
    {"raft-write-timeout", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-dial-timeout", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-request-timeout", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-keepalive-time", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-keepalive-timeout", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-fallback", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-insecure-transport", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"discovery-insecure-skip-tls-verify", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"discovery-cert", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-key", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-cacert", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-user", FLAG_IGNORED, NULL, NULL, 0},
    {"discovery-password", FLAG_IGNORED, NULL, NULL, 0},
    {"enable-distributed-tracing", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"distributed-tracing-address", FLAG_IGNORED, NULL, NULL, 0},
    {"distributed-tracing-service-name", FLAG_IGNORED, NULL, NULL, 0},
    {"distributed-tracing-instance-id", FLAG_IGNORED, NULL, NULL, 0},
    {"distributed-tracing-sampling-rate", FLAG_IGNORED, NULL, NULL, 0},
    {"compact-hash-check-time", FLAG_IGNORED, NULL, NULL, 0},
    {"bootstrap-defrag-threshold-megabytes", FLAG_IGNORED, NULL, NULL, 0},
    {"warning-apply-duration", FLAG_IGNORED, NULL, NULL, 0},
    {"warning-unary-request-duration", FLAG_IGNORED, NULL, NULL, 0},
    {"downgrade-check-time", FLAG_IGNORED, NULL, NULL, 0},
    {"memory-mlock", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"feature-gates", FLAG_IGNORED, NULL, NULL, 0},
    {"v2-deprecation", FLAG_IGNORED, NULL, NULL, 0},
    {"experimental-initial-corrupt-check", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-compact-hash-check-enabled", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-enable-lease-checkpoint", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-enable-lease-checkpoint-persist", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-txn-mode-write-with-shared-buffer", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-stop-grpc-service-on-defrag", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-set-member-localaddr", FLAG_IGNORED_BOOL, NULL, NULL, 0},
    {"experimental-wait-cluster-ready-timeout", FLAG_IGNORED, NULL, NULL, 0},
};

/* Before etcd 3.6 many flags had that in front; scripts of that time go on. */
static const struct flag *find_flag(const char *name, size_t len)
{
    static const char experimental[] = "experimental-";
    const size_t skipped = sizeof experimental - 1;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (strncmp(flags[i].name, name, len) == 0 && flags[i].name[len] == '\0') {
            return &flags[i];
        }
    }
    bool is_old = len > skipped && strncmp(name, experimental, skipped) == 0;
    return is_old ? find_flag(name + skipped, len - skipped) : NULL;
}

static bool is_bool(const struct flag *flag)
{
    return flag->kind == FLAG_BOOL || flag->kind == FLAG_IGNORED_BOOL ||
           flag->kind == FLAG_REFUSED_BOOL;
}

static enum err parse_bool(const char *text, bool *ret)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {
        {"1", true},    {"t", true},      {"T", true},      {"true", true},
        {"TRUE", true}, {"True", true},   {"0", false},     {"f", false},
        {"F", false},   {"false", false}, {"FALSE", false}, {"False", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i].text, text) == 0) {
            *ret = words[i].value;
            return OK;
        }
    }
    return ERR_INVALID;
}

static enum err parse_signed(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || isspace((unsigned char)text[0])) {
        return ERR_INVALID;
    }
    *ret = value;
    return OK;
}

static enum err parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || !isdigit((unsigned char)text[0])) {
        return ERR_INVALID;
    }
    *ret = value;
    return OK;
}

enum err flags_parse_duration(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1},   {"us", 0.001}, {"ns", 0.000001},
                 {"s", 1000}, {"m", 60000},  {"h", 3600000}};
    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return OK;
    }
    double total = 0;
    do {
        char *end;
        double value = isdigit((unsigned char)text[0]) ? strtod(text, &end) : -1;
        if (value < 0) {
            return ERR_INVALID;
        }
        size_t i = 0;
        while (i < ARRAY_LEN(units) && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0) {
            i++;
        }
        if (i == ARRAY_LEN(units)) {
            return ERR_INVALID;
        }
        total += value * units[i].ms;
        text = end + strlen(units[i].unit);
    } while (*text != '\0');
    if (total > 1e15) {
        return ERR_INVALID;
    }
    *ret_ms = (uint64_t)total;
    return OK;
}

static enum err store_value(const struct flag *flag, const char *text, struct config *config)
{
    void *to = (char *)config + flag->offset;
    switch (flag->kind) {
    case FLAG_TEXT:
        *(const char **)to = text;
        return OK;
    case FLAG_NUMBER:
        return parse_number(text, to);
    case FLAG_SIGNED:
        return parse_signed(text, to);
    case FLAG_BOOL:
        return parse_bool(text, to);
    case FLAG_DURATION:
        return flags_parse_duration(text, to);
    default:
        return OK;
    }
}

/* As scripts write it whose variable is not set, and those who say that they do without. */
static bool asks_for_nothing(const struct flag *flag, const char *text)
{
    bool on = true;
    if (flag->kind == FLAG_REFUSED_BOOL && parse_bool(text, &on) == OK) {
        return !on;
    }
    return flag->kind == FLAG_REFUSED && text[0] == '\0';
}

/* Set one flag from the command line or the environment; SOURCE is how people wrote it. */
static enum err set_flag(const struct flag *flag, const char *source, const char *text,
                         struct config *config, void (*warn)(const char *text), struct why *why)
{
    if (asks_for_nothing(flag, text)) {
        return OK;
    }
    if (flag->kind == FLAG_REFUSED || flag->kind == FLAG_REFUSED_BOOL) {
        why_set(why, "%s: %s", source, flag->help);
        return ERR_UNSUPPORTED;
    }
    if (flag->kind == FLAG_IGNORED || flag->kind == FLAG_IGNORED_BOOL) {
        char line[256];
        snprintf(line, sizeof line, "%s has no effect", source);
        warn(line);
        return OK;
    }
    if (store_value(flag, text, config) != OK) {
        why_set(why, "invalid value \"%s\" for flag -%s", text, flag->name);
        return ERR_INVALID;
    }
    config->client_urls_given |= flag->offset == TO(listen_client_urls);
    config->advertise_client_given |= flag->offset == TO(advertise_client_urls);
    return OK;
}

static void set_defaults(struct config *config)
{
    *config = (struct config){0};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (flags[i].initial != NULL && store_value(&flags[i], flags[i].initial, config) != OK) {
            abort(); /* the table is wrong */
        }
    }
}

/* One argument; *AT moves over what was read. */
static enum err read_argument(const char *const *argv, int *at, bool *seen, struct config *config,
                              void (*warn)(const char *text), struct why *why)
{
    const char *arg = argv[*at];
    (*at)++;
    size_t dashes = strspn(arg, "-");
    if (dashes == 0 || dashes > 2 || arg[dashes] == '\0') {
        why_set(why, "\"%s\" is not a valid flag", arg);
        return ERR_INVALID;
    }
    const char *name = arg + dashes;
    const char *equals = strchr(name, '=');
    size_t len = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const struct flag *flag = find_flag(name, len);
    if (flag == NULL) {
        why_set(why, "flag provided but not defined: -%.*s", (int)len, name);
        return ERR_INVALID;
    }
    const char *text = equals == NULL ? NULL : equals + 1;
    if (text == NULL && is_bool(flag)) {
        text = "true";
    } else if (text == NULL) {
        text = argv[*at];
        if (text == NULL) {
            why_set(why, "flag needs an argument: -%s", flag->name);
            return ERR_INVALID;
        }
        (*at)++;
    }
    seen[flag - flags] = true;
    char source[FLAG_NAME_MAX + 4];
    snprintf(source, sizeof source, "--%s", flag->name);
    return set_flag(flag, source, text, config, warn, why);
}

/* ETCD_DATA_DIR -> data-dir; false when the variable is not of that kind. */
static bool variable_to_flag(const char *variable, char *name, size_t size, const char **value)
{
    static const char prefix[] = "ETCD_";
    const char *equals = strchr(variable, '=');
    if (strncmp(variable, prefix, sizeof prefix - 1) != 0 || equals == NULL) {
        return false;
    }
    const char *from = variable + sizeof prefix - 1;
    size_t len = (size_t)(equals - from);
    if (len == 0 || len >= size) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        name[i] = from[i] == '_' ? '-' : (char)tolower((unsigned char)from[i]);
    }
    name[len] = '\0';
    *value = equals + 1;
    return true;
}

static enum err read_variable(const char *variable, const bool *seen, struct config *config,
                              void (*warn)(const char *text), struct why *why)
{
    char name[FLAG_NAME_MAX];
    const char *value;
    if (!variable_to_flag(variable, name, sizeof name, &value)) {
        return OK;
    }
    const struct flag *flag = find_flag(name, strlen(name));
    char source[FLAG_NAME_MAX + 8];
    snprintf(source, sizeof source, "%.*s", (int)(strchr(variable, '=') - variable), variable);
    if (flag == NULL || flag->offset == TO(version) || flag->offset == TO(help)) {
        char line[256];
        snprintf(line, sizeof line, "unrecognized environment variable %s", source);
        warn(line);
        return OK;
    }
    if (seen[flag - flags]) {
        why_set(why,
                "conflicting environment variable \"%s\" is shadowed by corresponding command-line "
                "flag (either unset environment variable or disable flag)",
                source);
        return ERR_INVALID;
    }
    /* To etcd, too, an empty variable is none: files of variables have them. */
    return value[0] == '\0' ? OK : set_flag(flag, source, value, config, warn, why);
}

enum flags_outcome flags_parse(int argc, const char *const *argv, const char *const *environ_vars,
                               struct config *ret, void (*warn)(const char *text), struct why *why)
{
    bool seen[ARRAY_LEN(flags)] = {0};
    set_defaults(ret);
    for (int at = 1; at < argc;) {
        enum err err = read_argument(argv, &at, seen, ret, warn, why);
        if (err != OK) {
            return err == ERR_UNSUPPORTED ? FLAGS_REFUSED : FLAGS_BAD;
        }
    }
    if (ret->help) {
        return FLAGS_HELP;
    }
    if (ret->version) {
        return FLAGS_VERSION;
    }
    for (const char *const *variable = environ_vars; *variable != NULL; variable++) {
        enum err err = read_variable(*variable, seen, ret, warn, why);
        if (err != OK) {
            return err == ERR_UNSUPPORTED ? FLAGS_REFUSED : FLAGS_BAD;
        }
    }
    return FLAGS_OK;
}

void flags_usage(FILE *out)
{
    fprintf(out, "Usage:\n\n  trivetd [flags]\n    Start a member.\n\n  trivetd --version\n"
                 "    Show the version.\n\n  trivetd -h | --help\n    Show the flags.\n");
}

void flags_help(FILE *out)
{
    flags_usage(out);
    fprintf(out, "\nEach flag can be given as an environment variable: --data-dir as "
                 "ETCD_DATA_DIR.\n\nFlags:\n");
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const struct flag *flag = &flags[i];
        if (flag->help == NULL || flag->kind == FLAG_REFUSED || flag->kind == FLAG_REFUSED_BOOL) {
            continue;
        }
        fprintf(out, "  --%s", flag->name);
        bool is_off = flag->kind == FLAG_BOOL && strcmp(flag->initial, "false") == 0;
        if (flag->initial != NULL && flag->initial[0] != '\0' && !is_off) {
            fprintf(out, " '%s'", flag->initial);
        }
        fprintf(out, "\n        %s\n", flag->help);
    }
    fprintf(out, "\nOther flags of etcd are accepted with a warning where they have no meaning "
                 "here, and refused with the\n"
                 "reason where going on without them would be wrong.\n");
}
