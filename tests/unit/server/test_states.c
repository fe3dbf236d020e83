/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/fs_real.h"
#include "server/statesend.h"
#include "server/statetake.h"
#include "tests/lib/env_fake.h"
#include "tests/lib/fs_fault.h"
#include "tests/lib/node_fake.h"
#include "tests/lib/runner.h"
#include "tests/lib/tmpdir.h"

/* Both sides of a database on its way, upon real stores and nodes that the test plays: member 1
 * leads, member 2 needs what member 1 has. */
#define NEWEST      420u /* index that the leader has applied */
#define BEHIND      20u
#define VALUE_BYTES 16384u /* a database of more than one window */

static struct fixture {
    struct env_fake *fake;
    struct store *stores[3]; /* by member */
    struct node *nodes[3];
    struct statesend *send;
    struct statetake *take;
    unsigned replaced;
    /* What went from the leader to member 2, by kind; the offset of the newest chunk, and the
     * number of the newest offer. */
    unsigned sent[STATE_LACK + 1];
    uint64_t chunk_bytes;
    uint64_t last_offset;
    uint64_t offer_number;
    struct stateframe last_answer; /* of member 2; its what is 0: none */
    unsigned answers[STATE_LACK + 1];
    bool cut;             /* nothing arrives */
    bool deaf;            /* nothing of member 2 arrives */
    uint64_t cut_after;   /* chunks: then it is cut; 0: never */
    unsigned spoil_chunk; /* the how-manieth chunk is changed on its way; 0: none */
} f;

static void open_store(unsigned member, uint64_t cluster, uint64_t last)
{
    char name[32];
    (void)snprintf(name, sizeof name, "m%u.db", member);
    struct store_config config = {.env = env_fake_env(f.fake),
                                  .path = tmpdir_path(name),
                                  .identity = {.cluster_id = cluster, .member_id = member}};
    struct why why = {.text = ""};
    ck_assert_msg(store_open(&config, &f.stores[member], &why) == OK, "%s", why.text);
    static char value[VALUE_BYTES];
    for (uint64_t index = 1; index <= last; index++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key-%llu", (unsigned long long)index);
        memset(value, (int)('a' + index % 26), sizeof value);
        struct store_put put = {.key = bytes_of_str(key), .value = bytes_of(value, sizeof value)};
        store_entry_begin(f.stores[member], index, 2);
        ck_assert_int_eq(store_put(f.stores[member], &put, NULL), OK);
        store_entry_end(f.stores[member]);
        if (index % 16 == 0) {
            env_fake_turn(f.fake);
        }
    }
    env_fake_advance(f.fake, 3000);
}

static void on_replaced(void *ctx)
{
    (void)ctx;
    f.replaced++;
    ck_assert_uint_eq(store_applied_index(f.stores[2]), store_applied_index(f.stores[1]));
}

static void new_take(struct fs *fs)
{
    struct statetake_config take = {.env = env_fake_env(f.fake),
                                    .node = f.nodes[2],
                                    .store = f.stores[2],
                                    .fs = fs,
                                    .on_replaced = on_replaced};
    ck_assert_int_eq(statetake_new(&take, &f.take), OK);
}

static void new_send(struct fs *fs)
{
    struct statesend_config send = {
        .env = env_fake_env(f.fake), .node = f.nodes[1], .store = f.stores[1], .fs = fs};
    ck_assert_int_eq(statesend_new(&send, &f.send), OK);
}

static void setup(void)
{
    tmpdir_setup();
    f = (struct fixture){.fake = env_fake_new(1)};
    open_store(1, 7, NEWEST);
    open_store(2, 7, BEHIND);
    for (unsigned i = 1; i <= 2; i++) {
        f.nodes[i] = node_fake_new(env_fake_env(f.fake), i);
        node_fake_set_leader(f.nodes[i], 2, 1);
    }
    node_fake_need_state(f.nodes[1], 2, true);
    node_fake_set_log_start(f.nodes[1], NEWEST - 5);
    new_send(fs_real());
    new_take(fs_real());
}

