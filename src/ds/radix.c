/* SPDX-License-Identifier: BSD-3-Clause */
/* radix: nodes own their label and an array of children sorted by first byte. */
#include "src/ds/radix.h"

#include <string.h>

#include "src/base/mem.h"

struct radix_node {
    struct slice label; /* owned; empty only at the root */
    void *value;
    struct radix_node **children;
    unsigned count;
};

struct radix {
    struct radix_node root;
};

static unsigned char first_of(const struct radix_node *n) {
    return (unsigned char)n->label.p[0];
}

/* Where the child beginning with that byte is, or would be. */
static unsigned child_index(const struct radix_node *n, unsigned char byte) {
    unsigned lo = 0, hi = n->count;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (first_of(n->children[mid]) < byte) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static struct radix_node *child_of(const struct radix_node *n, unsigned char byte) {
    unsigned i = child_index(n, byte);
    return i < n->count && first_of(n->children[i]) == byte ? n->children[i] : NULL;
}

static struct radix_node *node_create(struct slice label) {
    struct radix_node *n = mem_zalloc(sizeof(*n));
    n->label = slice_make(mem_memdup(label.p, label.n), label.n);
    return n;
}

static void add_child(struct radix_node *n, struct radix_node *child) {
    unsigned i = child_index(n, first_of(child));
    n->children = mem_realloc(n->children, (n->count + 1) * sizeof(struct radix_node *));
    memmove(n->children + i + 1, n->children + i, (n->count - i) * sizeof(struct radix_node *));
    n->children[i] = child;
    n->count++;
}

static size_t common(struct slice a, struct slice b) {
    size_t n = a.n < b.n ? a.n : b.n, i = 0;
    while (i < n && a.p[i] == b.p[i]) {
        i++;
    }
    return i;
}

static struct slice rest_of(struct slice s, size_t from) {
    return slice_make(s.p + from, s.n - from);
}

/* Puts a node for the first n bytes of the child's label between it and its parent. */
static struct radix_node *split(struct radix_node *parent, struct radix_node *child, size_t n) {
    struct radix_node *upper = node_create(slice_make(child->label.p, n));
    struct slice whole = child->label, rest = rest_of(whole, n);
    parent->children[child_index(parent, first_of(child))] = upper;
    child->label = slice_make(mem_memdup(rest.p, rest.n), rest.n);
    mem_free((char *)(uintptr_t)whole.p);
    add_child(upper, child);
    return upper;
}

struct radix *radix_create(void) {
    return mem_zalloc(sizeof(struct radix));
}

static void node_fini(struct radix_node *n) {
    for (unsigned i = 0; i < n->count; i++) {
        node_fini(n->children[i]);
        mem_free(n->children[i]);
    }
    mem_free(n->children);
    mem_free((char *)(uintptr_t)n->label.p);
}

void radix_destroy(struct radix **r) {
    if (*r != NULL) {
        node_fini(&(*r)->root);
        mem_free(*r);
        *r = NULL;
    }
}

void radix_put(struct radix *r, struct slice name, void *value) {
    struct radix_node *n = &r->root;
    while (name.n > 0) {
        struct radix_node *child = child_of(n, (unsigned char)name.p[0]);
        if (child == NULL) {
            child = node_create(name);
            add_child(n, child);
        }
        size_t same = common(child->label, name);
        n = same < child->label.n ? split(n, child, same) : child;
        name = rest_of(name, same);
    }
    n->value = value;
}

void *radix_get(const struct radix *r, struct slice name) {
    const struct radix_node *n = &r->root;
    while (n != NULL && name.n > 0) {
        n = child_of(n, (unsigned char)name.p[0]);
        if (n != NULL && !slice_starts(name, n->label)) {
            n = NULL;
        }
        name = n != NULL ? rest_of(name, n->label.n) : name;
    }
    return n != NULL ? n->value : NULL;
}

void radix_prefixes(const struct radix *r, struct slice name, bool (*fn)(void *ctx, void *value), void *ctx) {
    const struct radix_node *n = &r->root;
    while (n->value == NULL || fn(ctx, n->value)) {
        n = name.n > 0 ? child_of(n, (unsigned char)name.p[0]) : NULL;
        if (n == NULL || !slice_starts(name, n->label)) {
            return;
        }
        name = rest_of(name, n->label.n);
    }
}

void *radix_longest(const struct radix *r, struct slice name) {
    const struct radix_node *n = &r->root;
    void *best = n->value;
    while (name.n > 0) {
        n = child_of(n, (unsigned char)name.p[0]);
        if (n == NULL || !slice_starts(name, n->label)) {
            break;
        }
        best = n->value != NULL ? n->value : best;
        name = rest_of(name, n->label.n);
    }
    return best;
}
