#include "copy.h"

#include "memory.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_BYTES = 13, VALUE_BYTES = KEY_BYTES + 32,
    REMOVAL_BYTES = 1 + KEY_BYTES, ENTRY_BYTES = REMOVAL_BYTES + 2 + VALUE_BYTES, MARK_BYTES = 16,
};

struct copy *copy_begin(struct table *table, const uint8_t *key, uint64_t base_ns)
{
    struct copy *copy = zeroed(1, sizeof *copy);
    *copy = (struct copy){.table = table, .base_ns = base_ns, .unsent = table->oldest, .unsent_count = table->count};
    memcpy(copy->key, key, sizeof copy->key);
    copy->removed = zeroed(table->capacity, sizeof *copy->removed); /* an entry is told again before it is removed again */
    table->copy_number++;
    table->copy = copy;
    return copy;
}

void copy_end(struct copy *copy)
{
    if (copy == NULL)
        return;
    copy->table->copy = NULL;
    free(copy->removed);
    sodium_memzero(copy, sizeof *copy);
    free(copy);
}

static bool is_copied(const struct copy *copy, const struct entry *entry)
{
    return entry->copied_in == copy->table->copy_number;
}

static bool is_clean(const struct copy *copy, const struct entry *entry)
{
    return entry->clean_in == copy->table->copy_number;
}

static void set_unsent(struct copy *copy, struct entry *entry)
{
    copy->unsent_count++;
    if (copy->unsent == NULL)
        copy->unsent = entry;
}

static void unset_unsent(struct copy *copy, struct entry *entry)
{
    copy->unsent_count--;
    if (copy->unsent == entry)
        copy->unsent = entry->newer;
}

void copy_added(struct copy *copy, struct entry *entry) { set_unsent(copy, entry); }

void copy_touching(struct copy *copy, struct entry *entry)
{
    if (is_clean(copy, entry))
        entry->clean_in = 0;
    else
        unset_unsent(copy, entry);
}

static void subtract_mark(struct copy *copy, const struct entry *entry)
{
    if (!is_copied(copy, entry))
        return;
    copy->digest[0] -= entry->mark[0];
    copy->digest[1] -= entry->mark[1];
}

void copy_removing(struct copy *copy, struct entry *entry)
{
    if (!is_clean(copy, entry))
        unset_unsent(copy, entry);
    if (!is_copied(copy, entry))
        return;
    subtract_mark(copy, entry);
    copy->removed[(copy->removed_first + copy->removed_count++) % copy->table->capacity] = entry->key;
}

size_t copy_waiting(const struct copy *copy) { return copy->unsent_count + copy->removed_count; }

static void write_entry(const struct copy *copy, const struct entry *entry, struct writer *writer)
{
    write_number(writer, KEY_BYTES, 1);
    write_flow(writer, &entry->key);
    write_number(writer, VALUE_BYTES, 2);
    write_flow(writer, &entry->mapped);
    write_number(writer, entry->packets, 8);
    write_number(writer, entry->bytes, 8);
    write_number(writer, entry->first_ns - copy->base_ns, 8);
    write_number(writer, entry->last_ns - copy->base_ns, 8);
}

/* The peer holds these bytes of this entry from now on. */
static void set_mark(struct copy *copy, struct entry *entry, const uint8_t *bytes)
{
    uint8_t hash[MARK_BYTES];
    struct reader reader = {hash, sizeof hash, false};
    subtract_mark(copy, entry);
    crypto_generichash(hash, sizeof hash, bytes, ENTRY_BYTES, copy->key, sizeof copy->key);
    for (size_t i = 0; i < 2; i++) {
        entry->mark[i] = read_number(&reader, 8);
        copy->digest[i] += entry->mark[i];
    }
    entry->copied_in = entry->clean_in = copy->table->copy_number;
}

static size_t send_removed(struct copy *copy, struct writer *writer, size_t most)
{
    const size_t count = copy->removed_count < most ? copy->removed_count : most;
    for (size_t i = 0; i < count; i++) {
        write_number(writer, KEY_BYTES, 1);
        write_flow(writer, &copy->removed[(copy->removed_first + i) % copy->table->capacity]);
    }
    copy->removed_first = (copy->removed_first + count) % copy->table->capacity;
    copy->removed_count -= count;
    return count;
}