static void stop(void)
{
    statesend_stop(f.send);
    statetake_stop(f.take);
    for (unsigned i = 1; i <= 2; i++) {
        store_close(f.stores[i]);
    }
    statesend_free(f.send);
    statetake_free(f.take);
    f.send = NULL;
}

static void teardown(void)
{
    if (f.send != NULL) {
        stop();
    }
    node_fake_free(f.nodes[1]);
    node_fake_free(f.nodes[2]);
    env_fake_free(f.fake);
    tmpdir_teardown();
}

/* ---- the way between them ---- */

static void note_sent(const struct stateframe *frame)
{
    f.sent[frame->what]++;
    if (frame->what == STATE_CHUNK) {
        f.chunk_bytes += frame->chunk.len;
        f.last_offset = frame->offset;
    } else if (frame->what == STATE_OFFER) {
        f.offer_number = frame->number;
    }
}

static void carry_one(unsigned from, struct node_frame *carried)
{
    struct stateframe frame;
    ck_assert_int_eq(carried->kind, FRAME_APP);
    ck_assert_int_eq(stateframe_decode(blob_bytes(carried->payload), &frame), OK);
    if (from == 1) {
        note_sent(&frame);
        if (frame.what == STATE_CHUNK && f.sent[STATE_CHUNK] == f.spoil_chunk) {
            carried->payload->data[STATEFRAME_CHUNK_HEAD + 9000] ^= 1;
        }
    } else {
        f.answers[frame.what]++;
        f.last_answer = frame;
    }
    f.cut = f.cut || (f.cut_after != 0 && f.sent[STATE_CHUNK] >= f.cut_after);
    if (f.cut || (from == 2 && f.deaf)) {
        return;
    }
    if (from == 1 && carried->peer_id == 2) {
        statetake_on_frame(f.take, 1, &frame);
    } else if (from == 2) {
        statesend_on_frame(f.send, 2, &frame);
    }
}

/* All that is on its way now. */
static bool carry(void)
{
    bool any = false;
    for (unsigned from = 1; from <= 2; from++) {
        while (node_fake_frame_count(f.nodes[from]) > 0) {
            struct node_frame frame = node_fake_take_frame(f.nodes[from]);
            carry_one(from, &frame);
            blob_unref(frame.payload);
            any = true;
        }
    }
    return any;
}

/* At this instant. */
static void settle(void)
{
    while (carry() || env_fake_turn(f.fake)) {
    }
}

static void pass(uint64_t ms)
{
    for (uint64_t end = env_now_ms(env_fake_env(f.fake)) + ms;
         env_now_ms(env_fake_env(f.fake)) < end;) {
        settle();
        env_fake_advance(f.fake, 1);
    }
    settle();
}

static void want(void)
{
    statesend_want(f.send, 2);
    settle();
}

static bool exists(const char *name)
{
    struct fs_file *file = NULL;
    enum err err = fs_open(fs_real(), tmpdir_path(name), FS_READ, &file, NULL);
    fs_close(file);
    return err == OK;
}

static void arrived(void)
{
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_uint_eq(store_applied_index(f.stores[2]), NEWEST);
    ck_assert(set_hash_equal(store_set_hash(f.stores[2]), store_set_hash(f.stores[1])));
    ck_assert_uint_ge(node_fake_install_count(f.nodes[1]), 1);
    ck_assert_uint_eq(node_fake_installed_index(f.nodes[1]), NEWEST);
    ck_assert(!exists("m2.db.install"));
}

/* ---- the good way ---- */

START_TEST(who_is_far_behind_gets_the_database)
{
    want();
    pass(200);
    arrived();
    ck_assert_uint_eq(f.sent[STATE_OFFER], 1);
    ck_assert_uint_eq(f.sent[STATE_END], 1);
    ck_assert_uint_gt(f.chunk_bytes, STATE_WINDOW_BYTES);
    ck_assert_uint_eq(f.chunk_bytes, store_size_bytes(f.stores[1]));
    ck_assert(!exists("m1.db.send"));
    node_fake_need_state(f.nodes[1], 2, false); /* its log begins there */
    pass(100);
    ck_assert_uint_eq(statesend_count(f.send), 0);
    ck_assert_uint_eq(statetake_received_bytes(f.take), 0);
}
END_TEST

