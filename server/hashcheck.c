/* SPDX-License-Identifier: Apache-2.0 */
#include "server/hashcheck.h"

#include <stdio.h>

#include "base/assert.h"

#define LOOK_MS 1000u

static const char *const topic_names[] = {[HASH_RECORDS] = "records", [HASH_TABLES] = "tables"};

static struct hashcheck_topic *topic_of(struct hashcheck *check, enum hash_topic topic)
{
    return &check->topics[topic - HASH_RECORDS];
}

/* ---- notes ---- */

static const struct hash_note *newest_of(const struct hashcheck_topic *topic)
{
    return &topic->notes[topic->newest];
}

static const struct hash_note *find_note(const struct hashcheck_topic *topic, uint64_t index)
{
    for (size_t i = 0; i < HASH_NOTES; i++) {
        const struct hash_note *note = &topic->notes[(topic->newest - i) % HASH_NOTES];
        if (note->index <= index) {
            return note->index == index ? note : NULL;
        }
    }
    return NULL;
}

static void send(struct hashcheck *check, uint64_t peer_id, const struct hashframe *frame)
{
    struct blob *blob = hashframe_encode(frame);
    if (blob != NULL) { /* else it is as lost as it might be on its way */
        check->host.send(check->host.ctx, peer_id, blob);
        blob_unref(blob);
    }
}

static void answer(struct hashcheck *check, const struct hashcheck_topic *topic,
                   const struct hash_note *note)
{
    send(check, topic->asker_id,
         &(struct hashframe){.what = HASH_ANSWER,
                             .topic = topic->topic,
                             .number = topic->asked_number,
                             .note = *note});
}

void hashcheck_note(struct hashcheck *check, enum hash_topic which)
{
    struct hashcheck_topic *topic = topic_of(check, which);
    struct hash_note note;
    check->host.note(check->host.ctx, which, &note);
    if (note.index == newest_of(topic)->index) {
        return;
    }
    topic->newest = (topic->newest + 1) % HASH_NOTES;
    topic->notes[topic->newest] = note;
    if (topic->asked_index == 0 || topic->asked_index > note.index) {
        return;
    }
    if (topic->asked_index == note.index && !check->stopped) {
        answer(check, topic, &note);
    }
    topic->asked_index = 0;
}

void hashcheck_forget(struct hashcheck *check)
{
    check->damage_told = false;
    for (size_t i = 0; i < HASH_TOPICS; i++) {
        struct hashcheck_topic *topic = &check->topics[i];
        memset(topic->notes, 0, sizeof topic->notes);
        topic->asked_index = 0;
        topic->asking = false;
        hashcheck_note(check, topic->topic);
    }
}

static void on_question(struct hashcheck *check, struct hashcheck_topic *topic, uint64_t peer_id,
                        const struct hashframe *question)
{
    topic->asker_id = peer_id;
    topic->asked_number = question->number;
    topic->asked_index = 0;
    if (question->note.index > newest_of(topic)->index) {
        topic->asked_index = question->note.index;
        return;
    }
    const struct hash_note *note = find_note(topic, question->note.index);
    if (note != NULL) {
        answer(check, topic, note);
    }
}

/* ---- alarms ---- */

static void raise_next(struct hashcheck *check)
{
    if (check->odd_count > 0 && !check->raising && !check->stopped) {
        check->raising = true;
        check->host.raise(check->host.ctx, check->odd[0]);
    }
}

void hashcheck_raised(struct hashcheck *check, bool raised)
{
    ASSERT(check->raising && check->odd_count > 0);
    check->raising = false;
    if (raised) {
        check->odd_count--;
        memmove(&check->odd[0], &check->odd[1], check->odd_count * sizeof check->odd[0]);
        raise_next(check);
    } /* else the timer tries again */
}

/* Is the alarm to be raised for MEMBER: is it neither active nor on its way? */
static bool is_news(const struct hashcheck *check, uint64_t member_id)
{
    for (size_t i = 0; i < check->odd_count; i++) {
        if (check->odd[i] == member_id) {
            return false;
        }
    }
    return check->odd_count < ARRAY_LEN(check->odd) &&
           !check->host.is_raised(check->host.ctx, member_id);
}

static void want_alarm(struct hashcheck *check, uint64_t member_id)
{
    check->odd[check->odd_count++] = member_id;
    raise_next(check);
}

/* ---- verdicts ---- */

