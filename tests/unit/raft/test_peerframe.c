/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/peerframe.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

#define FRAMES_MAX 8

/* What a reader handed over. */
struct got {
    unsigned leads;
    unsigned count;
    uint8_t kinds[FRAMES_MAX];
    uint32_t crcs[FRAMES_MAX];
    size_t lens[FRAMES_MAX];
    unsigned stop_at; /* stop behind so many frames; 0: never */
};

static bool on_lead(void *ctx, struct bytes lead)
{
    struct got *got = ctx;
    struct peer_hello hello;
    ck_assert_uint_eq(lead.len, PEER_HELLO_BYTES);
    ck_assert_int_eq(peer_hello_read(lead.data, &hello), OK);
    got->leads++;
    return true;
}

static bool on_frame(void *ctx, uint8_t kind, struct bytes payload)
{
    struct got *got = ctx;
    ck_assert_uint_lt(got->count, FRAMES_MAX);
    got->kinds[got->count] = kind;
    got->crcs[got->count] = crc32c(0, payload.data, payload.len);
    got->lens[got->count] = payload.len;
    got->count++;
    return got->count != got->stop_at;
}

static const struct peer_reader_callbacks callbacks = {.on_lead = on_lead, .on_frame = on_frame};

static struct peer_reader new_reader(void)
{
    return (struct peer_reader){.lead_bytes = PEER_HELLO_BYTES,
                                .frame_bytes_max = PEER_FRAME_BYTES_MAX};
}

static const size_t payload_lens[] = {5, 0, 300, 8, 1};
static const uint8_t kinds[] = {FRAME_RAFT, FRAME_APP, FRAME_FORWARD, PEER_KIND_PING,
                                FRAME_READ_INDEX};

/* A hello and some frames. */
static void make_stream(struct buf *buf)
{
    uint8_t hello[PEER_HELLO_BYTES];
    peer_hello_write(
        &(struct peer_hello){.version = PEER_VERSION, .cluster_id = 1, .from = 2, .to = 3}, hello);
    buf_append(buf, hello, sizeof hello);
    for (size_t i = 0; i < ARRAY_LEN(payload_lens); i++) {
        uint8_t payload[300];
        memset(payload, (int)(i + 1), sizeof payload);
        uint8_t header[PEER_FRAME_HEADER_BYTES];
        peer_frame_header_write(kinds[i], bytes_of(payload, payload_lens[i]), header);
        buf_append(buf, header, sizeof header);
        buf_append(buf, payload, payload_lens[i]);
    }
}

static void check_all(const struct got *got)
{
    ck_assert_uint_eq(got->leads, 1);
    ck_assert_uint_eq(got->count, ARRAY_LEN(payload_lens));
    for (size_t i = 0; i < ARRAY_LEN(payload_lens); i++) {
        uint8_t payload[300];
        memset(payload, (int)(i + 1), sizeof payload);
        ck_assert_uint_eq(got->kinds[i], kinds[i]);
        ck_assert_uint_eq(got->lens[i], payload_lens[i]);
        ck_assert_uint_eq(got->crcs[i], crc32c(0, payload, payload_lens[i]));
    }
}

START_TEST(however_the_bytes_are_cut_the_frames_are_the_same)
{
    struct buf stream = {0};
    make_stream(&stream);
    size_t step = stream.len / effort_count((unsigned)stream.len / 7, 10, "second cuts a first");
    for (size_t a = 0; a <= stream.len; a++) {
        for (size_t b = a; b <= stream.len; b += step) {
            struct peer_reader reader = new_reader();
            struct got got = {0};
            const size_t cuts[] = {0, a, b, stream.len};
            for (size_t i = 0; i + 1 < ARRAY_LEN(cuts); i++) {
                struct bytes part = bytes_of(stream.data + cuts[i], cuts[i + 1] - cuts[i]);
                ck_assert_int_eq(peer_reader_feed(&reader, part, &callbacks, &got, NULL), OK);
            }
            check_all(&got);
            peer_reader_fini(&reader);
        }
    }
    buf_fini(&stream);
}
END_TEST

START_TEST(byte_by_byte_works_as_well)
{
    struct buf stream = {0};
    make_stream(&stream);
    struct peer_reader reader = new_reader();
    struct got got = {0};
    for (size_t i = 0; i < stream.len; i++) {
        ck_assert_int_eq(
            peer_reader_feed(&reader, bytes_of(stream.data + i, 1), &callbacks, &got, NULL), OK);
    }
    check_all(&got);
    peer_reader_fini(&reader);
    buf_fini(&stream);
}
END_TEST