START_TEST(what_follows_the_copy_is_held_meanwhile)
{
    want();
    ck_assert_uint_eq(node_fake_held_index(f.nodes[1]), 0);
    f.cut_after = 4;
    pass(100);
    ck_assert_uint_eq(node_fake_held_index(f.nodes[1]), NEWEST);
}
END_TEST

START_TEST(who_has_enough_is_sent_nothing)
{
    node_fake_set_log_start(f.nodes[1], BEHIND);
    want();
    pass(100);
    ck_assert_uint_eq(node_fake_installed_index(f.nodes[1]), BEHIND);
    ck_assert_uint_eq(f.sent[STATE_OFFER], 0);
    ck_assert_uint_eq(f.replaced, 0);
}
END_TEST

START_TEST(a_message_to_its_log_that_is_lost_is_said_again)
{
    want();
    pass(200);
    size_t installs = node_fake_install_count(f.nodes[1]);
    pass(3000);
    ck_assert_uint_gt(node_fake_install_count(f.nodes[1]), installs);
    ck_assert_uint_eq(f.sent[STATE_OFFER], 1);
}
END_TEST

START_TEST(one_copy_serves_all)
{
    f.cut_after = 2;
    want();
    pass(100);
    uint64_t number = f.offer_number;
    node_fake_need_state(f.nodes[1], 3, true);
    statesend_want(f.send, 3);
    struct stateframe have = {.what = STATE_HAVE,
                              .manifest = {.applied_index = 1, .applied_term = 1}};
    statesend_on_frame(f.send, 3, &have);
    struct node_frame frame;
    struct stateframe offer = {0};
    while (offer.what != STATE_OFFER) {
        frame = node_fake_take_frame(f.nodes[1]);
        ck_assert_int_eq(stateframe_decode(blob_bytes(frame.payload), &offer), OK);
        blob_unref(frame.payload);
    }
    ck_assert_uint_eq(frame.peer_id, 3);
    ck_assert_uint_eq(offer.number, number);
}
END_TEST

/* ---- lost on the way ---- */

START_TEST(a_lost_connection_goes_on_where_it_was)
{
    f.cut_after = 10;
    want();
    pass(500);
    ck_assert_uint_eq(f.replaced, 0);
    ck_assert(exists("m2.db.install"));
    uint64_t sent_before = f.chunk_bytes;
    f.cut_after = 0;
    f.cut = false;
    pass(3000);
    arrived();
    ck_assert_uint_le(f.chunk_bytes - sent_before,
                      store_size_bytes(f.stores[1]) - 9 * STATE_CHUNK_BYTES);
}
END_TEST

/* Each frame gets lost once, whatever it is. */
START_TEST(whatever_is_lost_it_arrives)
{
    want();
    for (unsigned i = 0; i < 40 && f.replaced == 0; i++) {
        f.cut = true;
        pass(7);
        f.cut = false;
        pass(1100);
    }
    arrived();
}
END_TEST

START_TEST(what_is_not_written_yet_is_no_more_than_a_window)
{
    want();
    f.deaf = true; /* no chunk is acknowledged any more */
    uint64_t before = f.chunk_bytes;
    pass(500);
    ck_assert_uint_le(f.chunk_bytes - before, STATE_WINDOW_BYTES);
}
END_TEST

