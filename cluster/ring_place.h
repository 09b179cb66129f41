/* SPDX-License-Identifier: BSD-3-Clause */
/* ring_place: which node gets which slot, out of ids, lots and weights alone. Private to ring, and to the benchmark that compares it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ring_node;

/* Fills owner with indices into nodes. weights: one for each node, 0 for those that get nothing, not all 0. nodes are in the order of their
 * ids. run: 2^run consecutive slots go to one node where bounds allow it. Every machine computes the same: no floating point. */
void ring_place(const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run, uint16_t *owner);
/* The lot that the last of `order` had best take beside those that have weights, when the others of `order` take theirs before it, one after the other, but for those that have. takers:
 * the weights of those, 0 for all who are not in order. */
uint16_t ring_place_lot(const struct ring_node *nodes, const uint16_t *weights, const uint16_t *takers, unsigned n, unsigned run,
                        const unsigned *order, unsigned count);
/* The k-th node in the slot's order of preference, its owner left out; RING_NONE when there are not so many. */
unsigned ring_place_successor(const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run, unsigned slot,
                              unsigned owner, unsigned k);
/* Fills serving: the owner where it answers, else the first node in the slot's order of preference that does; `none` when no node does. */
void ring_place_serving(const struct ring_node *nodes, const uint16_t *weights, unsigned n, unsigned run, const bool *answers,
                        const uint16_t *owner, unsigned none, uint16_t *serving);
