/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

/* A circular doubly linked list whose links live inside the elements. The head is a struct queue of
 * its own. */
struct queue {
    struct queue *next;
    struct queue *prev;
};

static inline void queue_init(struct queue *q)
{
    q->next = q;
    q->prev = q;
}

static inline bool queue_empty(const struct queue *head)
{
    return head->next == head;
}

static inline void queue_push_back(struct queue *head, struct queue *link)
{
    link->next = head;
    link->prev = head->prev;
    head->prev->next = link;
    head->prev = link;
}

static inline void queue_push_front(struct queue *head, struct queue *link)
{
    queue_push_back(head->next, link);
}

/* Take LINK out; it becomes an empty list of its own, so that removing it twice does no harm. */
static inline void queue_remove(struct queue *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    queue_init(link);
}

/* The first link, taken out, or NULL. */
static inline struct queue *queue_pop_front(struct queue *head)
{
    if (queue_empty(head)) {
        return NULL;
    }
    struct queue *link = head->next;
    queue_remove(link);
    return link;
}

/* Move everything from FROM to the end of TO. */
static inline void queue_splice(struct queue *to, struct queue *from)
{
    if (queue_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    queue_init(from);
}

/* The element that holds LINK. */
#define QUEUE_ELEM(link, type, member) CONTAINER_OF(link, type, member)

/* LINK runs over the list; it must not be removed inside (QUEUE_FOREACH_SAFE allows that). */
#define QUEUE_FOREACH(link, head) \
    for (struct queue *link = (head)->next; link != (head); link = link->next)

#define QUEUE_FOREACH_SAFE(link, head)                                                 \
    for (struct queue *link = (head)->next, *link##_next = link->next; link != (head); \
         link = link##_next, link##_next = link->next)

#endif