START_TEST(a_pace_is_kept)
{
    want();
    settle(); /* time stands still */
    ck_assert_uint_le(f.chunk_bytes, 20 * STATE_RATE_BYTES + STATE_CHUNK_BYTES);
    uint64_t before = f.chunk_bytes;
    pass(10);
    ck_assert_uint_gt(f.chunk_bytes, before);
    ck_assert_uint_le(f.chunk_bytes - before, 10 * STATE_RATE_BYTES + STATE_CHUNK_BYTES);
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(what_was_changed_on_the_way_is_refused_and_comes_again)
{
    f.spoil_chunk = 3;
    want();
    pass(300);
    ck_assert_uint_eq(f.replaced, 0);
    ck_assert_uint_eq(f.answers[STATE_REFUSED], 1);
    ck_assert_int_eq(f.last_answer.refusal, STATE_WRONG);
    ck_assert_uint_eq(store_applied_index(f.stores[2]), BEHIND);
    uint64_t first = f.offer_number;
    pass(3000);
    arrived();
    ck_assert_uint_ne(f.offer_number, first); /* another copy */
}
END_TEST

static struct stateframe offer_of(uint64_t number)
{
    struct stateframe offer = {.what = STATE_OFFER, .number = number, .size_bytes = 8192};
    struct buf buf = {0};
    store_manifest(f.stores[1], &buf);
    ck_assert_int_eq(store_manifest_decode(buf_bytes(&buf), &offer.manifest), OK);
    buf_fini(&buf);
    return offer;
}

static void say_as(uint64_t peer, struct stateframe frame)
{
    statetake_on_frame(f.take, peer, &frame);
    f.cut = true; /* only to see the answers */
    settle();
    f.cut = false;
}

static void say(struct stateframe frame)
{
    say_as(1, frame);
}

START_TEST(a_chunk_of_another_length_is_refused)
{
    static const uint8_t bytes[8192];
    say(offer_of(9));
    ck_assert_int_eq(f.last_answer.what, STATE_WANT);
    say((struct stateframe){.what = STATE_CHUNK, .number = 9, .chunk = bytes_of(bytes, 100)});
    ck_assert_int_eq(f.last_answer.what, STATE_REFUSED);
    ck_assert(!exists("m2.db.install"));
    say(offer_of(10)); /* it begins anew */
    ck_assert_int_eq(f.last_answer.what, STATE_WANT);
}
END_TEST

START_TEST(what_is_no_database_is_refused)
{
    static const uint8_t bytes[8192];
    struct bytes chunk = bytes_of(bytes, sizeof bytes);
    say(offer_of(9));
    say((struct stateframe){.what = STATE_CHUNK, .number = 9, .chunk = chunk});
    say((struct stateframe){.what = STATE_END,
                            .number = 9,
                            .size_bytes = 8192,
                            .digest = stateframe_element(0, chunk)});
    ck_assert_int_eq(f.last_answer.what, STATE_REFUSED);
    ck_assert_int_eq(f.last_answer.refusal, STATE_WRONG);
    ck_assert_uint_eq(store_applied_index(f.stores[2]), BEHIND);
    ck_assert(!exists("m2.db.install"));
}
END_TEST

START_TEST(chunks_of_another_copy_or_place_are_passed_over)
{
    static const uint8_t bytes[8192];
    struct bytes chunk = bytes_of(bytes, sizeof bytes);
    say(offer_of(9));
    say((struct stateframe){.what = STATE_CHUNK, .number = 8, .chunk = chunk});
    say((struct stateframe){
        .what = STATE_CHUNK, .number = 9, .offset = STATE_CHUNK_BYTES, .chunk = chunk});
    ck_assert_uint_eq(statetake_received_bytes(f.take), 0);
    say((struct stateframe){.what = STATE_CHUNK, .number = 9, .chunk = chunk});
    say((struct stateframe){.what = STATE_CHUNK, .number = 9, .chunk = chunk}); /* again */
    ck_assert_uint_eq(statetake_received_bytes(f.take), 8192);
    ck_assert_uint_eq(f.answers[STATE_REFUSED], 0);
}
END_TEST

START_TEST(who_does_not_lead_is_not_heard)
{
    struct stateframe offer = offer_of(9);
    statetake_on_frame(f.take, 3, &offer);
    settle();
    ck_assert_uint_eq(f.answers[STATE_WANT], 0);
    node_fake_set_leader(f.nodes[2], 3, 3);
    say(offer);
    ck_assert_uint_eq(f.answers[STATE_WANT], 0);
    node_fake_set_leader(f.nodes[2], 4, 0);
    say(offer);
    ck_assert_uint_eq(f.answers[STATE_WANT], 0);
}
END_TEST

START_TEST(another_copy_takes_the_place_of_half_a_one)
{
    say(offer_of(9));
    ck_assert_int_eq(f.last_answer.what, STATE_WANT);
    say(offer_of(10));
    ck_assert_int_eq(f.last_answer.what, STATE_REFUSED);
    ck_assert_int_eq(f.last_answer.refusal, STATE_BUSY);
    say(offer_of(10));
    ck_assert_int_eq(f.last_answer.what, STATE_WANT);
    ck_assert_uint_eq(f.last_answer.number, 10);
}
END_TEST

START_TEST(half_a_database_does_not_stay_for_ever)
{
    say(offer_of(9));
    ck_assert(exists("m2.db.install"));
    env_fake_advance(f.fake, 61000);
    ck_assert(!exists("m2.db.install"));
}
END_TEST

START_TEST(without_room_it_is_said_and_tried_again)
{
    struct fs_fault *disk = fs_fault_new();
    statetake_stop(f.take);
    statetake_free(f.take);
    ck_assert_int_eq(fs_make_dirs(fs_fault_fs(disk), tmpdir_path(NULL), NULL), OK);
    fs_fault_set_capacity(disk, 1024 * 1024);
    new_take(fs_fault_fs(disk));
    say(offer_of(9));
    ck_assert_int_eq(f.last_answer.what, STATE_REFUSED);
    bool no_space = f.last_answer.refusal == STATE_NO_SPACE;
    /* Asked before, it says so before a copy is made; what it has it says all the same. */
    struct fs_file *file = NULL;
    ck_assert_int_eq(fs_open(fs_fault_fs(disk), tmpdir_path("m2.db"), FS_CREATE, &file, NULL), OK);
    fs_close(file);
    say((struct stateframe){.what = STATE_ASK, .number = 2, .size_bytes = 1024 * 1024});
    ck_assert_uint_eq(f.answers[STATE_REFUSED], 2);
    ck_assert_int_eq(f.last_answer.what, STATE_HAVE);
    statetake_stop(f.take);
    statetake_free(f.take);
    fs_fault_free(disk);
    new_take(fs_real());
    ck_assert(no_space);
    want();
    struct stateframe refused = {
        .what = STATE_REFUSED, .number = f.offer_number, .refusal = STATE_NO_SPACE};
    statesend_on_frame(f.send, 2, &refused);
    unsigned offers = f.sent[STATE_OFFER];
    settle();
    ck_assert_uint_eq(f.sent[STATE_OFFER], offers); /* not at once */
    pass(2000);
    ck_assert_uint_gt(f.sent[STATE_OFFER], offers);
    arrived();
}
END_TEST

/* ---- a database that was lost ---- */

/* Member 2 has its log, so that nobody but itself says what it needs. */
static void lose(uint64_t lacked_index)
{
    node_fake_need_state(f.nodes[1], 2, false);
    node_fake_set_log_start(f.nodes[1], NEWEST + 1000); /* what the log has is nothing to it */
    statetake_lack(f.take, lacked_index);
    settle();
}

/* A copy that cannot be whole would only fill the disk. */
START_TEST(without_room_no_copy_is_begun)
{
    struct fs_fault *disk = fs_fault_new();
    struct fs_file *file = NULL;
    statesend_free(f.send);
    ck_assert_int_eq(fs_make_dirs(fs_fault_fs(disk), tmpdir_path(NULL), NULL), OK);
    ck_assert_int_eq(fs_open(fs_fault_fs(disk), tmpdir_path("m1.db"), FS_CREATE, &file, NULL), OK);
    fs_close(file);
    fs_fault_set_capacity(disk, store_size_bytes(f.stores[1]) + SNAPSHOT_SPARE_BYTES - 1);
    new_send(fs_fault_fs(disk));
    want();
    pass(1000);
    ck_assert(!exists("m1.db.send"));
    ck_assert_uint_eq(f.sent[STATE_OFFER], 0);
    statesend_free(f.send);
    fs_fault_free(disk);
    new_send(fs_real());
    want();
    pass(1000);
    arrived();
}
END_TEST

static void arrived_by_itself(void)
{
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_uint_eq(store_applied_index(f.stores[2]), NEWEST);
    ck_assert(set_hash_equal(store_set_hash(f.stores[2]), store_set_hash(f.stores[1])));
    ck_assert_uint_eq(node_fake_install_count(f.nodes[1]), 0); /* its log is what it should be */
    ck_assert_uint_eq(statesend_count(f.send), 0);
}

START_TEST(who_lost_its_database_asks_for_another)
{
    lose(NEWEST - 10);
    pass(300);
    arrived_by_itself();
    unsigned asked = f.answers[STATE_LACK];
    pass(3000);
    ck_assert_uint_le(f.answers[STATE_LACK], asked + 1); /* it has what it needs */
    ck_assert_uint_eq(f.sent[STATE_OFFER], 1);
}
END_TEST

START_TEST(it_asks_whoever_leads)
{
    node_fake_set_leader(f.nodes[2], 3, 0);
    lose(NEWEST);
    pass(2000);
    ck_assert_uint_eq(f.answers[STATE_LACK], 0);
    node_fake_set_leader(f.nodes[2], 4, 1);
    pass(1000);
    arrived_by_itself();
}
END_TEST

/* Its log is the only one to lead with, and it is not heard of that it does. Member 3 is down. */
START_TEST(the_others_help_who_leads_and_lost_its_database)
{
    static const struct node_member members[] = {{.id = 1}, {.id = 2}, {.id = 3}};
    node_fake_set_members(f.nodes[2], members, 3);
    node_fake_set_leader(f.nodes[1], 3, 2);
    node_fake_set_leader(f.nodes[2], 3, 0);
    f.cut_after = 3;
    lose(NEWEST);
    pass(3000);
    ck_assert_uint_gt(statetake_received_bytes(f.take), 0);
    ck_assert_uint_eq(statesend_count(f.send), 1);
    f.cut_after = 0;
    f.cut = false;
    pass(2000);
    arrived_by_itself();
}
END_TEST

/* Nobody leads whom it hears of, and two were asked. */
START_TEST(whoever_comes_first_is_taken_to_the_end)
{
    static const uint8_t bytes[8192];
    node_fake_set_leader(f.nodes[2], 3, 0);
    f.cut = true;
    lose(NEWEST);
    say_as(1, offer_of(9));
    say_as(3, offer_of(10));
    ck_assert_int_eq(f.last_answer.what, STATE_REFUSED);
    ck_assert_int_eq(f.last_answer.refusal, STATE_BUSY);
    say_as(1, (struct stateframe){
                  .what = STATE_CHUNK, .number = 9, .chunk = bytes_of(bytes, sizeof bytes)});
    ck_assert_uint_eq(statetake_received_bytes(f.take), sizeof bytes);
    say_as(1, offer_of(11)); /* it has another one itself */
    ck_assert(!exists("m2.db.install"));
    say_as(1, offer_of(11));
    ck_assert(exists("m2.db.install"));
    node_fake_set_leader(f.nodes[2], 4, 3);
    say_as(3, offer_of(10)); /* nothing more of the other is heard */
    ck_assert(!exists("m2.db.install"));
    say_as(3, offer_of(10));
    ck_assert_int_eq(f.last_answer.what, STATE_WANT);
    ck_assert_uint_eq(f.last_answer.number, 10);
}
END_TEST

START_TEST(whoever_falls_silent_is_not_waited_for)
{
    static const struct node_member members[] = {{.id = 1}, {.id = 2}, {.id = 3}};
    node_fake_set_members(f.nodes[2], members, 3);
    node_fake_set_leader(f.nodes[1], 3, 2);
    node_fake_set_leader(f.nodes[2], 3, 0);
    f.deaf = true; /* member 1 */
    lose(NEWEST);
    say_as(3, offer_of(9));
    pass(4000);
    ck_assert(exists("m2.db.install"));
    f.deaf = false;
    pass(4000);
    arrived_by_itself();
}
END_TEST

/* It led when it was heard of last. */
START_TEST(nor_is_a_leader_that_is_gone)
{
    static const struct node_member members[] = {{.id = 1}, {.id = 2}, {.id = 3}};
    node_fake_set_members(f.nodes[2], members, 3);
    node_fake_set_leader(f.nodes[1], 3, 2);
    node_fake_set_leader(f.nodes[2], 3, 3);
    lose(NEWEST);
    say_as(3, offer_of(9));
    pass(1000);
    ck_assert(exists("m2.db.install"));
    node_fake_set_leader(f.nodes[2], 4, 0);
    pass(10000);
    arrived_by_itself();
}
END_TEST

START_TEST(it_asks_until_it_is_heard)
{
    f.deaf = true;
    lose(NEWEST);
    pass(5000);
    ck_assert_uint_ge(f.answers[STATE_LACK], 9);
    ck_assert_uint_eq(statesend_count(f.send), 0);
    f.deaf = false;
    pass(1000);
    arrived_by_itself();
}
END_TEST

START_TEST(who_does_not_lead_or_has_less_does_not_help)
{
    if (_i == 0) {
        node_fake_set_leader(f.nodes[1], 3, 3);
    }
    lose(_i == 0 ? NEWEST : NEWEST + 1);
    pass(2000);
    ck_assert_uint_ge(f.answers[STATE_LACK], 3);
    ck_assert_uint_eq(statesend_count(f.send), 0);
    ck_assert_uint_eq(f.sent[STATE_ASK], 0);
}
END_TEST

START_TEST(who_is_not_heard_of_any_more_is_given_up)
{
    f.cut_after = 3;
    lose(NEWEST);
    pass(4000);
    ck_assert_uint_eq(statesend_count(f.send), 1);
    pass(2000);
    ck_assert_uint_eq(statesend_count(f.send), 0);
    f.cut_after = 0;
    f.cut = false;
    pass(2000);
    arrived_by_itself();
}
END_TEST

START_TEST(whatever_is_lost_on_its_way_it_gets_it)
{
    lose(NEWEST);
    for (unsigned i = 0; i < 40 && f.replaced == 0; i++) {
        f.cut = true;
        pass(7);
        f.cut = false;
        pass(1100);
    }
    arrived_by_itself();
}
END_TEST

/* It was away for so long that its log has to begin anew as well. */
START_TEST(who_lacks_database_and_log_gets_both)
{
    statetake_lack(f.take, BEHIND + 5);
    settle();
    want();
    pass(500);
    arrived();
    ck_assert_uint_eq(f.sent[STATE_OFFER], 1);
}
END_TEST

/* ---- what changes meanwhile ---- */

/* Between the two: it said that it has the database, and its log did not begin yet. */
START_TEST(who_loses_what_it_has_just_got_gets_it_again)
{
    want();
    pass(200);
    arrived();
    store_close(f.stores[2]);
    statetake_stop(f.take);
    statetake_free(f.take);
    static const char *const names[] = {"m2.db", "m2.db-wal", "m2.db-shm"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        enum err err = fs_unlink(fs_real(), tmpdir_path(names[i]), NULL);
        ck_assert(err == OK || i > 0);
    }
    open_store(2, 7, BEHIND);
    new_take(fs_real());
    pass(3000);
    ck_assert_uint_eq(f.replaced, 2);
    ck_assert_uint_eq(store_applied_index(f.stores[2]), NEWEST);
    ck_assert_uint_eq(statesend_count(f.send), 1); /* until its log begins */
}
END_TEST

START_TEST(a_copy_that_the_log_has_forgotten_is_made_anew)
{
    f.cut_after = 5;
    want();
    pass(100);
    uint64_t first = f.offer_number;
    node_fake_set_log_start(f.nodes[1], NEWEST + 1);
    store_entry_begin(f.stores[1], NEWEST + 1, 2);
    struct store_put put = {.key = bytes_of_str("one"), .value = bytes_of_str("more")};
    ck_assert_int_eq(store_put(f.stores[1], &put, NULL), OK);
    store_entry_end(f.stores[1]);
    pass(2000);
    f.cut_after = 0;
    f.cut = false;
    pass(5000);
    ck_assert_uint_ne(f.offer_number, first);
    ck_assert_uint_eq(f.replaced, 1);
    ck_assert_uint_eq(node_fake_installed_index(f.nodes[1]), NEWEST + 1);
}
END_TEST

START_TEST(it_ends_with_leadership)
{
    f.cut_after = 5;
    want();
    pass(50);
    ck_assert_uint_eq(statesend_count(f.send), 1);
    node_fake_set_leader(f.nodes[1], 3, 2);
    pass(100);
    ck_assert_uint_eq(statesend_count(f.send), 0);
    unsigned chunks = f.sent[STATE_CHUNK];
    pass(2000);
    ck_assert_uint_eq(f.sent[STATE_CHUNK], chunks);
}
END_TEST

START_TEST(a_store_that_comes_as_far_by_itself_says_so)
{
    f.cut_after = 5;
    want();
    pass(50);
    store_close(f.stores[2]);
    statetake_stop(f.take);
    statetake_free(f.take);
    open_store(2, 7, 0); /* as it is */
    static char value[VALUE_BYTES];
    for (uint64_t index = BEHIND + 1; index <= NEWEST; index++) {
        struct store_put put = {.key = bytes_of_str("k"), .value = bytes_of(value, 10)};
        store_entry_begin(f.stores[2], index, 2);
        ck_assert_int_eq(store_put(f.stores[2], &put, NULL), OK);
        store_entry_end(f.stores[2]);
    }
    env_fake_advance(f.fake, 3000);
    new_take(fs_real());
    f.cut_after = 0;
    f.cut = false;
    pass(2500);
    ck_assert_uint_eq(f.replaced, 0);
    ck_assert_uint_eq(node_fake_installed_index(f.nodes[1]), NEWEST);
}
END_TEST

/* After so many ms of it. */
START_TEST(closing_ends_it)
{
    want();
    pass((uint64_t)_i * 7);
    stop(); /* the rest of the test is that nothing is left, and nothing is used after it */
    ck_assert(!exists("m1.db.send"));
}
END_TEST

static Suite *states_suite(void)
{
    const TTest *const tests[] = {
        who_is_far_behind_gets_the_database,
        what_follows_the_copy_is_held_meanwhile,
        who_has_enough_is_sent_nothing,
        a_message_to_its_log_that_is_lost_is_said_again,
        one_copy_serves_all,
        a_lost_connection_goes_on_where_it_was,
        whatever_is_lost_it_arrives,
        what_is_not_written_yet_is_no_more_than_a_window,
        a_pace_is_kept,
        what_was_changed_on_the_way_is_refused_and_comes_again,
        a_chunk_of_another_length_is_refused,
        what_is_no_database_is_refused,
        chunks_of_another_copy_or_place_are_passed_over,
        who_does_not_lead_is_not_heard,
        another_copy_takes_the_place_of_half_a_one,
        half_a_database_does_not_stay_for_ever,
        without_room_it_is_said_and_tried_again,
        without_room_no_copy_is_begun,
        who_lost_its_database_asks_for_another,
        it_asks_whoever_leads,
        it_asks_until_it_is_heard,
        whoever_comes_first_is_taken_to_the_end,
        whoever_falls_silent_is_not_waited_for,
        nor_is_a_leader_that_is_gone,
        the_others_help_who_leads_and_lost_its_database,
        who_is_not_heard_of_any_more_is_given_up,
        whatever_is_lost_on_its_way_it_gets_it,
        who_lacks_database_and_log_gets_both,
        who_loses_what_it_has_just_got_gets_it_again,
        a_copy_that_the_log_has_forgotten_is_made_anew,
        it_ends_with_leadership,
        a_store_that_comes_as_far_by_itself_says_so,
    };
    Suite *suite = suite_create("states");
    TCase *tc = tcase_create("states");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
        tcase_add_test(tc, tests[i]);
    }
    tcase_add_loop_test(tc, who_does_not_lead_or_has_less_does_not_help, 0, 2);
    tcase_add_loop_test(tc, closing_ends_it, 0, 12);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(states_suite);
}
