/* What each record of a hand-over does. The table in docs/handover.md says who may send which, and when. */
#ifndef VNF_RECORDS_H
#define VNF_RECORDS_H

#include "vnf.h"

/* FINE, or why the session has to end, with more about it in `detail` (ERROR_BYTES). */
enum trouble record_handle(struct vnf *vnf, enum kind kind, struct reader *body, uint64_t now_ns, char *detail);
/* Appends a record; one that does not fit ends up nowhere, which the peer takes for silence. */
void record_send(struct session *session, enum kind kind, const void *body, size_t bytes);
void record_send_number(struct session *session, enum kind kind, uint64_t value, size_t bytes);
/* Owner: what is frozen, for the heir to check. */
void record_send_freeze(struct vnf *vnf);
/* The frames that came during a freeze: back to the peer that serves now, or through our own function. */
void held_send_back(struct session *session);
void held_deliver(struct vnf *vnf, uint64_t now_ns);

#endif
