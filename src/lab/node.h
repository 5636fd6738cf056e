/* lab/node.h - one node of a lab, and the store beside them: start, break, mend, end.
 *
 * Purpose    everything that touches a lab's processes.
 * Ownership  struct lab is the caller's; identities of what was started are kept in it.
 * Errors     texts for people.
 * Units      *_ms.
 * Threads    one.
 */
#ifndef HOLDFAST_LAB_NODE_H
#define HOLDFAST_LAB_NODE_H

#include <stdbool.h>

#include "base/err.h"
#include "lab/place.h"
#include "lab/process.h"

enum node_part { NODE_ALL, NODE_POSTMASTER, NODE_AGENT, NODE_GUARD, NODE_PART_COUNT };

void node_config_path(const struct lab *lab, uint32_t index, char out[PATH_SIZE]);
void node_data_dir(const struct lab *lab, uint32_t index, char out[PATH_SIZE]);
void node_log_path(const struct lab *lab, uint32_t index, char out[PATH_SIZE]);
void node_list(const struct lab *lab, uint32_t index, struct process_list *out_list);

/* Configuration files of all nodes and the password file. */
enum err node_write_files(const struct lab *lab, struct err_detail *detail) MUST_CHECK;

/* The store's socket is there and taken care of when this returns. */
enum err store_start(struct lab *lab, struct err_detail *detail) MUST_CHECK;
bool store_answers(const struct lab *lab);

/* Returns at once; the node is ready when its REST API says so. */
enum err node_start(struct lab *lab, uint32_t index, struct err_detail *detail) MUST_CHECK;

/* SIGKILL for a part, or for every process of the node as when its machine is lost: then it returns
 * when the last one is gone. out_pid: whom it hit. */
enum err node_kill(struct lab *lab, uint32_t index, enum node_part part, pid_t *out_pid,
                   struct err_detail *detail) MUST_CHECK;

/* SIGSTOP or SIGCONT. */
enum err node_signal(struct lab *lab, uint32_t index, enum node_part part, int signal_number,
                     pid_t *out_pid, struct err_detail *detail) MUST_CHECK;

/* Ends everything of the lab in order: replicas, primary, store; by force what does not go. True
 * when nothing is left running. */
bool node_end_all(struct lab *lab, void (*tell)(const char *line));

/* Is anything of this lab running? */
bool node_any_runs(const struct lab *lab);

/* The pid in postmaster.pid when that server runs; 0: none. */
pid_t node_postmaster(const struct lab *lab, uint32_t index);

#endif
