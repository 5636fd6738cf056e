/* The clients of the demo, for any cluster: a workload, a fault (ours on a lab, somebody else's
 * elsewhere), and a report in which every acknowledged row was looked for. */
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "codec/units.h"
#include "lab/lab.h"
#include "lab/node.h"
#include "lab/place.h"
#include "lab/up.h"
#include "lab/view.h"
#include "lab/writer.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define CLIENTS_DEFAULT 4
#define SECONDS_DEFAULT 15
#define FIRST_ROW_MS 30000
#define PROBE_MS 50
#define POLL_MS 20
#define ASK_MS 500

static const char USAGE[] =
    "usage: holdfast drill [--fault postmaster|node|agent|guard|freeze-agent] [--for 15s] "
    "[--json]\n"
    "           writes into the lab, breaks its primary, reports what the clients saw\n"
    "       holdfast drill --dsn CONNINFO --yes [--node NAME=HOST:PORT]... [--commands]\n"
    "           writes into any cluster (table " WRITER_TABLE
    ", which is made anew); the fault is\n"
    "           yours. CONNINFO: keywords, all hosts, target_session_attrs=read-write\n"
    "       --clients N (4), --pace MS (0) between two commits of a client, --dir DIR of the lab\n"
    "       --commands: reads `fault`, `acked`, `anew`, `report` from standard input, ends with "
    "it\n";

struct drill {
    struct writer_options writer;
    const char *dir;
    const char *dsn;
    const char *fault;
    int64_t for_ms;
    bool consent;
    bool json;
    bool commands;
};

static int fail(const struct err_detail *detail)
{
    (void)fprintf(stderr, "holdfast drill: %s\n", detail->text);
    return EXIT_FAILED;
}

static const char *node_name(const struct drill *drill, int8_t node)
{
    return node < 0 ? "?" : drill->writer.node[node].name;
}

static void print_json(const struct drill *drill, const struct writer_report *report,
                       const struct writer_check *check)
{
    const struct journal_report *all = &report->all;
    (void)printf("{\"gap_ms\": %.1f, \"client_gap_ms\": %.1f, \"acked\": %" PRIu64
                 ", \"refused\": %" PRIu64 ", \"unknown\": %" PRIu64 ", \"failed_old\": %" PRIu64
                 ", \"acked_total\": %" PRIu64 ", \"missing\": %" PRIu64 ", \"unacked\": %" PRIu64
                 ", \"two_writable\": %s, \"two_writable_ms\": %.1f, \"two_nodes\": \"%s %s\"}\n",
                 (double)all->gap_us / 1000.0, (double)report->clients.gap_us / 1000.0,
                 report->clients.acked, report->clients.refused, report->clients.unknown,
                 report->clients.failed_old, check->acked, check->missing, check->unacked,
                 all->two_writable ? "true" : "false", (double)all->two_writable_us / 1000.0,
                 node_name(drill, all->two_node[0]), node_name(drill, all->two_node[1]));
    (void)fflush(stdout);
}

static void print_text(const struct drill *drill, const struct writer_report *report,
                       const struct writer_check *check)
{
    const struct journal_report *clients = &report->clients;
    (void)printf("write gap                    %.3f s (probes of each node included: %.3f s)\n"
                 "rows acknowledged            %" PRIu64 " since the fault, %" PRIu64 " in all\n"
                 "acknowledged rows missing    %" PRIu64 "\n"
                 "rows there, not acknowledged %" PRIu64 " (allowed)\n"
                 "writes refused, outcome unknown, on connections from before the fault: %" PRIu64
                 ", %" PRIu64 ", %" PRIu64 "\n",
                 (double)clients->gap_us / 1e6, (double)report->all.gap_us / 1e6, clients->acked,
                 check->acked, check->missing, check->unacked, clients->refused, clients->unknown,
                 clients->failed_old);
    if (report->all.two_writable) {
        (void)printf("TWO WRITABLE SERVERS: %s and %s for %.3f s\n",
                     node_name(drill, report->all.two_node[0]),
                     node_name(drill, report->all.two_node[1]),
                     (double)report->all.two_writable_us / 1e6);
    } else {
        (void)printf("never two writable servers\n");
    }
}

/* Right: nothing acknowledged is missing and never two were writable. */
static int tell_report(const struct drill *drill, struct writer *writer, int64_t fault_us)
{
    struct err_detail detail = {.sys_errno = 0};
    struct writer_report report;
    struct writer_check check;
    writer_report(writer, fault_us, &report);
    if (writer_check(writer, &check, &detail) != ERR_OK) {
        if (drill->json) {
            (void)printf("{\"error\": \"no primary\"}\n");
            (void)fflush(stdout);
        }
        return fail(&detail);
    }
    (drill->json ? print_json : print_text)(drill, &report, &check);
    return check.missing == 0 && !report.all.two_writable ? 0 : EXIT_FAILED;
}

