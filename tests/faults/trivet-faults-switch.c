/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "cmd/cli/options.h"
#include "tests/faults/faultswitch.h"

/* trivet-faults-switch: network namespaces that hang on one switch in user space (faultswitch.h).
 *
 *     port 0: the caller's own namespace    port 1, 2, ...: a new one each
 *     in each: lo, and a TUN device that has NET.(port + 1)/24
 *
 * It prints `PORT FD` for each new namespace, so that others enter it through /proc/PID/fd/FD, and
 * then a line for each command that it reads: "ok", the counts for "counts", or what is wrong. It
 * ends with its standard input, and the namespaces with it and those who run in them. */

#define MTU           9000
#define LINE_SIZE     256
#define COMMAND_PORTS (FAULTSWITCH_PORTS_MAX + 1)

struct options {
    const char *net;
    uint64_t ports;
    uint64_t seed;
    bool help;
};

static const struct option_row rows[] = {
    {"net", OPTION_TEXT, offsetof(struct options, net), "A.B.C", "the addresses' first bytes"},
    {"ports", OPTION_NUMBER, offsetof(struct options, ports), "N", "namespaces, the own included"},
    {"seed", OPTION_NUMBER, offsetof(struct options, seed), "N", "of what is lost"},
    {"help", OPTION_BOOL, offsetof(struct options, help), NULL, "print this"},
};

static void set_address(int sock, const char *device, unsigned long request, const char *text)
{
    struct ifreq ifr = {0};
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", device);
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        fatal("no address: '%s'", text);
    }
    memcpy(&ifr.ifr_addr, &address, sizeof address);
    if (ioctl(sock, request, &ifr) != 0) {
        fatal("%s: address %s: %s", device, text, strerror(errno));
    }
}

static void bring_up(int sock, const char *device)
{
    struct ifreq ifr = {0};
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", device);
    if (ioctl(sock, SIOCGIFFLAGS, &ifr) != 0) {
        fatal("%s: %s", device, strerror(errno));
    }
    ifr.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(sock, SIOCSIFFLAGS, &ifr) != 0) {
        fatal("%s up: %s", device, strerror(errno));
    }
}

/* A TUN device with this address in the namespace that the process is in. */
static int make_tun(const char *address)
{
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "switch0");
    if (tun < 0 || ioctl(tun, TUNSETIFF, &ifr) != 0) {
        fatal("a TUN device: %s", strerror(errno));
    }
    CLEANUP(closep) int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        fatal("a socket: %s", strerror(errno));
    }
    set_address(sock, "switch0", SIOCSIFADDR, address);
    set_address(sock, "switch0", SIOCSIFNETMASK, "255.255.255.0");
    ifr = (struct ifreq){.ifr_mtu = MTU};
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "switch0");
    if (ioctl(sock, SIOCSIFMTU, &ifr) != 0) {
        fatal("MTU %d: %s", MTU, strerror(errno));
    }
    bring_up(sock, "switch0");
    bring_up(sock, "lo");
    return tun;
}

static void make_ports(const struct options *options, struct pollfd *polls)
{
    CLEANUP(closep) int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    for (uint64_t port = 0; port < options->ports; port++) {
        if (port > 0 && unshare(CLONE_NEWNET) != 0) {
            fatal("a network namespace: %s", strerror(errno));
        }
        char address[64];
        snprintf(address, sizeof address, "%.20s.%" PRIu64, options->net, port + 1);
        polls[port] = (struct pollfd){.fd = make_tun(address), .events = POLLIN};
        if (port > 0) {
            int space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
            if (space < 0 || own < 0 || setns(own, CLONE_NEWNET) != 0) {
                fatal("back into the own namespace: %s", strerror(errno));
            }
            printf("%" PRIu64 " %d\n", port, space);
        }
    }
    fflush(stdout);
}

