/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/cleanup.h"

/* A number in the kernel's words about this process; 0: not found. */
static double status_number(const char *name)
{
    double value = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");
    if (file == NULL) {
        return 0;
    }
    size_t len = strlen(name);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, len) == 0 && line[len] == ':') {
            value = strtod(line + len + 1, NULL);
            break;
        }
    }
    (void)fclose(file); /* was only read */
    return value;
}

static double resident_bytes(void *ctx)
{
    (void)ctx;
    return status_number("VmRSS") * 1024;
}

static double virtual_bytes(void *ctx)
{
    (void)ctx;
    return status_number("VmSize") * 1024;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double cpu_seconds(void *ctx)
{
    (void)ctx;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/* Kernels before 6.2 do not say how many there are. To go through the names in /proc takes 2 us for
 * each, which tens of thousands of connections must not cost the loop; to ask by number takes a
 * twentieth of it. */
static double open_files(void *ctx)
{
    (void)ctx;
    struct stat files;
    if (stat("/proc/self/fd", &files) == 0 && files.st_size > 0) {
        return (double)files.st_size;
    }
    int end = (int)status_number("FDSize");
    int count = 0;
    for (int fd = 0; fd < end; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static double files_max(void *ctx)
{
    (void)ctx;
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
}

void process_register(struct metrics *metrics, uint64_t started_ms)
{
    if (metrics == NULL) {
        return;
    }
    static const struct {
        const char *name;
        const char *help;
        double (*fn)(void *ctx);
    } gauges[] = {
        {"process_max_fds", "Descriptors that it may have open.", files_max},
        {"process_open_fds", "Descriptors that it has open.", open_files},
        {"process_resident_memory_bytes", "Memory that it has in use.", resident_bytes},
        {"process_virtual_memory_bytes", "Memory that it has addresses for.", virtual_bytes},
    };
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++) {
        metrics_gauge_fn(metrics, gauges[i].name, gauges[i].help, NULL, gauges[i].fn, NULL);
    }
    metrics_counter_fn(metrics, "process_cpu_seconds_total", "Processor time that it has taken.",
                       NULL, cpu_seconds, NULL);
    gauge_set(metrics_gauge(metrics, "process_start_time_seconds",
                            "When it began, in seconds since 1970.", NULL),
              (double)started_ms / 1000);
}
