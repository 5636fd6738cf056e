/* agent/agent.h - the agent proper: the process that decides.
 *
 * Purpose    one loop around the core: facts in, plan out, executors. Started by the guard.
 * Errors     the exit code: 0 left for good; 64..78 the configuration or the system is wrong and a
 *            new agent would end the same way; anything else asks the guard for a new agent.
 * Threads    its own; libuv's pool for what blocks.
 * Source     design section 2.
 */
#ifndef HOLDFAST_AGENT_AGENT_H
#define HOLDFAST_AGENT_AGENT_H

/* Runs until told to leave. config_path: a file, a directory, or NULL (environment only). */
int agent_main(const char *config_path);

#endif