static uint64_t now_us(void)
{
    struct timespec now;
    int status = clock_gettime(CLOCK_MONOTONIC, &now);
    ASSERT(status == 0);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void take_packets(struct faultswitch *sw, size_t port, int tun)
{
    uint8_t packet[MTU];
    for (;;) {
        ssize_t n = read(tun, packet, sizeof packet);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return; /* nothing more, or the device is down */
        }
        faultswitch_take(sw, port, bytes_of(packet, (size_t)n), now_us());
    }
}

static void give_packets(struct faultswitch *sw, const struct pollfd *polls)
{
    size_t to;
    struct bytes packet;
    while (faultswitch_give(sw, now_us(), &to, &packet)) {
        /* A queue that is full drops it, as a network does. */
        ssize_t n = write(polls[to].fd, packet.data, packet.len);
        (void)n;
    }
}

static void obey(struct faultswitch *sw, const char *line)
{
    struct why why = {""};
    if (strcmp(line, "counts") == 0) {
        struct faultswitch_counts counts = faultswitch_counts(sw);
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", counts.carried,
               counts.cut, counts.lost, counts.repeated, counts.overflowed);
    } else if (faultswitch_command(sw, line, &why) == OK) {
        printf("ok\n");
    } else {
        printf("%s\n", why.text);
    }
    fflush(stdout);
}

/* False: the input has ended. */
static bool read_commands(struct faultswitch *sw, char *line, size_t *len)
{
    ssize_t n = read(STDIN_FILENO, line + *len, LINE_SIZE - 1 - *len);
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    *len += (size_t)n;
    line[*len] = '\0';
    char *begin = line;
    for (char *end; (end = strchr(begin, '\n')) != NULL; begin = end + 1) {
        *end = '\0';
        obey(sw, begin);
    }
    *len -= (size_t)(begin - line);
    memmove(line, begin, *len);
    return n > 0 && *len < LINE_SIZE - 1;
}

static void wait_for_work(const struct faultswitch *sw, struct pollfd *polls, size_t count)
{
    uint64_t next = faultswitch_next_us(sw);
    uint64_t now = now_us();
    uint64_t us = next <= now ? 0 : next - now;
    struct timespec timeout = {.tv_sec = (time_t)(us / 1000000),
                               .tv_nsec = (long)(us % 1000000) * 1000};
    int ready = ppoll(polls, count, next == UINT64_MAX ? NULL : &timeout, NULL);
    if (ready < 0 && errno != EINTR) {
        fatal("poll: %s", strerror(errno));
    }
}

static void serve(struct faultswitch *sw, struct pollfd *polls, size_t ports)
{
    char line[LINE_SIZE];
    size_t len = 0;
    polls[ports] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        wait_for_work(sw, polls, ports + 1);
        for (size_t port = 0; port < ports; port++) {
            if (polls[port].revents != 0) {
                take_packets(sw, port, polls[port].fd);
            }
        }
        give_packets(sw, polls);
        if (polls[ports].revents != 0 && !read_commands(sw, line, &len)) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    struct options options = {.net = "10.231.0", .ports = 4, .seed = 1};
    struct why why = {""};
    size_t arg_count;
    if (options_parse(rows, ARRAY_LEN(rows), argc, (const char *const *)argv, &options, NULL, 0,
                      &arg_count, &why) != OK) {
        fprintf(stderr, "trivet-faults-switch: %s\n", why.text);
        return 2;
    }
    if (options.help) {
        options_help(stdout, rows, ARRAY_LEN(rows));
        return 0;
    }
    struct faultswitch *sw;
    if (faultswitch_new(options.ports, options.seed, &sw) != OK) {
        fprintf(stderr, "trivet-faults-switch: --ports is 1 to %u\n", FAULTSWITCH_PORTS_MAX);
        return 2;
    }
    struct pollfd polls[COMMAND_PORTS];
    make_ports(&options, polls);
    serve(sw, polls, options.ports);
    faultswitch_free(sw);
    return 0;
}
