/* The beginning of a hand-over: each end says what it is and proves that it knows the session's secret. */
#ifndef VNF_GREETING_H
#define VNF_GREETING_H

#include "session.h"

/* My HELLO into `session->mine`. */
void greeting_write(struct session *session, const struct function *function, const char *fits);
/* Whether the HELLO in `session->theirs` is one that I can hand over to or take over from; `detail` (ERROR_BYTES). */
enum trouble greeting_check(const struct session *session, const struct function *function, const char *fits,
                            char *detail);
/* PROOF_BYTES, of the owner's or the heir's side. */
void greeting_prove(const struct session *session, enum role prover, uint8_t *out);
bool greeting_verify(const struct session *session, const uint8_t *proof);
/* The key of the digests: nobody else has it, and it is another one in each session. */
void greeting_digest_key(const struct session *session, uint8_t *out);

#endif