static size_t send_entries(struct copy *copy, struct writer *writer, size_t most)
{
    size_t count = 0;
    for (; count < most && copy->unsent != NULL; count++) {
        struct entry *entry = copy->unsent;
        uint8_t *begin = writer->at;
        write_entry(copy, entry, writer);
        set_mark(copy, entry, begin);
        unset_unsent(copy, entry);
    }
    return count;
}

size_t copy_send(struct copy *copy, struct buffer *out, size_t most)
{
    static uint8_t body[MAX_BODY];
    struct writer writer = {body, body + sizeof body};
    const enum kind kind = copy->removed_count > 0 ? REMOVE : PUT;
    const size_t fit = sizeof body / ENTRY_BYTES, limit = most < fit ? most : fit;
    if (copy_waiting(copy) == 0 || buffer_reserve(out, HEADER_BYTES + limit * ENTRY_BYTES) == NULL)
        return 0;
    const size_t count = kind == REMOVE ? send_removed(copy, &writer, limit) : send_entries(copy, &writer, limit);
    buffer_append(out, kind, body, (size_t)(writer.at - body));
    return count;
}

static bool read_entry(const struct copy *copy, struct reader *reader, struct entry *out)
{
    const uint64_t key_bytes = read_number(reader, 1);
    out->key = read_flow(reader);
    const uint64_t value_bytes = read_number(reader, 2);
    out->mapped = read_flow(reader);
    out->packets = read_number(reader, 8);
    out->bytes = read_number(reader, 8);
    out->first_ns = read_number(reader, 8) + copy->base_ns;
    out->last_ns = read_number(reader, 8) + copy->base_ns;
    return !reader->bad && key_bytes == KEY_BYTES && value_bytes == VALUE_BYTES &&
           (int64_t)(out->last_ns - out->first_ns) >= 0;
}

/* An answer's flow belongs to one entry only, and an entry keeps the one it was made with. */
static enum trouble find_place(struct copy *copy, const struct entry *image, struct entry **out)
{
    struct entry *entry = table_find(copy->table, &image->key);
    struct entry *answered = image->mapped.proto == 0 ? entry : table_find_mapped(copy->table, &image->mapped);
    if (entry != answered || (entry != NULL && !flow_equal(&entry->mapped, &image->mapped)))
        return MALFORMED;
    if (entry == NULL)
        entry = table_add(copy->table, &image->key, &image->mapped, image->first_ns);
    *out = entry;
    return entry == NULL ? TABLE_FULL : FINE;
}

/* The digest is of what is in the table now, not of what was sent. */
static void take_in(struct copy *copy, struct entry *entry, const struct entry *image)
{
    uint8_t held[ENTRY_BYTES];
    struct writer writer = {held, held + sizeof held};
    if (!is_clean(copy, entry))
        unset_unsent(copy, entry);
    entry->packets = image->packets;
    entry->bytes = image->bytes;
    entry->first_ns = image->first_ns;
    entry->last_ns = image->last_ns;
    table_renew(copy->table, entry);
    write_entry(copy, entry, &writer);
    set_mark(copy, entry, held);
}

enum trouble copy_put(struct copy *copy, const struct function *function, void *self, struct reader *body, uint64_t *taken)
{
    if (body->left == 0)
        return MALFORMED;
    while (body->left > 0) {
        struct entry image = {0}, *entry = NULL;
        if (!read_entry(copy, body, &image) || !function->accepts(self, &image.key, &image.mapped))
            return MALFORMED;
        const enum trouble trouble = find_place(copy, &image, &entry);
        if (trouble != FINE)
            return trouble;
        take_in(copy, entry, &image);
        ++*taken;
    }
    return FINE;
}

enum trouble copy_remove(struct copy *copy, struct reader *body, uint64_t *taken)
{
    if (body->left == 0)
        return MALFORMED;
    while (body->left > 0) {
        const uint64_t key_bytes = read_number(body, 1);
        const struct flow key = read_flow(body);
        struct entry *entry = body->bad || key_bytes != KEY_BYTES ? NULL : table_find(copy->table, &key);
        if (entry == NULL)
            return MALFORMED;
        table_remove(copy->table, entry);
        copy->removed_count--; /* the peer knows */
        ++*taken;
    }
    return FINE;
}
