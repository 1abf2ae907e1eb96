/* The state of a VNF: a bounded table of flows, found by the flow as it comes in (`key`) and, where a function
 * rewrites packets, by the flow of the answers (`mapped`). Entries are kept in the order of their last use.
 *
 * Every function keeps all that a move has to carry in one such table, so that the hand-over of state (copy.h) is
 * written once, against this file. */
#ifndef VNF_TABLE_H
#define VNF_TABLE_H

#include "packet.h"

struct copy;

struct entry {
    struct flow key, mapped;
    uint64_t packets, bytes;
    uint64_t first_ns, last_ns; /* CLOCK_MONOTONIC */
    struct entry *next_key, *next_mapped, *older, *newer;
    uint64_t mark[2];          /* hash of what the peer holds of this entry */
    uint32_t copied_in, clean_in; /* number of the copy in which the peer has it; and has it as it is now */
};

struct table {
    size_t capacity, count;
    size_t used;    /* slots ever taken */
    size_t buckets; /* a power of two */
    struct entry *slots, *free;
    struct entry **by_key, **by_mapped;
    struct entry *oldest, *newest;
    struct copy *copy;    /* kept in step with a peer's table; NULL: none is */
    uint32_t copy_number; /* of the copy, or of the last one */
};

struct table *table_new(size_t capacity);
void table_free(struct table *table);
/* Forgets every entry, at the cost of the index only. Not while there is a copy. */
void table_clear(struct table *table);
struct entry *table_find(const struct table *table, const struct flow *key);
struct entry *table_find_mapped(const struct table *table, const struct flow *mapped);
/* NULL when the table is full. A `mapped` with protocol 0 stands for "never answered" and is not indexed. The caller has made sure that `key` is not in it. */
struct entry *table_add(struct table *table, const struct flow *key, const struct flow *mapped, uint64_t now_ns);
void table_remove(struct table *table, struct entry *entry);
/* Counts one packet and makes the entry the newest. */
void table_touch(struct table *table, struct entry *entry, size_t bytes, uint64_t now_ns);
/* Makes the entry the newest and counts nothing. */
void table_renew(struct table *table, struct entry *entry);
/* 0 for a time that lies ahead, as a peer's clock may have it; right for one before this machine's start. */
uint64_t age_ns(uint64_t then_ns, uint64_t now_ns);
/* Removes what was not used for `timeout_ns`; the cost is that of the entries removed. */
void table_expire(struct table *table, uint64_t timeout_ns, uint64_t now_ns);

#endif
