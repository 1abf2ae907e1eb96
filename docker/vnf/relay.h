/* One end of a hand-over's stream for an instance whose peer is on another machine (docs/handover.md, "Across engines"). */
#ifndef VNF_RELAY_H
#define VNF_RELAY_H

/* Joins the instance at the control socket to the session that VNF_JOIN ("SESSION SECRET") names, writes its answer on
 * stderr, and carries the session's stream between it and stdin and stdout until one side ends. The program's exit code. */
int relay_run(const char *control_path);

#endif