#define HASH_TEXT_BYTES 33
static const char *hash_text(struct set_hash hash, char text[HASH_TEXT_BYTES])
{
    snprintf(text, HASH_TEXT_BYTES, "%016llx%016llx", (unsigned long long)hash.hi,
             (unsigned long long)hash.lo);
    return text;
}

/* Once per alarm: as long as it is active nobody needs to hear it again. */
static void log_difference(struct hashcheck *check, const struct hashcheck_topic *topic,
                           const char *what, const struct hash_vote *vote,
                           const struct hash_note *other)
{
    char own_text[HASH_TEXT_BYTES];
    char other_text[HASH_TEXT_BYTES];
    LOG_ERROR(check->log, what, LOG_HEX("member-id", vote->member_id),
              LOG_STR("hash-of", topic_names[topic->topic]), LOG_U64("index", vote->note.index),
              LOG_I64("revision", vote->note.revision),
              LOG_STR("hash", hash_text(vote->note.hash, own_text)),
              LOG_I64("other-revision", other->revision),
              LOG_STR("other-hash", hash_text(other->hash, other_text)));
}

static void tell_odd(struct hashcheck *check, struct hashcheck_topic *topic,
                     const struct hash_note *truth)
{
    for (size_t i = 0; i < topic->vote_count; i++) {
        struct hash_vote *vote = &topic->votes[i];
        if (!vote->came || vote->told || hash_note_equal(&vote->note, truth)) {
            continue;
        }
        vote->told = true;
        counter_add(check->differed, 1);
        if (is_news(check, vote->member_id)) {
            log_difference(check, topic, "a member's data differs from that of the majority", vote,
                           truth);
            want_alarm(check, vote->member_id);
        }
    }
}

static void tell_split(struct hashcheck *check, struct hashcheck_topic *topic)
{
    bool news = is_news(check, 0);
    const struct hash_vote *first = NULL;
    for (size_t i = 0; i < topic->vote_count; i++) {
        const struct hash_vote *vote = &topic->votes[i];
        if (!vote->came) {
            continue;
        }
        if (first == NULL) {
            first = vote;
        } else if (!hash_note_equal(&first->note, &vote->note)) {
            counter_add(check->differed, 1);
            if (news) {
                log_difference(check, topic,
                               "members' data differ and no majority tells which is right", vote,
                               &first->note);
            }
        }
    }
    if (news) {
        want_alarm(check, 0);
    }
}

/* What do the answers say so far? Over: no more are waited for. */
static void settle(struct hashcheck *check, struct hashcheck_topic *topic, bool over)
{
    const struct hash_note *truth;
    over = over || hashvote_complete(topic->votes, topic->vote_count);
    switch (hashvote_judge(topic->votes, topic->vote_count, &truth)) {
    case VERDICT_OPEN:
        break;
    case VERDICT_EQUAL:
        topic->agreed_index = topic->index;
        if (topic->topic == HASH_RECORDS) {
            gauge_set(check->agreed, (double)topic->index);
        }
        break;
    case VERDICT_ODD:
        tell_odd(check, topic, truth);
        break;
    case VERDICT_SPLIT:
        if (over) {
            tell_split(check, topic);
        }
        break;
    }
    topic->asking = !over;
}

/* ---- the leader's question ---- */

/* Everybody who has a state: a member that is only a spare has none. */
static void take_members(struct hashcheck *check, struct hashcheck_topic *topic,
                         const struct hash_note *own)
{
    const struct node_member *members;
    size_t count = check->host.members(check->host.ctx, &members);
    ASSERT(count <= MEMBERS_MAX);
    topic->vote_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (members[i].role == MEMBER_SPARE) {
            continue;
        }
        struct hash_vote *vote = &topic->votes[topic->vote_count++];
        *vote = (struct hash_vote){.member_id = members[i].id,
                                   .is_voter = members[i].role == MEMBER_VOTER};
        if (vote->member_id == check->member_id) {
            vote->came = true;
            vote->note = *own;
        }
    }
}

static void ask(struct hashcheck *check, struct hashcheck_topic *topic)
{
    const struct hash_note *own = newest_of(topic);
    if (own->index == 0 || own->index == topic->agreed_index) {
        return;
    }
    take_members(check, topic, own);
    if (topic->vote_count < 2) {
        return;
    }
    topic->asking = true;
    topic->number = ++check->last_number;
    topic->index = own->index;
    struct hashframe question = {.what = HASH_QUESTION,
                                 .topic = topic->topic,
                                 .number = topic->number,
                                 .note = {.index = own->index}};
    for (size_t i = 0; i < topic->vote_count; i++) {
        if (!topic->votes[i].came) {
            send(check, topic->votes[i].member_id, &question);
        }
    }
}