START_TEST(any_flipped_bit_of_a_frame_is_noticed)
{
    struct buf stream = {0};
    make_stream(&stream);
    for (size_t bit = PEER_HELLO_BYTES * 8; bit < stream.len * 8; bit++) {
        struct peer_reader reader = new_reader();
        struct got got = {0};
        struct why why = {0};
        stream.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        enum err err = peer_reader_feed(&reader, buf_bytes(&stream), &callbacks, &got, &why);
        ck_assert_int_eq(err, ERR_MALFORMED);
        ck_assert_uint_gt(strlen(why.text), 0);
        ck_assert_uint_lt(got.count, ARRAY_LEN(payload_lens));
        stream.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        peer_reader_fini(&reader);
    }
    buf_fini(&stream);
}
END_TEST

START_TEST(any_flipped_bit_of_hello_and_answer_is_noticed)
{
    uint8_t hello[PEER_HELLO_BYTES];
    uint8_t answer[PEER_ANSWER_BYTES];
    struct peer_hello read;
    uint32_t verdict;
    uint64_t id;
    peer_hello_write(&(struct peer_hello){.version = PEER_VERSION, .lane = LANE_BULK}, hello);
    peer_answer_write(PEER_UNKNOWN, 5, answer);
    ck_assert_int_eq(peer_hello_read(hello, &read), OK);
    ck_assert_int_eq(read.lane, LANE_BULK);
    ck_assert_int_eq(peer_answer_read(answer, &verdict, &id), OK);
    ck_assert_uint_eq(verdict, PEER_UNKNOWN);
    ck_assert_uint_eq(id, 5);
    for (size_t bit = 0; bit < sizeof hello * 8; bit++) {
        hello[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(peer_hello_read(hello, &read), ERR_MALFORMED);
        hello[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t bit = 0; bit < sizeof answer * 8; bit++) {
        answer[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_int_eq(peer_answer_read(answer, &verdict, &id), ERR_MALFORMED);
        answer[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}
END_TEST

START_TEST(memory_grows_with_what_arrived_not_with_what_was_announced)
{
    struct peer_reader reader = new_reader();
    reader.lead_bytes = 0;
    uint8_t header[PEER_FRAME_HEADER_BYTES] = {0};
    put_u32(header, PEER_FRAME_BYTES_MAX);
    header[4] = FRAME_RAFT;
    put_u32(header + 12, crc32c(0, header, 12));
    struct got got = {0};
    ck_assert_int_eq(
        peer_reader_feed(&reader, bytes_of(header, sizeof header), &callbacks, &got, NULL), OK);
    ck_assert_int_eq(peer_reader_feed(&reader, bytes_of("some", 4), &callbacks, &got, NULL), OK);
    ck_assert_uint_lt(reader.part.cap, 4096);
    peer_reader_fini(&reader);
}
END_TEST

START_TEST(a_callback_can_stop_it)
{
    struct buf stream = {0};
    make_stream(&stream);
    struct peer_reader reader = new_reader();
    struct got got = {.stop_at = 2};
    ck_assert_int_eq(peer_reader_feed(&reader, buf_bytes(&stream), &callbacks, &got, NULL), OK);
    ck_assert_uint_eq(got.count, 2);
    peer_reader_fini(&reader);
    buf_fini(&stream);
}
END_TEST

START_TEST(every_verdict_has_a_text)
{
    for (uint32_t i = 0; i < PEER_VERDICT_COUNT + 2; i++) {
        ck_assert_ptr_nonnull(peer_verdict_text(i));
    }
}
END_TEST

static Suite *peerframe_suite(void)
{
    Suite *suite = suite_create("peerframe");
    TCase *tc = tcase_create("peerframe");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, however_the_bytes_are_cut_the_frames_are_the_same);
    tcase_add_test(tc, byte_by_byte_works_as_well);
    tcase_add_test(tc, any_flipped_bit_of_a_frame_is_noticed);
    tcase_add_test(tc, any_flipped_bit_of_hello_and_answer_is_noticed);
    tcase_add_test(tc, memory_grows_with_what_arrived_not_with_what_was_announced);
    tcase_add_test(tc, a_callback_can_stop_it);
    tcase_add_test(tc, every_verdict_has_a_text);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return runner_main(peerframe_suite);
}