/* The other side of a harness: one line in, one line out. */
static int obey(const struct drill *drill, struct writer *writer)
{
    char line[64];
    int64_t fault_us = writer_now_us();
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (str_equal(line, "fault")) {
            fault_us = writer_now_us();
            (void)printf("ok\n");
        } else if (str_equal(line, "acked")) {
            (void)printf("%s\n", writer_acked_since(writer, fault_us, false) ? "yes" : "no");
        } else if (str_equal(line, "anew")) {
            (void)printf("%s\n", writer_acked_since(writer, fault_us, true) ? "yes" : "no");
        } else if (str_equal(line, "report")) {
            (void)tell_report(drill, writer, fault_us); /* its line says it all */
        } else {
            (void)printf("unknown\n");
        }
        (void)fflush(stdout);
    }
    return 0;
}

static bool await_row(struct writer *writer, int64_t since_us, int64_t timeout_ms)
{
    struct mono deadline = mono_add(mono_now(), timeout_ms);
    while (!writer_acked_since(writer, since_us, false)) {
        if (up_interrupted() || mono_before(deadline, mono_now())) {
            return false;
        }
        process_pause_ms(POLL_MS);
    }
    return true;
}

static enum err break_lab(struct lab *lab, const char *fault, struct err_detail *detail)
{
    static const struct {
        const char *name;
        enum node_part part;
        int signal_number;
    } faults[] = {
        {"postmaster", NODE_POSTMASTER, SIGKILL}, {"node", NODE_ALL, SIGKILL},
        {"agent", NODE_AGENT, SIGKILL},           {"guard", NODE_GUARD, SIGKILL},
        {"freeze-agent", NODE_AGENT, SIGSTOP},
    };
    struct view view;
    pid_t pid = 0;
    view_take(lab, ASK_MS, &view);
    if (view.primary < 0) {
        return err_set(detail, ERR_REFUSED, "the lab has no primary");
    }
    uint32_t primary = (uint32_t)view.primary;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (str_equal(fault, faults[i].name)) {
            (void)fprintf(stderr, "drill: %s of %s\n", fault, lab->node[primary].name);
            return faults[i].signal_number == SIGKILL
                       ? node_kill(lab, primary, faults[i].part, &pid, detail)
                       : node_signal(lab, primary, faults[i].part, SIGSTOP, &pid, detail);
        }
    }
    return err_set(detail, ERR_INVALID, "--fault %s: no such fault", fault);
}

static int run(struct drill *drill, struct lab *lab)
{
    struct err_detail detail = {.sys_errno = 0};
    struct writer *writer = NULL;
    int code = 0;
    up_catch_signals();
    if (writer_create(&drill->writer, &writer, &detail) != ERR_OK) {
        return fail(&detail);
    }
    if (drill->commands) {
        code = obey(drill, writer);
        writer_destroy(writer);
        return code;
    }
    if (!await_row(writer, 0, FIRST_ROW_MS)) {
        code = fail(&(struct err_detail){.text = "no row was acknowledged"});
    }
    int64_t fault_us = writer_now_us();
    if (code == 0 && drill->fault != NULL && break_lab(lab, drill->fault, &detail) != ERR_OK) {
        code = fail(&detail);
    }
    struct mono end = mono_add(mono_now(), drill->for_ms);
    while (code == 0 && mono_before(mono_now(), end) && !up_interrupted()) {
        process_pause_ms(POLL_MS);
    }
    if (code == 0) {
        code = tell_report(drill, writer, fault_us);
    }
    writer_destroy(writer);
    return code;
}

/* "n1=10.0.0.1:5432" */
static bool take_node(const char *text, struct writer_options *writer)
{
    char host[NAME_SIZE];
    uint64_t port;
    const char *equals = strchr(text, '=');
    const char *colon = strrchr(text, ':');
    if (equals == NULL || colon == NULL || colon < equals || !str_to_u64(colon + 1, &port) ||
        port == 0 || port > UINT16_MAX || writer->node_count == LAB_NODES_MAX) {
        return false;
    }
    struct writer_node *node = &writer->node[writer->node_count];
    if (!str_format(node->name, sizeof(node->name), "%.*s", (int)(equals - text), text) ||
        !str_format(host, sizeof(host), "%.*s", (int)(colon - equals - 1), equals + 1)) {
        return false;
    }
    str_set(node->host, sizeof(node->host), host);
    node->port = (uint16_t)port;
    writer->node_count++;
    return true;
}