static void on_answer(struct hashcheck *check, struct hashcheck_topic *topic, uint64_t peer_id,
                      const struct hashframe *frame)
{
    bool is_asked = topic->asking && frame->number == topic->number &&
                    frame->note.index == topic->index && check->host.leads(check->host.ctx);
    if (!is_asked) {
        return;
    }
    for (size_t i = 0; i < topic->vote_count; i++) {
        struct hash_vote *vote = &topic->votes[i];
        if (vote->member_id == peer_id && !vote->came) {
            vote->came = true;
            vote->note = frame->note;
            counter_add(check->compared, 1);
            settle(check, topic, false);
            return;
        }
    }
}

enum err hashcheck_on_frame(struct hashcheck *check, uint64_t peer_id, struct bytes payload)
{
    struct hashframe frame;
    TRY(hashframe_decode(payload, &frame));
    if (check->stopped) {
        return OK;
    }
    struct hashcheck_topic *topic = topic_of(check, frame.topic);
    if (frame.what == HASH_QUESTION) {
        on_question(check, topic, peer_id, &frame);
    } else {
        on_answer(check, topic, peer_id, &frame);
    }
    return OK;
}

/* ---- every second ---- */

static void look_for_damage(struct hashcheck *check)
{
    const char *place = check->damage_told ? NULL : check->host.damage(check->host.ctx);
    if (place == NULL) {
        return;
    }
    check->damage_told = true;
    LOG_ERROR(check->log, "this member's data is damaged", LOG_STR("where", place));
    if (is_news(check, check->member_id)) {
        want_alarm(check, check->member_id);
    }
}

static void ask_all(struct hashcheck *check)
{
    bool leads = check->host.leads(check->host.ctx);
    for (size_t i = 0; i < HASH_TOPICS; i++) {
        struct hashcheck_topic *topic = &check->topics[i];
        if (topic->asking && leads) {
            settle(check, topic, true);
        }
        topic->asking = false;
        if (leads) {
            ask(check, topic);
        }
    }
}

static void on_timer(struct env_timer *timer)
{
    struct hashcheck *check = CONTAINER_OF(timer, struct hashcheck, timer);
    uint64_t now_ms = env_now_ms(check->env);
    look_for_damage(check);
    raise_next(check);
    if (now_ms >= check->next_ms) {
        check->next_ms = now_ms + check->interval_ms;
        ask_all(check);
    }
    env_timer_start(check->env, &check->timer, LOOK_MS);
}

/* ---- its life ---- */

void hashcheck_init(struct hashcheck *check, struct env *env, struct logger *log,
                    struct metrics *metrics, uint64_t member_id, uint64_t interval_ms,
                    const struct hashcheck_host *host)
{
    *check = (struct hashcheck){
        .host = *host,
        .env = env,
        .log = log,
        .member_id = member_id,
        .interval_ms = interval_ms == 0 ? HASHCHECK_INTERVAL_MS : interval_ms,
        .last_number = env_random_u64(env), /* an answer to an earlier life is none to this one */
    };
    env_timer_init(&check->timer, on_timer);
    for (size_t i = 0; i < HASH_TOPICS; i++) {
        check->topics[i].topic = (enum hash_topic)(HASH_RECORDS + i);
        hashcheck_note(check, check->topics[i].topic);
    }
    if (metrics != NULL) {
        check->compared =
            metrics_counter(metrics, "trivet_hash_comparisons_total",
                            "Other members' hashes that this one compared, as the leader.", NULL);
        check->differed = metrics_counter(metrics, "trivet_hash_mismatches_total",
                                          "Hashes among them that were not as the others.", NULL);
        check->agreed = metrics_gauge(metrics, "trivet_hash_agreed_index",
                                      "The last index at which this member, as the leader, found "
                                      "the records of all members equal.",
                                      NULL);
    }
}

void hashcheck_start(struct hashcheck *check)
{
    env_timer_start(check->env, &check->timer, LOOK_MS);
}

void hashcheck_stop(struct hashcheck *check)
{
    check->stopped = true;
    env_timer_stop(check->env, &check->timer);
}
