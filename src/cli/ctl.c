/* The options that all commands share, then the command: a table, so that a new one is one line. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"
#include "cli/ctl.h"

#define CTL_ARENA_CAP (1024U * 1024)

static const struct {
    const char *name;
    int (*run)(struct ctl *ctl, int argc, char **argv);
    const char *help;
} COMMANDS[] = {
    {"list", ctl_list, "the members of the cluster"},
    {"switchover", ctl_switchover, "make another member the leader"},
    {"failover", ctl_failover, "make a member the leader, also without the old one"},
    {"pause", ctl_pause, "stop managing the cluster"},
    {"resume", ctl_resume, "manage it again"},
};
#define COMMAND_COUNT (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

#define CONSUL_PORT 8500

struct ctl_options {
    const char *config_file;
    bool explicit_file;
    const char *dcs_url;
    bool insecure;
    bool strict;
    bool help;
};

static void usage(FILE *out)
{
    fputs(
        "usage: holdfast ctl [-c|--config-file FILE] [-d|--dcs-url URL] [-k|--insecure] [--strict] "
        "COMMAND ...\n",
        out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "  %-12s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    }
}

static bool parse(int argc, char **argv, struct ctl_options *options)
{
    static const struct option longs[] = {{"config-file", required_argument, NULL, 'c'},
                                          {"dcs-url", required_argument, NULL, 'd'},
                                          {"dcs", required_argument, NULL, 'd'},
                                          {"insecure", no_argument, NULL, 'k'},
                                          {"strict", no_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option;
    optind = 0; /* glibc: begin anew */
    while ((option = getopt_long(argc, argv, "+c:d:kh", longs, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config_file = optarg;
            options->explicit_file = true;
            break;
        case 'd':
            options->dcs_url = optarg;
            break;
        case 'k':
            options->insecure = true;
            break;
        case 's':
            options->strict = true;
            break;
        case 'h':
            options->help = true;
            break;
        default:
            return false;
        }
    }
    return true;
}

/* A store of this scheme, or on its well-known port, that only Patroni reaches. */
static bool is_other_store(const char *scheme, size_t length, uint16_t port)
{
    static const struct {
        const char *scheme;
        uint16_t port;
    } known[] = {{"etcd", 2379}, {"etcd3", 2379}, {"exhibitor", 8181}, {"zookeeper", 2181}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        bool named =
            strlen(known[i].scheme) == length && strncmp(scheme, known[i].scheme, length) == 0;
        if (named || (length == 0 && port == known[i].port)) {
            return true;
        }
    }
    return false;
}

/* "[consul://]host[:port][/namespace]" (compat/ctl.md section 1). */
static bool consul_of_url(struct ctl *ctl, const char *url)
{
    const char *scheme_end = strstr(url, "://");
    size_t scheme_size = scheme_end != NULL ? (size_t)(scheme_end - url) : 0;
    const char *address = scheme_end != NULL ? scheme_end + 3 : url;
    const char *slash = strchr(address, '/');
    char text[URL_SIZE];
    char host[URL_SIZE];
    uint16_t port = 0;
    str_copy_cut(text, sizeof(text), address);
    text[strcspn(text, "/")] = '\0';
    if (!config_split_address(text, host, sizeof(host), &port)) {
        (void)ctl_error("\"%s\" is no address; remedy: -d consul://host[:port][/namespace]", url);
        return false;
    }
    bool consul = scheme_size == strlen("consul") && strncmp(url, "consul", scheme_size) == 0;
    if (!consul && !(scheme_size == 0 && port == CONSUL_PORT)) {
        if (is_other_store(url, scheme_size, port) || scheme_size == 0) {
            (void)ctl_error("this build reaches Consul and the local store only; remedy: -d "
                            "consul://host[:port][/namespace] or -d local:///PATH/store.sock");
        } else {
            (void)ctl_error("Unknown dcs scheme: %.*s", (int)scheme_size, url);
        }
        return false;
    }
    const char *made = arena_printf(&ctl->arena, "http://%s%s%s:%u", strchr(host, ':') ? "[" : "",
                                    host[0] != '\0' ? host : "localhost",
                                    strchr(host, ':') ? "]" : "", port != 0 ? port : CONSUL_PORT);
    ASSERT(made != NULL);
    ctl->store = (struct dcs_place){.kind = DCS_KIND_CONSUL, .socket = ""};
    ctl->store.consul = (struct dcs_consul_config){.url = made, .token = "", .dc = ""};
    if (slash != NULL && slash[1] != '\0') {
        ctl->name_space = slash;
    }
    return true;
}