enum option_id {
    OPTION_DSN = 256,
    OPTION_NODE,
    OPTION_DIR,
    OPTION_FAULT,
    OPTION_FOR,
    OPTION_CLIENTS,
    OPTION_PACE,
    OPTION_YES,
    OPTION_JSON,
    OPTION_COMMANDS
};

static bool take_option(int option, const char *value, struct drill *drill)
{
    uint64_t number = 0;
    switch (option) {
    case OPTION_DSN:
        drill->dsn = value;
        return str_copy(drill->writer.conninfo, sizeof(drill->writer.conninfo), value);
    case OPTION_NODE:
        return take_node(value, &drill->writer);
    case OPTION_DIR:
        drill->dir = value;
        return true;
    case OPTION_FAULT:
        drill->fault = value;
        return true;
    case OPTION_FOR:
        return units_to_ms(value, &drill->for_ms) && drill->for_ms > 0;
    case OPTION_CLIENTS:
        drill->writer.clients = str_to_u64(value, &number) ? (uint32_t)number : 0;
        return number > 0 && number <= WRITER_CLIENTS_MAX;
    case OPTION_PACE:
        return str_to_i64(value, &drill->writer.pace_ms) && drill->writer.pace_ms >= 0;
    case OPTION_YES:
        drill->consent = true;
        return true;
    case OPTION_JSON:
        drill->json = true;
        return true;
    case OPTION_COMMANDS:
        drill->commands = true;
        drill->json = true;
        return true;
    default:
        return false;
    }
}

static bool parse(int argc, char **argv, struct drill *drill)
{
    static const struct option options[] = {
        {"dsn", required_argument, NULL, OPTION_DSN},
        {"node", required_argument, NULL, OPTION_NODE},
        {"dir", required_argument, NULL, OPTION_DIR},
        {"fault", required_argument, NULL, OPTION_FAULT},
        {"for", required_argument, NULL, OPTION_FOR},
        {"clients", required_argument, NULL, OPTION_CLIENTS},
        {"pace", required_argument, NULL, OPTION_PACE},
        {"yes", no_argument, NULL, OPTION_YES},
        {"json", no_argument, NULL, OPTION_JSON},
        {"commands", no_argument, NULL, OPTION_COMMANDS},
        {NULL, 0, NULL, 0},
    };
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take_option(option, optarg, drill)) {
            return false;
        }
    }
    if (drill->dsn != NULL && drill->fault != NULL) {
        (void)fprintf(stderr, "holdfast drill: --fault is for the lab only\n");
        return false;
    }
    return optind == argc;
}

/* The lab's own addresses. */
static enum err use_lab(struct drill *drill, struct lab *lab, struct err_detail *detail)
{
    enum err err = lab_leave_root(drill->dir, false, detail);
    if (err == ERR_OK) {
        err = lab_place(lab, drill->dir, detail);
    }
    if (err == ERR_OK && !lab_exists(lab)) {
        err = err_set(detail, ERR_REFUSED, "no lab in %s: start one with `holdfast lab up`",
                      lab->dir);
    }
    if (err == ERR_OK) {
        err = lab_load(lab, detail);
    }
    if (err != ERR_OK) {
        return err;
    }
    lab_conninfo(lab, "read-write", drill->writer.conninfo, sizeof(drill->writer.conninfo));
    drill->writer.node_count = lab->node_count;
    for (uint32_t i = 0; i < lab->node_count; i++) {
        struct writer_node *node = &drill->writer.node[i];
        str_set(node->name, sizeof(node->name), lab->node[i].name);
        str_set(node->host, sizeof(node->host), "127.0.0.1");
        node->port = lab->node[i].pg_port;
    }
    return ERR_OK;
}

int drill_main(int argc, char **argv)
{
    static struct lab lab;
    struct err_detail detail = {.sys_errno = 0};
    struct drill drill = {
        .writer = {.clients = CLIENTS_DEFAULT, .probe_ms = PROBE_MS},
        .for_ms = SECONDS_DEFAULT * 1000,
    };
    if (!parse(argc, argv, &drill)) {
        (void)fputs(USAGE, stderr);
        return EXIT_USAGE;
    }
    if (drill.dsn != NULL && !drill.consent) {
        (void)fprintf(
            stderr,
            "holdfast drill: this writes into that cluster and makes the table " WRITER_TABLE
            " anew: say --yes\n");
        return EXIT_USAGE;
    }
    if (drill.dsn == NULL && use_lab(&drill, &lab, &detail) != ERR_OK) {
        return fail(&detail);
    }
    return run(&drill, &lab);
}
