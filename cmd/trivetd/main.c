/* SPDX-License-Identifier: Apache-2.0 */
/* trivetd: one member. Flags in, doors opened from the bottom up, signals out:
 *
 *   flags -> settings -> data directory -> log, store, peers -> server -> services -> ports
 *
 * Whatever fails before the member runs ends with one message and exit status 1. A member that is
 * removed from its cluster has done its part, as etcd's has: status 0, so that nobody starts it
 * again; who does is refused with EXIT_REMOVED. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fs_real.h"
#include "cmd/trivetd/member.h"
#include "cmd/trivetd/settings.h"
#include "config.h"

#define EXIT_REMOVED 3

extern char **environ;

static void print_version(const struct config *config)
{
    printf("etcd Version: %s\n", config->server_version);
    printf("Git SHA: Not provided (Trivet %s)\n", TRIVET_VERSION);
    printf("C Compiler: %s\n", __VERSION__);
    printf("Go OS/Arch: linux/amd64\n");
}

static void warn_on_stderr(const char *text)
{
    fprintf(stderr, "trivetd: warning: %s\n", text);
}

static int fail(const struct why *why)
{
    fprintf(stderr, "trivetd: %s\n", why->text);
    return EXIT_FAILURE;
}

/* Small pieces that are freed join their neighbours at once. Otherwise the allocator saves them up,
 * and joins a million of them in one go (10 to 25 ms of the loop) some time after a compaction has
 * freed them. */
static void set_up_allocator(void)
{
    (void)mallopt(M_MXFAST, 0);
}

int main(int argc, char **argv)
{
    set_up_allocator();
    fs_real_hold_standard();
    struct config config;
    struct why why = {{0}};
    switch (flags_parse(argc, (const char *const *)argv, (const char *const *)environ, &config,
                        warn_on_stderr, &why)) {
    case FLAGS_HELP:
        flags_help(stdout);
        return EXIT_SUCCESS;
    case FLAGS_VERSION:
        print_version(&config);
        return EXIT_SUCCESS;
    case FLAGS_BAD:
        fprintf(stderr, "%s\n", why.text);
        flags_usage(stderr);
        return 2;
    case FLAGS_REFUSED:
        return fail(&why);
    case FLAGS_OK:
        break;
    }
    struct settings settings;
    if (settings_make(&config, &settings, &why) != OK) {
        return fail(&why);
    }
    struct member *member;
    enum err err = member_start(&settings, &member, &why);
    if (err != OK) {
        settings_fini(&settings);
        (void)fail(&why);
        return err == ERR_REMOVED ? EXIT_REMOVED : EXIT_FAILURE;
    }
    err = member_run(member);
    settings_fini(&settings);
    if (err == ERR_REMOVED) {
        why_set(&why, "the member has been permanently removed from the cluster: its data "
                      "directory can be removed");
        (void)fail(&why);
    }
    return EXIT_SUCCESS;
}
