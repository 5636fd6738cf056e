/* lab/lab.h - a whole cluster on this machine, and a client that checks every row it wrote.
 *
 * Purpose    `holdfast lab up|status|kill|freeze|thaw|start|down|demo` and `holdfast drill`.
 * Ownership  arguments are the caller's for the time of the call.
 * Errors     told on standard error; the exit code: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
 * Threads    takes over the calling thread; the writer adds one a connection.
 */
#ifndef HOLDFAST_LAB_LAB_H
#define HOLDFAST_LAB_LAB_H

/* argv[0] is the command's own name ("lab", "drill"). */
int lab_main(int argc, char **argv);
int drill_main(int argc, char **argv);

#endif
