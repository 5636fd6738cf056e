/* One table of what can be done to a lab; each command loads the state, does one thing, saves it. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "codec/units.h"
#include "lab/demo.h"
#include "lab/lab.h"
#include "lab/node.h"
#include "lab/place.h"
#include "lab/up.h"
#include "lab/view.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130
#define TTL_DEFAULT_MS 2000
#define TTL_MS_MIN 1000
#define STATUS_ASK_MS 1000

struct lab_args {
    struct up_options up;
    const char *dir;
    const char *target; /* NULL: none given */
    enum node_part part;
    bool check;
};

static const char USAGE[] =
    "usage: holdfast lab up [--nodes N] [--ttl 2s] [--pg-bin DIR]   start a cluster here\n"
    "       holdfast lab status                                     who is what, and where\n"
    "       holdfast lab kill NODE [--postmaster|--agent|--guard]   SIGKILL; without option: all "
    "of\n"
    "                                                               the node, as if it had burnt\n"
    "       holdfast lab freeze NODE [--postmaster|--agent|--guard] SIGSTOP\n"
    "       holdfast lab thaw NODE [--postmaster|--agent|--guard]   SIGCONT\n"
    "       holdfast lab start NODE                                 bring a killed node back\n"
    "       holdfast lab down [--keep]                              stop and remove everything\n"
    "       holdfast lab demo [--check]                             four faults, with a story\n"
    "NODE is n1, n2, ... or `store`. All commands take --dir DIR (default "
    "/tmp/holdfast-lab-USER).\n";

static int fail(const struct err_detail *detail)
{
    (void)fprintf(stderr, "holdfast lab: %s\n", detail->text);
    return EXIT_FAILED;
}

static enum err load(struct lab *lab, struct err_detail *detail)
{
    if (!lab_exists(lab)) {
        return err_set(detail, ERR_REFUSED, "no lab in %s: start one with `holdfast lab up`",
                       lab->dir);
    }
    return lab_load(lab, detail);
}

static int command_up(struct lab *lab, const struct lab_args *args)
{
    struct err_detail detail = {.sys_errno = 0};
    up_catch_signals();
    enum err err = up_run(lab, &args->up, &detail);
    if (err != ERR_OK) {
        return err == ERR_CANCELED ? EXIT_INTERRUPTED : fail(&detail);
    }
    (void)printf("see it:   %s lab status\nbreak it: %s lab kill n1\nend it:   %s lab down\n",
                 lab->program, lab->program, lab->program);
    return 0;
}

static void print_pid(const struct process_list *list, enum process_kind kind)
{
    const struct process *one = process_first(list, kind);
    char text[32] = "-";
    bool fits = one == NULL ||
                str_format(text, sizeof(text), "%d%s", one->id.pid, one->stopped ? " T" : "");
    (void)printf(" %10s", fits ? text : "?");
}

static int command_status(struct lab *lab, const struct lab_args *args)
{
    (void)args;
    static struct process_list list;
    struct err_detail detail = {.sys_errno = 0};
    struct view view;
    char conninfo[1024];
    enum err err = load(lab, &detail);
    if (err != ERR_OK) {
        return fail(&detail);
    }
    view_take(lab, STATUS_ASK_MS, &view);
    (void)printf("%-5s %-8s %-26s %3s  %-16s %-16s %10s %10s %10s\n", "node", "role", "state", "TL",
                 "PostgreSQL", "REST", "postmaster", "agent", "guard");
    for (uint32_t i = 0; i < lab->node_count; i++) {
        const struct lab_node *node = &lab->node[i];
        const struct view_node *seen = &view.node[i];
        char timeline[24] = "";
        node_list(lab, i, &list);
        const char *state = seen->streaming ? "streaming" : seen->state;
        if (seen->timeline != 0 &&
            !str_format(timeline, sizeof(timeline), "%" PRId64, seen->timeline)) {
            timeline[0] = '\0';
        }
        (void)printf("%-5s %-8s %-26s %3s  127.0.0.1:%-6u 127.0.0.1:%-6u", node->name, seen->role,
                     seen->reached ? state : (list.count > 0 ? "does not answer" : "down"),
                     timeline, node->pg_port, node->rest_port);
        print_pid(&list, PROCESS_POSTMASTER);
        print_pid(&list, PROCESS_AGENT);
        print_pid(&list, PROCESS_GUARD);
        (void)printf("\n");
    }
    lab_conninfo(lab, "read-write", conninfo, sizeof(conninfo));
    (void)printf("store: %s, pid %d\n", process_runs(&lab->store) ? "running" : "down",
                 lab->store.pid);
    (void)printf("psql \"%s\"\n%s ctl -c %s/n1.yml list\n", conninfo, lab->program, lab->dir);
    return view_is_whole(lab, &view) ? 0 : EXIT_FAILED;
}

