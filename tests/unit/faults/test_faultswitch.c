/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/faultswitch.h"

#include "base/cleanup.h"
#include "tests/lib/runner.h"

#define PORTS 3u
#define LEN   40u

static struct {
    struct faultswitch *sw;
    struct why why;
} t;

static void setup(void)
{
    memset(&t, 0, sizeof t);
    ck_assert_int_eq(faultswitch_new(PORTS, 7, &t.sw), OK);
}

static void teardown(void)
{
    faultswitch_free(t.sw);
}

/* A packet of IPv4 for the host, with a mark. */
static void send(size_t from, size_t to, uint8_t mark, uint64_t now_us)
{
    uint8_t packet[LEN] = {0x45};
    packet[19] = (uint8_t)(to + 1);
    packet[LEN - 1] = mark;
    faultswitch_take(t.sw, from, bytes_of(packet, sizeof packet), now_us);
}

/* The mark of what arrives there by then; -1: nothing. */
static int arrives(size_t at, uint64_t now_us)
{
    size_t to;
    struct bytes packet;
    if (!faultswitch_give(t.sw, now_us, &to, &packet)) {
        return -1;
    }
    ck_assert_uint_eq(to, at);
    ck_assert_uint_eq(packet.len, LEN);
    return packet.data[LEN - 1];
}

static void obey(const char *line)
{
    ck_assert_msg(faultswitch_command(t.sw, line, &t.why) == OK, "%s: %s", line, t.why.text);
}

START_TEST(packets_arrive_in_order_at_once)
{
    ck_assert_uint_eq(faultswitch_next_us(t.sw), UINT64_MAX);
    for (uint8_t i = 0; i < 100; i++) {
        send(0, 1, i, 5);
    }
    ck_assert_uint_eq(faultswitch_next_us(t.sw), 5);
    for (uint8_t i = 0; i < 100; i++) {
        ck_assert_int_eq(arrives(1, 5), i);
    }
    ck_assert_int_eq(arrives(1, UINT64_MAX - 1), -1);
    ck_assert_uint_eq(faultswitch_counts(t.sw).carried, 100);
}
END_TEST

START_TEST(a_slow_link_delays_its_own_direction)
{
    obey("link 0 1 2000 0 0 0 0");
    send(0, 1, 1, 100);
    send(1, 0, 2, 100);
    send(0, 2, 3, 101);
    ck_assert_int_eq(arrives(0, 2099), 2);
    ck_assert_int_eq(arrives(2, 2099), 3);
    ck_assert_int_eq(arrives(1, 2099), -1);
    ck_assert_uint_eq(faultswitch_next_us(t.sw), 2100);
    ck_assert_int_eq(arrives(1, 2100), 1);
}
END_TEST

START_TEST(jitter_lets_packets_overtake)
{
    obey("link 0 1 10 1000 0 0 0");
    for (uint8_t i = 0; i < 50; i++) {
        send(0, 1, i, 0);
    }
    ck_assert_int_eq(arrives(1, 9), -1);
    bool overtaken = false;
    bool seen[50] = {false};
    for (int i = 0, last = -1; i < 50; i++) {
        int mark = arrives(1, 1010);
        ck_assert_int_ge(mark, 0);
        ck_assert(!seen[mark]);
        seen[mark] = true;
        overtaken = overtaken || mark < last;
        last = mark;
    }
    ck_assert(overtaken);
}
END_TEST

START_TEST(a_cut_link_carries_nothing_not_even_what_was_under_way)
{
    obey("link * * 50 0 0 0 0");
    send(0, 1, 1, 0);
    obey("link 0 1 0 0 0 0 1");
    send(0, 1, 2, 0);
    send(1, 0, 3, 0);
    ck_assert_int_eq(arrives(0, 1000), 3);
    ck_assert_int_eq(arrives(1, 1000), -1);
    ck_assert_uint_eq(faultswitch_counts(t.sw).cut, 2);
    obey("link * * 0 0 0 0 0");
    send(0, 1, 4, 1000);
    ck_assert_int_eq(arrives(1, 1000), 4);
}
END_TEST

