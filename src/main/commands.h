/* main/commands.h - the table of commands, and those that belong to no layer below.
 *
 * Purpose    a new command is one row in main.c.
 * Errors     the exit status; 2 is wrong usage.
 */
#ifndef HOLDFAST_MAIN_COMMANDS_H
#define HOLDFAST_MAIN_COMMANDS_H

#define COMMAND_USAGE 2

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    const char *help;                  /* NULL: not for people */
};

/* holdfast agent [CONFIG]: becomes the guard; returns only when that fails (64 usage or configuration
 * that no restart mends, 71 system). */
int command_agent(int argc, char **argv);

#endif
