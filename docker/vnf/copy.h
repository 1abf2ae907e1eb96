/* One table kept in step with a peer's. The owner's side tells what has changed, the heir's side takes it in; both keep
 * a digest of what the heir holds, each from its own memory. After a take-over the sides change places and go on.
 *
 * What the peer lacks is always the newest end of the table's order of use: an entry is sent oldest first, and whatever
 * touches an entry makes it the newest. So one pointer marks the border, the order of use survives, and nothing has to
 * be searched. Entries are sent by key, so removals are sent before anything else that is sent later. */
#ifndef VNF_COPY_H
#define VNF_COPY_H

#include "function.h"
#include "wire.h"

enum { DIGEST_KEY_BYTES = 32 };

struct copy {
    struct table *table;
    uint64_t base_ns; /* times on the wire count from here, so that clocks may differ */
    uint8_t key[DIGEST_KEY_BYTES];
    struct entry *unsent; /* the oldest entry that the peer has not as it is */
    size_t unsent_count;
    struct flow *removed; /* a ring: told to the peer, in this order, before any entry */
    size_t removed_first, removed_count;
    uint64_t digest[2]; /* sums of the marks of all that the peer holds once it has been told of the removals */
};

/* The peer holds nothing yet. Called before the first packet or record that shall be in step. */
struct copy *copy_begin(struct table *table, const uint8_t *key, uint64_t base_ns);
void copy_end(struct copy *copy);

/* Called by the table. */
void copy_added(struct copy *copy, struct entry *entry);
void copy_touching(struct copy *copy, struct entry *entry); /* before it becomes the newest */
void copy_removing(struct copy *copy, struct entry *entry);

/* Owner: how many entries and removals wait; and the next record with at most `most` of them. Returns how many it has:
 * 0 when nothing waits, or `out` is full. */
size_t copy_waiting(const struct copy *copy);
size_t copy_send(struct copy *copy, struct buffer *out, size_t most);

/* Heir: takes a PUT or REMOVE in and adds to `taken`; what is wrong with it otherwise. Nothing past a wrong entry is
 * taken, and the caller gives the copy up. */
enum trouble copy_put(struct copy *copy, const struct function *function, void *self, struct reader *body, uint64_t *taken);
enum trouble copy_remove(struct copy *copy, struct reader *body, uint64_t *taken);

#endif