/* Beside it "local:///run/store.sock", or the socket's path itself. */
static bool store_of_url(struct ctl *ctl, const char *url)
{
    const char *path = strncmp(url, "local://", 8) == 0 ? url + 8 : url;
    if (path[0] != '/') {
        return consul_of_url(ctl, url);
    }
    ctl->store = (struct dcs_place){.kind = DCS_KIND_LOCAL, .socket = path};
    return true;
}

/* The configuration file: given, from the environment, or the default when it is there. */
static const char *find_file(struct ctl *ctl, const struct ctl_options *options)
{
    const char *given =
        options->explicit_file ? options->config_file : getenv("PATRONICTL_CONFIG_FILE");
    if (given != NULL && *given != '\0') {
        return given;
    }
    const char *home = getenv("HOME");
    const char *path =
        arena_printf(&ctl->arena, "%s/.config/patroni/patronictl.yaml", home != NULL ? home : "");
    return path != NULL && access(path, R_OK) == 0 ? path : NULL;
}

static bool load(struct ctl *ctl, const struct ctl_options *options)
{
    const char *file = find_file(ctl, options);
    if (file != NULL && access(file, R_OK) != 0) {
        (void)ctl_error("Provided config file %s not existing or no read rights. Check the "
                        "-c/--config-file parameter",
                        file);
        return false;
    }
    struct config_report *report = calloc(1, sizeof(*report));
    ASSERT(report != NULL);
    config_report_init(report);
    struct config_env *env = config_env_capture(false);
    enum err err = config_load(file, env, CONFIG_FOR_CTL, &ctl->config, report);
    for (uint32_t i = 0; i < report->count; i++) {
        if (report->message[i].severity == CONFIG_ERROR) {
            (void)ctl_error("%s", report->message[i].text);
        }
    }
    config_env_free(env);
    config_report_fini(report);
    free(report);
    if (err != ERR_OK) {
        return false;
    }
    ctl->store = ctl->config->store;
    ctl->name_space = ctl->config->namespace;
    ctl->strict = options->strict;
    ctl->insecure = options->insecure || ctl->config->ctl_insecure;
    const char *url = options->dcs_url != NULL ? options->dcs_url : getenv("DCS_URL");
    return url == NULL || *url == '\0' || store_of_url(ctl, url);
}

static int run(const struct ctl_options *options, int argc, char **argv)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (!str_equal(COMMANDS[i].name, argv[0])) {
            continue;
        }
        struct ctl ctl = {.config = NULL};
        int status = 1;
        arena_init(&ctl.arena, CTL_ARENA_CAP);
        int started = uv_loop_init(&ctl.loop);
        ASSERT(started == 0);
        if (load(&ctl, options)) {
            status = COMMANDS[i].run(&ctl, argc, argv);
        }
        int closed = uv_loop_close(&ctl.loop);
        ASSERT(closed == 0); /* every call waits for what it closed */
        config_destroy(ctl.config);
        arena_fini(&ctl.arena);
        return status;
    }
    fprintf(stderr, "Error: No such command '%s'.\n", argv[0]);
    usage(stderr);
    return 2;
}

int cli_ctl(int argc, char **argv)
{
    struct ctl_options options = {.config_file = NULL};
    if (!parse(argc, argv, &options)) {
        usage(stderr);
        return 2;
    }
    if (options.help) {
        usage(stdout);
        return 0;
    }
    if (optind >= argc) {
        usage(stderr);
        return 2;
    }
    int at = optind;
    return run(&options, argc - at, argv + at);
}
