/* cli/cli.h - the commands that people call.
 *
 * Purpose    each takes the rest of the command line (argv[0] is its own name) and answers with the
 *            exit status: 0 done, 1 an error was told on standard error, 2 wrong usage.
 * Ownership  none is kept.
 * Source     compat/ctl.md, design section 8.
 */
#ifndef HOLDFAST_CLI_CLI_H
#define HOLDFAST_CLI_CLI_H

/* holdfast ctl ..., patronictl ... */
int cli_ctl(int argc, char **argv);

/* holdfast check CONFIG */
int cli_check(int argc, char **argv);

#endif
