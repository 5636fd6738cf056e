/* holdfast: one executable, one table of commands. The agent is started by way of the guard, which
 * becomes this process; the guard then starts this executable again as `agent-proper`. */
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "base/str.h"
#include "cli/cli.h"
#include "lab/lab.h"
#include "main/commands.h"
#include "store/store.h"

static int run_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("holdfast " HOLDFAST_VERSION);
    return 0;
}

static int run_agent_proper(int argc, char **argv)
{
    if (argc > 2) {
        fputs("usage: holdfast agent-proper [CONFIG]\n", stderr);
        return COMMAND_USAGE;
    }
    return agent_main(argc == 2 ? argv[1] : NULL);
}

static int run_store(int argc, char **argv)
{
    static const struct option longs[] = {{"dir", required_argument, NULL, 'd'},
                                          {"socket", required_argument, NULL, 's'},
                                          {"no-sync", no_argument, NULL, 'n'},
                                          {"group-access", no_argument, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    struct store_options options = {.dir = NULL};
    bool good = true;
    int option;
    optind = 0; /* glibc: begin anew */
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (option == 'd') {
            options.dir = optarg;
        } else if (option == 's') {
            options.socket_path = optarg;
        } else if (option == 'n') {
            options.no_sync = true;
        } else if (option == 'g') {
            options.group_access = true;
        } else {
            good = false;
        }
    }
    if (options.dir == NULL && optind < argc) {
        options.dir = argv[optind++];
    }
    if (!good || options.dir == NULL || optind < argc) {
        fputs("usage: holdfast store [--socket PATH] [--group-access] [--no-sync] --dir DIR\n",
              stderr);
        return COMMAND_USAGE;
    }
    return store_main(&options);
}

static const struct command COMMANDS[] = {
    {"agent", command_agent, "CONFIG: keep this node's PostgreSQL (starts the guard)"},
    {"store", run_store, "--dir DIR: the local store of this machine"},
    {"check", cli_check, "CONFIG: what is wrong with it, and what it means"},
    {"ctl", cli_ctl, "list|switchover|pause|resume: look at and order a cluster"},
    {"lab", lab_main, "up|status|kill|down|demo: a whole cluster on this machine"},
    {"drill", drill_main, "a workload, a fault, and every acknowledged row looked for"},
    {"version", run_version, ": the version"},
    {"agent-proper", run_agent_proper, NULL},
};
#define COMMAND_COUNT (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static void usage(FILE *out)
{
    fputs("usage: holdfast COMMAND ...\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (COMMANDS[i].help != NULL) {
            fprintf(out, "  %s %s\n", COMMANDS[i].name, COMMANDS[i].help);
        }
    }
}

/* Called by Patroni's names it behaves as those: `patroni CONFIG`, `patronictl list`. */
static int run_as_patroni(int argc, char **argv)
{
    if (argc == 2 && str_equal(argv[1], "--version")) {
        puts("patroni " HOLDFAST_VERSION);
        return 0;
    }
    if (argc >= 2 && str_equal(argv[1], "--validate-config")) {
        return cli_check(argc - 1, argv + 1);
    }
    return command_agent(argc, argv);
}

/* A stream keeps the error of what could not be written, so nobody else has to look: an answer that
 * did not get out is no success. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return status;
    }
    fputs("holdfast: cannot write to standard output\n", stderr);
    return status == 0 ? 1 : status;
}

static int run(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *called = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "holdfast";
    if (str_equal(called, "patronictl")) {
        return cli_ctl(argc, argv);
    }
    if (str_equal(called, "patroni")) {
        return run_as_patroni(argc, argv);
    }
    const char *name = argc > 1 ? argv[1] : "";
    if (str_equal(name, "--version")) {
        name = "version";
    }
    if (str_equal(name, "--help") || str_equal(name, "-h")) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (str_equal(COMMANDS[i].name, name)) {
            return COMMANDS[i].run(argc - 1, argv + 1);
        }
    }
    if (*name != '\0') {
        fprintf(stderr, "holdfast: no such command: %s\n", name);
    }
    usage(stderr);
    return COMMAND_USAGE;
}

int main(int argc, char **argv)
{
    return finish(run(argc, argv));
}
