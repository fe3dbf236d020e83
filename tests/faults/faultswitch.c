/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/faultswitch.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/heap.h"

#define HEADER_BYTES_MIN 20u /* of IPv4 */
#define TO_BYTE          19u /* the last one of the destination's address */
#define PPM              1000000u
#define MAX_US           60000000u

struct packet {
    struct heap_link link; /* by when it arrives */
    size_t from;
    size_t to;
    size_t len;
    uint8_t data[];
};

struct faultswitch {
    size_t ports;
    uint64_t random;
    struct faultlink links[FAULTSWITCH_PORTS_MAX][FAULTSWITCH_PORTS_MAX];
    struct heap under_way;
    size_t bytes; /* of them */
    struct packet *given;
    struct faultswitch_counts counts;
};

/* splitmix64 */
static uint64_t next_random(struct faultswitch *sw)
{
    uint64_t z = sw->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static bool happens(struct faultswitch *sw, uint64_t ppm)
{
    return ppm != 0 && next_random(sw) % PPM < ppm;
}

enum err faultswitch_new(size_t ports, uint64_t seed, struct faultswitch **ret)
{
    if (ports == 0 || ports > FAULTSWITCH_PORTS_MAX) {
        return ERR_INVALID;
    }
    struct faultswitch *sw = calloc(1, sizeof *sw);
    if (sw == NULL) {
        return ERR_NOMEM;
    }
    sw->ports = ports;
    sw->random = seed;
    heap_init(&sw->under_way);
    *ret = sw;
    return OK;
}

static struct packet *first_of(const struct faultswitch *sw)
{
    struct heap_link *link = heap_min(&sw->under_way);
    return link == NULL ? NULL : CONTAINER_OF(link, struct packet, link);
}

static struct packet *remove_first(struct faultswitch *sw)
{
    struct packet *packet = first_of(sw);
    heap_remove(&sw->under_way, &packet->link);
    sw->bytes -= packet->len;
    return packet;
}

void faultswitch_free(struct faultswitch *sw)
{
    if (sw == NULL) {
        return;
    }
    while (first_of(sw) != NULL) {
        free(remove_first(sw));
    }
    heap_fini(&sw->under_way);
    free(sw->given);
    free(sw);
}

void faultswitch_set(struct faultswitch *sw, size_t from, size_t to, const struct faultlink *link)
{
    for (size_t f = 0; f < sw->ports; f++) {
        for (size_t t = 0; t < sw->ports; t++) {
            if ((from == FAULTSWITCH_ANY || from == f) && (to == FAULTSWITCH_ANY || to == t)) {
                sw->links[f][t] = *link;
            }
        }
    }
}

/* A number up to MAX at *AT, which moves behind it. */
static enum err read_number(const char **at, uint64_t max, uint64_t *ret)
{
    while (**at == ' ') {
        (*at)++;
    }
    if (!isdigit((unsigned char)**at)) {
        return ERR_MALFORMED;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(*at, &end, 10);
    if (errno != 0 || value > max) {
        return ERR_LIMIT;
    }
    *at = end;
    *ret = value;
    return OK;
}

static enum err read_port(const struct faultswitch *sw, const char **at, size_t *ret)
{
    while (**at == ' ') {
        (*at)++;
    }
    if (**at == '*') {
        (*at)++;
        *ret = FAULTSWITCH_ANY;
        return OK;
    }
    uint64_t port;
    TRY(read_number(at, sw->ports - 1, &port));
    *ret = port;
    return OK;
}

static enum err read_link(const char **at, struct faultlink *ret)
{
    uint64_t cut;
    TRY(read_number(at, MAX_US, &ret->delay_us));
    TRY(read_number(at, MAX_US, &ret->jitter_us));
    TRY(read_number(at, PPM, &ret->loss_ppm));
    TRY(read_number(at, PPM, &ret->repeat_ppm));
    TRY(read_number(at, 1, &cut));
    ret->cut = cut == 1;
    return **at == '\0' || **at == '\n' ? OK : ERR_MALFORMED;
}

enum err faultswitch_command(struct faultswitch *sw, const char *line, struct why *why)
{
    static const char word[] = "link ";
    const char *at = line + sizeof word - 1;
    size_t from = 0;
    size_t to = 0;
    struct faultlink link;
    enum err err = strncmp(line, word, sizeof word - 1) == 0 ? OK : ERR_MALFORMED;
    if (err == OK) {
        err = read_port(sw, &at, &from);
    }
    if (err == OK) {
        err = read_port(sw, &at, &to);
    }
    if (err == OK) {
        err = read_link(&at, &link);
    }
    if (err != OK) {
        why_set(why, "not a command: %.100s", line);
        return err;
    }
    faultswitch_set(sw, from, to, &link);
    return OK;
}

static void carry(struct faultswitch *sw, size_t from, size_t to, struct bytes bytes,
                  uint64_t now_us)
{
    const struct faultlink *link = &sw->links[from][to];
    if (sw->bytes + bytes.len > FAULTSWITCH_BYTES_MAX) {
        sw->counts.overflowed++;
        return;
    }
    struct packet *packet = calloc(1, sizeof *packet + bytes.len);
    if (packet == NULL) {
        sw->counts.overflowed++;
        return;
    }
    packet->from = from;
    packet->to = to;
    packet->len = bytes.len;
    memcpy(packet->data, bytes.data, bytes.len);
    uint64_t jitter_us = link->jitter_us == 0 ? 0 : next_random(sw) % (link->jitter_us + 1);
    if (heap_insert(&sw->under_way, &packet->link, now_us + link->delay_us + jitter_us) != OK) {
        free(packet);
        sw->counts.overflowed++;
        return;
    }
    sw->bytes += packet->len;
}

void faultswitch_take(struct faultswitch *sw, size_t from, struct bytes packet, uint64_t now_us)
{
    if (packet.len < HEADER_BYTES_MIN || packet.data[0] >> 4 != 4) {
        return;
    }
    size_t to = (size_t)packet.data[TO_BYTE] - 1; /* 0 is no host: SIZE_MAX */
    if (to >= sw->ports || to == from) {
        return;
    }
    const struct faultlink *link = &sw->links[from][to];
    if (link->cut) {
        sw->counts.cut++;
        return;
    }
    if (happens(sw, link->loss_ppm)) {
        sw->counts.lost++;
        return;
    }
    carry(sw, from, to, packet, now_us);
    if (happens(sw, link->repeat_ppm)) {
        sw->counts.repeated++;
        carry(sw, from, to, packet, now_us);
    }
}

bool faultswitch_give(struct faultswitch *sw, uint64_t now_us, size_t *to, struct bytes *packet)
{
    free(TAKE(sw->given));
    while (faultswitch_next_us(sw) <= now_us) {
        struct packet *first = remove_first(sw);
        if (sw->links[first->from][first->to].cut) {
            sw->counts.cut++;
            free(first);
            continue;
        }
        sw->counts.carried++;
        sw->given = first;
        *to = first->to;
        *packet = bytes_of(first->data, first->len);
        return true;
    }
    return false;
}

uint64_t faultswitch_next_us(const struct faultswitch *sw)
{
    const struct packet *first = first_of(sw);
    return first == NULL ? UINT64_MAX : first->link.key;
}

struct faultswitch_counts faultswitch_counts(const struct faultswitch *sw)
{
    return sw->counts;
}
