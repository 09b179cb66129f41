/* SPDX-License-Identifier: BSD-3-Clause */
/* list: intrusive, circular, doubly linked. A head is a node linked to itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_ENTRY(node, type, field) ((type *)(void *)((char *)(node)-offsetof(type, field)))

static inline void list_init(struct list *l) {
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l) {
    return l->next == l;
}

static inline void list_push_back(struct list *head, struct list *n) {
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}

static inline void list_push_front(struct list *head, struct list *n) {
    list_push_back(head->next, n);
}

/* Unlinks n and leaves it linked to itself, so that a second call is harmless. */
static inline void list_remove(struct list *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

static inline struct list *list_pop_front(struct list *head) {
    if (list_empty(head)) {
        return NULL;
    }
    struct list *n = head->next;
    list_remove(n);
    return n;
}