static const char *part_name(enum node_part part)
{
    static const char *const names[] = {"all", "postmaster", "agent", "guard"};
    return names[part];
}

static int on_store(struct lab *lab, int signal_number)
{
    struct err_detail detail = {.sys_errno = 0};
    if (!process_signal(&lab->store, signal_number)) {
        (void)err_set(&detail, ERR_REFUSED, "the store does not run"); /* told just below */
        return fail(&detail);
    }
    (void)printf("store: pid %d: %s\n", lab->store.pid, strsignal(signal_number));
    return 0;
}

static int signal_target(struct lab *lab, const struct lab_args *args, int signal_number)
{
    struct err_detail detail = {.sys_errno = 0};
    pid_t pid = 0;
    enum err err = load(lab, &detail);
    if (err != ERR_OK) {
        return fail(&detail);
    }
    if (args->target == NULL) {
        (void)fputs(USAGE, stderr);
        return EXIT_USAGE;
    }
    if (str_equal(args->target, "store")) {
        return on_store(lab, signal_number);
    }
    int index = lab_node_find(lab, args->target);
    if (index < 0) {
        (void)err_set(&detail, ERR_INVALID, "no node %s", args->target); /* told just below */
        return fail(&detail);
    }
    err = signal_number == SIGKILL
              ? node_kill(lab, (uint32_t)index, args->part, &pid, &detail)
              : node_signal(lab, (uint32_t)index, args->part, signal_number, &pid, &detail);
    if (err != ERR_OK) {
        return fail(&detail);
    }
    if (args->part == NODE_ALL) {
        (void)printf("%s: all processes: %s\n", args->target, strsignal(signal_number));
    } else {
        (void)printf("%s: %s %d: %s\n", args->target, part_name(args->part), pid,
                     strsignal(signal_number));
    }
    return 0;
}

static int command_kill(struct lab *lab, const struct lab_args *args)
{
    return signal_target(lab, args, SIGKILL);
}

static int command_freeze(struct lab *lab, const struct lab_args *args)
{
    return signal_target(lab, args, SIGSTOP);
}

static int command_thaw(struct lab *lab, const struct lab_args *args)
{
    return signal_target(lab, args, SIGCONT);
}

static int command_start(struct lab *lab, const struct lab_args *args)
{
    struct err_detail detail = {.sys_errno = 0};
    enum err err = lab_exists(lab) ? lab_lock(lab, &detail) : ERR_OK;
    if (err == ERR_OK) {
        err = load(lab, &detail);
    }
    int index = err == ERR_OK && args->target != NULL ? lab_node_find(lab, args->target) : -1;
    if (err == ERR_OK && args->target != NULL && str_equal(args->target, "store")) {
        err = store_start(lab, &detail);
    } else if (err == ERR_OK && index < 0) {
        err = err_set(&detail, ERR_INVALID, "which node?");
    } else if (err == ERR_OK) {
        err = node_start(lab, (uint32_t)index, &detail);
    }
    if (err == ERR_OK) {
        err = lab_save(lab, &detail);
    }
    lab_unlock(lab);
    return err == ERR_OK ? 0 : fail(&detail);
}

