#include "table.h"

#include "copy.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

struct table *table_new(size_t capacity)
{
    struct table *table = zeroed(1, sizeof *table);
    table->capacity = capacity;
    table->buckets = 64;
    while (table->buckets < capacity)
        table->buckets *= 2;
    table->slots = zeroed(capacity, sizeof *table->slots);
    table->by_key = zeroed(table->buckets, sizeof(struct entry *));
    table->by_mapped = zeroed(table->buckets, sizeof(struct entry *));
    return table;
}

void table_free(struct table *table)
{
    if (table == NULL)
        return;
    free(table->slots);
    free(table->by_key);
    free(table->by_mapped);
    free(table);
}

void table_clear(struct table *table)
{
    memset(table->by_key, 0, table->buckets * sizeof(struct entry *));
    memset(table->by_mapped, 0, table->buckets * sizeof(struct entry *));
    table->count = table->used = 0;
    table->free = table->oldest = table->newest = NULL;
}

static struct entry **key_bucket(const struct table *table, const struct flow *key)
{
    return &table->by_key[flow_hash(key) & (table->buckets - 1)];
}

static struct entry **mapped_bucket(const struct table *table, const struct flow *mapped)
{
    return &table->by_mapped[flow_hash(mapped) & (table->buckets - 1)];
}

struct entry *table_find(const struct table *table, const struct flow *key)
{
    struct entry *entry = *key_bucket(table, key);
    while (entry != NULL && !flow_equal(&entry->key, key))
        entry = entry->next_key;
    return entry;
}

struct entry *table_find_mapped(const struct table *table, const struct flow *mapped)
{
    struct entry *entry = *mapped_bucket(table, mapped);
    while (entry != NULL && !flow_equal(&entry->mapped, mapped))
        entry = entry->next_mapped;
    return entry;
}

static void append_newest(struct table *table, struct entry *entry)
{
    entry->older = table->newest;
    entry->newer = NULL;
    if (table->newest != NULL)
        table->newest->newer = entry;
    else
        table->oldest = entry;
    table->newest = entry;
}

static void unlink_age(struct table *table, struct entry *entry)
{
    if (entry->older != NULL)
        entry->older->newer = entry->newer;
    else
        table->oldest = entry->newer;
    if (entry->newer != NULL)
        entry->newer->older = entry->older;
    else
        table->newest = entry->older;
}

/* Slots are taken in order and only then reused, so that memory that was never needed is never touched. */
static struct entry *take_slot(struct table *table)
{
    struct entry *entry = table->free;
    if (entry != NULL)
        table->free = entry->next_key;
    else
        entry = &table->slots[table->used++];
    table->count++;
    return entry;
}

struct entry *table_add(struct table *table, const struct flow *key, const struct flow *mapped, uint64_t now_ns)
{
    if (table->count == table->capacity)
        return NULL;
    struct entry *entry = take_slot(table);
    struct entry **keys = key_bucket(table, key), **maps = mapped_bucket(table, mapped);
    *entry = (struct entry){.key = *key, .mapped = *mapped, .first_ns = now_ns, .last_ns = now_ns};
    entry->next_key = *keys;
    *keys = entry;
    if (mapped->proto != 0) {
        entry->next_mapped = *maps;
        *maps = entry;
    }
    append_newest(table, entry);
    if (table->copy != NULL)
        copy_added(table->copy, entry);
    return entry;
}

static void unlink_mapped(struct table *table, struct entry *entry)
{
    struct entry **at = mapped_bucket(table, &entry->mapped);
    while (*at != entry)
        at = &(*at)->next_mapped;
    *at = entry->next_mapped;
}

void table_remove(struct table *table, struct entry *entry)
{
    if (table->copy != NULL)
        copy_removing(table->copy, entry);
    struct entry **at = key_bucket(table, &entry->key);
    while (*at != entry)
        at = &(*at)->next_key;
    *at = entry->next_key;
    if (entry->mapped.proto != 0)
        unlink_mapped(table, entry);
    unlink_age(table, entry);
    entry->next_key = table->free;
    table->free = entry;
    table->count--;
}

void table_touch(struct table *table, struct entry *entry, size_t bytes, uint64_t now_ns)
{
    entry->packets++;
    entry->bytes += bytes;
    entry->last_ns = now_ns;
    if (table->copy != NULL)
        copy_touching(table->copy, entry);
    table_renew(table, entry);
    if (table->copy != NULL)
        copy_added(table->copy, entry);
}

void table_renew(struct table *table, struct entry *entry)
{
    if (table->newest == entry)
        return;
    unlink_age(table, entry);
    append_newest(table, entry);
}

uint64_t age_ns(uint64_t then_ns, uint64_t now_ns)
{
    const int64_t age = (int64_t)(now_ns - then_ns);
    return age > 0 ? (uint64_t)age : 0;
}

void table_expire(struct table *table, uint64_t timeout_ns, uint64_t now_ns)
{
    while (table->oldest != NULL && age_ns(table->oldest->last_ns, now_ns) > timeout_ns)
        table_remove(table, table->oldest);
}