START_TEST(loss_and_repetition_follow_from_the_seed)
{
    uint64_t lost[2];
    for (int run = 0; run < 2; run++) {
        faultswitch_free(t.sw);
        ck_assert_int_eq(faultswitch_new(PORTS, 42, &t.sw), OK);
        obey("link 0 1 0 0 250000 100000 0");
        for (int i = 0; i < 1000; i++) {
            send(0, 1, 0, 0);
        }
        struct faultswitch_counts counts = faultswitch_counts(t.sw);
        lost[run] = counts.lost;
        ck_assert(counts.lost > 150 && counts.lost < 350);
        ck_assert(counts.repeated > 30 && counts.repeated < 120);
        uint64_t arrived = 0;
        while (arrives(1, 0) == 0) {
            arrived++;
        }
        ck_assert_uint_eq(arrived, 1000 - counts.lost + counts.repeated);
    }
    ck_assert_uint_eq(lost[0], lost[1]);
}
END_TEST

START_TEST(what_is_for_nobody_goes_nowhere)
{
    uint8_t six[LEN] = {0x60};
    six[19] = 2;
    faultswitch_take(t.sw, 0, bytes_of(six, sizeof six), 0);
    uint8_t little[19] = {0x45};
    faultswitch_take(t.sw, 0, bytes_of(little, sizeof little), 0);
    send(0, PORTS, 1, 0);    /* no such host */
    send(0, SIZE_MAX, 1, 0); /* 10.0.0.0 */
    send(1, 1, 1, 0);        /* to itself */
    ck_assert_int_eq(arrives(0, UINT64_MAX - 1), -1);
}
END_TEST

START_TEST(more_than_it_may_hold_is_dropped)
{
    static uint8_t large[9000] = {0x45};
    large[19] = 2;
    obey("link 0 1 60000000 0 0 0 0");
    for (uint64_t bytes = 0; bytes <= FAULTSWITCH_BYTES_MAX; bytes += sizeof large) {
        faultswitch_take(t.sw, 0, bytes_of(large, sizeof large), 0);
    }
    ck_assert_uint_eq(faultswitch_counts(t.sw).overflowed, 1);
}
END_TEST

static const char *const refused[] = {
    "",
    "link",
    "link 0 1",
    "link 0 1 0 0 0 0",
    "link 0 3 0 0 0 0 0",
    "link 0 1 0 0 0 0 2",
    "link 0 1 0 0 1000001 0 0",
    "link 0 1 60000001 0 0 0 0",
    "link 0 1 -1 0 0 0 0",
    "link 0 1 0 0 0 0 0 0",
    "link 0 1 99999999999999999999 0 0 0 0",
    "cut 0 1",
};

START_TEST(commands_that_are_none_are_refused)
{
    ck_assert_msg(faultswitch_command(t.sw, refused[_i], &t.why) != OK, "%s", refused[_i]);
    ck_assert_ptr_nonnull(strstr(t.why.text, "not a command"));
    send(0, 1, 1, 0);
    ck_assert_int_eq(arrives(1, 0), 1);
}
END_TEST

static Suite *faultswitch_suite(void)
{
    Suite *suite = suite_create("faultswitch");
    TCase *tc = tcase_create("switch");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, packets_arrive_in_order_at_once);
    tcase_add_test(tc, a_slow_link_delays_its_own_direction);
    tcase_add_test(tc, jitter_lets_packets_overtake);
    tcase_add_test(tc, a_cut_link_carries_nothing_not_even_what_was_under_way);
    tcase_add_test(tc, loss_and_repetition_follow_from_the_seed);
    tcase_add_test(tc, what_is_for_nobody_goes_nowhere);
    tcase_add_test(tc, more_than_it_may_hold_is_dropped);
    tcase_add_loop_test(tc, commands_that_are_none_are_refused, 0, ARRAY_LEN(refused));
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(faultswitch_suite);
}
