/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sendqueue.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "tests/lib/effort.h"
#include "tests/lib/runner.h"

#define PARTS_MAX 16

static void check_parts(const struct sendqueue *q, const struct buf *model)
{
    uv_buf_t parts[PARTS_MAX];
    size_t bytes;
    unsigned count = sendqueue_parts(q, parts, PARTS_MAX, &bytes);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_gt(parts[i].len, 0);
        ck_assert_uint_le(at + parts[i].len, model->len);
        ck_assert_int_eq(memcmp(parts[i].base, model->data + at, parts[i].len), 0);
        at += parts[i].len;
    }
    ck_assert_uint_eq(at, bytes);
    ck_assert(count == PARTS_MAX || at == model->len);
}

/* Random copies, blobs, consumption and moves to another, against a run of bytes each. The seed is
 * the index. */
START_TEST(it_is_one_run_of_bytes)
{
    struct sendqueue q;
    struct sendqueue other;
    struct mempool pool = {0};
    sendqueue_init(&q, _i < 2 ? NULL : &pool, _i % 2 == 0 ? 0 : 4096);
    sendqueue_init(&other, _i < 3 ? NULL : &pool, 4096);
    struct buf model = {0};
    struct buf other_model = {0};
    struct blob *blob = blob_new(10000);
    ck_assert_ptr_nonnull(blob);
    for (size_t i = 0; i < blob->len; i++) {
        blob->data[i] = (uint8_t)mix64(i);
    }
    uint64_t seed = (uint64_t)_i + 1;
    unsigned steps = effort_count(3000, 300, "steps");
    for (unsigned step = 0; step < steps; step++) {
        seed = mix64(seed);
        size_t offset = (seed >> 8) % blob->len;
        size_t len = (seed >> 32) % (blob->len - offset);
        switch (seed % 6) {
        case 0:
            ck_assert(sendqueue_copy(&q, bytes_of(blob->data + offset, len)));
            buf_append(&model, blob->data + offset, len);
            break;
        case 1:
            ck_assert(sendqueue_blob(&q, blob, offset, len));
            buf_append(&model, blob->data + offset, len);
            break;
        case 2:
            len = (seed >> 32) % (q.bytes + 1);
            sendqueue_consume(&q, len);
            buf_consume(&model, len);
            break;
        case 3:
            len = (seed >> 32) % (q.bytes + 1);
            ck_assert(sendqueue_move(&q, &other, len));
            buf_append(&other_model, model.data, len);
            buf_consume(&model, len);
            break;
        case 4:
            len = (seed >> 32) % (other.bytes + 1);
            sendqueue_consume(&other, len);
            buf_consume(&other_model, len);
            break;
        default: {
            uint8_t out[200];
            len = q.bytes < sizeof out ? q.bytes : sizeof out;
            sendqueue_take(&q, out, len);
            ck_assert(len == 0 || memcmp(out, model.data, len) == 0);
            buf_consume(&model, len);
            break;
        }
        }
        ck_assert_uint_eq(q.bytes, model.len);
        check_parts(&q, &model);
        ck_assert_uint_eq(other.bytes, other_model.len);
        check_parts(&other, &other_model);
    }
    sendqueue_fini(&q);
    sendqueue_fini(&other);
    ck_assert_uint_eq(blob->refs, 1);
    mempool_fini(&pool);
    blob_unref(blob);
    buf_fini(&model);
    buf_fini(&other_model);
}
END_TEST

START_TEST(a_large_blob_is_shared_and_a_small_one_copied)
{
    struct sendqueue q;
    sendqueue_init(&q, NULL, 0);
    struct blob *blob = blob_new(5000);
    ck_assert(sendqueue_blob(&q, blob, 0, 100));
    ck_assert_uint_eq(blob->refs, 1);
    ck_assert(sendqueue_blob(&q, blob, 100, 4000));
    ck_assert_uint_eq(blob->refs, 2);
    sendqueue_consume(&q, 100);
    struct blob *whose;
    struct bytes front = sendqueue_front(&q, &whose);
    ck_assert_ptr_eq(whose, blob);
    ck_assert_ptr_eq(front.data, blob->data + 100);
    ck_assert_uint_eq(front.len, 4000);
    sendqueue_consume(&q, 4000);
    ck_assert_uint_eq(blob->refs, 1);
    sendqueue_fini(&q);
    blob_unref(blob);
}
END_TEST

START_TEST(a_blob_that_moves_changes_hands)
{
    struct mempool pool = {0};
    struct sendqueue q;
    struct sendqueue to;
    sendqueue_init(&q, &pool, 0);
    sendqueue_init(&to, &pool, 0);
    struct blob *blob = blob_new(5000);
    ck_assert(sendqueue_blob(&q, blob, 0, 5000));
    size_t used = pool.used_count;
    ck_assert(sendqueue_move(&q, &to, 3000)); /* both have a part of it */
    ck_assert_uint_eq(blob->refs, 3);
    ck_assert(sendqueue_move(&q, &to, 2000));
    ck_assert_uint_eq(blob->refs, 3);
    ck_assert_uint_eq(pool.used_count, used + 1);
    ck_assert_uint_eq(q.bytes, 0);
    ck_assert_uint_eq(to.bytes, 5000);
    sendqueue_fini(&to);
    ck_assert_uint_eq(blob->refs, 1);
    mempool_fini(&pool);
    blob_unref(blob);
}
END_TEST

/* An unfinished write points into the pieces: adding must not move them. */
START_TEST(adding_moves_nothing)
{
    struct sendqueue q;
    sendqueue_init(&q, NULL, 16);
    uint8_t byte = 'x';
    ck_assert(sendqueue_copy(&q, bytes_of(&byte, 1)));
    struct blob *whose;
    const uint8_t *before = sendqueue_front(&q, &whose).data;
    unsigned count = effort_count(100000, 10000, "bytes"); /* several pieces */
    for (unsigned i = 0; i < count; i++) {
        ck_assert(sendqueue_copy(&q, bytes_of(&byte, 1)));
    }
    ck_assert_ptr_eq(sendqueue_front(&q, &whose).data, before);
    sendqueue_fini(&q);
}
END_TEST

static Suite *sendqueue_suite(void)
{
    Suite *suite = suite_create("sendqueue");
    TCase *tcase = tcase_create("sendqueue");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, it_is_one_run_of_bytes, 0, 4);
    tcase_add_test(tcase, a_large_blob_is_shared_and_a_small_one_copied);
    tcase_add_test(tcase, a_blob_that_moves_changes_hands);
    tcase_add_test(tcase, adding_moves_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return runner_main(sendqueue_suite);
}