static int command_down(struct lab *lab, const struct lab_args *args)
{
    struct err_detail detail = {.sys_errno = 0};
    return down_run(lab, args->up.keep, &detail) == ERR_OK ? 0 : fail(&detail);
}

static int command_demo(struct lab *lab, const struct lab_args *args)
{
    return demo_run(lab, &args->up, args->check);
}

static const struct {
    const char *name;
    int (*run)(struct lab *lab, const struct lab_args *args);
    bool makes; /* the lab's directory, when it is not there */
} COMMANDS[] = {
    {"up", command_up, true},      {"status", command_status, false},
    {"kill", command_kill, false}, {"freeze", command_freeze, false},
    {"thaw", command_thaw, false}, {"start", command_start, false},
    {"down", command_down, false}, {"demo", command_demo, true},
};

enum option_id { OPTION_NODES = 256, OPTION_TTL, OPTION_PG_BIN, OPTION_DIR, OPTION_PART };

static bool take_option(int option, const char *value, struct lab_args *args)
{
    uint64_t number;
    switch (option) {
    case OPTION_NODES:
        if (!str_to_u64(value, &number) || number < 1 || number > LAB_NODES_MAX) {
            (void)fprintf(stderr, "holdfast lab: --nodes: 1 to %d\n", LAB_NODES_MAX);
            return false;
        }
        args->up.nodes = (uint32_t)number;
        return true;
    case OPTION_TTL:
        if (!units_to_ms(value, &args->up.ttl_ms) || args->up.ttl_ms < TTL_MS_MIN) {
            (void)fprintf(stderr,
                          "holdfast lab: --ttl: a time of at least 1s, like 2s or 1500ms\n");
            return false;
        }
        return true;
    case OPTION_PG_BIN:
        args->up.pg_bin = value;
        return true;
    case OPTION_DIR:
        args->dir = value;
        return true;
    default:
        if (option >= OPTION_PART && option < OPTION_PART + NODE_PART_COUNT) {
            args->part = (enum node_part)(option - OPTION_PART);
            return true;
        }
        return option == 0; /* a flag, set by getopt_long itself */
    }
}

static bool parse(int argc, char **argv, struct lab_args *args)
{
    static int keep;
    static int check;
    static const struct option options[] = {
        {"nodes", required_argument, NULL, OPTION_NODES},
        {"ttl", required_argument, NULL, OPTION_TTL},
        {"pg-bin", required_argument, NULL, OPTION_PG_BIN},
        {"dir", required_argument, NULL, OPTION_DIR},
        {"postmaster", no_argument, NULL, OPTION_PART + NODE_POSTMASTER},
        {"agent", no_argument, NULL, OPTION_PART + NODE_AGENT},
        {"guard", no_argument, NULL, OPTION_PART + NODE_GUARD},
        {"keep", no_argument, &keep, 1},
        {"check", no_argument, &check, 1},
        {NULL, 0, NULL, 0},
    };
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take_option(option, optarg, args)) {
            return false;
        }
    }
    args->up.keep = keep != 0;
    args->check = check != 0;
    if (optind < argc) {
        args->target = argv[optind++];
    }
    return optind == argc;
}

int lab_main(int argc, char **argv)
{
    struct lab lab;
    struct err_detail detail = {.sys_errno = 0};
    struct lab_args args = {.up = {.nodes = 3, .ttl_ms = TTL_DEFAULT_MS}};
    if (argc < 2 || !parse(argc - 1, argv + 1, &args)) {
        (void)fputs(USAGE, stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
        if (!str_equal(argv[1], COMMANDS[i].name)) {
            continue;
        }
        if (lab_leave_root(args.dir, COMMANDS[i].makes, &detail) != ERR_OK ||
            lab_place(&lab, args.dir, &detail) != ERR_OK) {
            return fail(&detail);
        }
        return COMMANDS[i].run(&lab, &args);
    }
    bool help = str_equal(argv[1], "help") || str_equal(argv[1], "--help");
    (void)fputs(USAGE, help ? stdout : stderr);
    return help ? 0 : EXIT_USAGE;
}
