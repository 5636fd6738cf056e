/* From the person's command to the guard: the configuration is read once so that its errors are seen
 * before anything runs, and so that root knows whom to become. The guard takes its priority while it
 * still may, then drops to that user itself. */
#include "main/commands.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/str.h"
#include "config/config.h"

#define EXIT_CONFIG 78 /* EX_CONFIG: a new start would end the same way */
#define EXIT_OS 71     /* EX_OSERR */
#define GROUPS_MAX 64
#define ARGS_MAX 16

struct user {
    bool change;
    char uid[16];
    char gid[16];
    char groups[GROUPS_MAX * 12];
};

/* The owner of the data directory when it exists and is not root's, else `postgres`. */
static const struct passwd *find_user(const char *data_dir)
{
    char path[PATH_SIZE];
    struct stat info;
    if (str_copy(path, sizeof(path), data_dir) && stat(path, &info) == 0 && info.st_uid != 0) {
        return getpwuid(info.st_uid);
    }
    return getpwnam("postgres");
}

static enum err choose_user(const char *data_dir, struct user *out_user, struct err_detail *detail)
{
    *out_user = (struct user){.change = geteuid() == 0};
    if (!out_user->change) {
        return ERR_OK;
    }
    const struct passwd *entry = find_user(data_dir);
    if (entry == NULL || entry->pw_uid == 0) {
        return err_set(
            detail, ERR_INVALID,
            "PostgreSQL refuses to run as root, and there is no other user to be: create "
            "the user postgres, or give %s to a user",
            data_dir);
    }
    gid_t groups[GROUPS_MAX];
    int count = GROUPS_MAX;
    if (getgrouplist(entry->pw_name, entry->pw_gid, groups, &count) < 0) {
        count = GROUPS_MAX; /* more than that: those that fit */
    }
    (void)snprintf(out_user->uid, sizeof(out_user->uid), "%u", entry->pw_uid);
    (void)snprintf(out_user->gid, sizeof(out_user->gid), "%u", entry->pw_gid);
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        used += (size_t)snprintf(out_user->groups + used, sizeof(out_user->groups) - used, "%s%u",
                                 i > 0 ? "," : "", groups[i]);
    }
    if (setenv("HOME", entry->pw_dir, 1) != 0 || setenv("USER", entry->pw_name, 1) != 0) {
        return err_set_errno(detail, ERR_INVALID, errno, "environment");
    }
    return ERR_OK;
}

/* Prints what is wrong; the data directory is copied out. */
static bool read_config(const char *path, char *out_data_dir, size_t size)
{
    struct config_report *report = calloc(1, sizeof(*report));
    ASSERT(report != NULL);
    config_report_init(report);
    struct config_env *env = config_env_capture(false);
    struct config *config = NULL;
    bool good = config_load(path, env, CONFIG_FOR_AGENT, &config, report) == ERR_OK;
    for (uint32_t i = 0; i < report->count; i++) {
        if (report->message[i].severity == CONFIG_ERROR) {
            fprintf(stderr, "error: %s\n", report->message[i].text);
        }
    }
    good = good && str_copy(out_data_dir, size, config->data_dir);
    config_destroy(config);
    config_env_free(env);
    config_report_fini(report);
    free(report);
    return good;
}

/* This executable's file, as the kernel names it. */
static bool own_path(char *out, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", out, size - 1);
    out[length > 0 ? length : 0] = '\0';
    return length > 0 && (size_t)length < size - 1;
}

static bool guard_path(const char *self, char *out, size_t size)
{
    const char *slash = strrchr(self, '/');
    return slash != NULL &&
           str_format(out, size, "%.*s/holdfast-guard", (int)(slash - self), self) &&
           access(out, X_OK) == 0;
}

static int exec_guard(char *guard, char *self, struct user *user, char *config)
{
    static char uid[] = "--uid";
    static char gid[] = "--gid";
    static char groups[] = "--groups";
    static char agent_binary[] = "--agent-binary";
    static char rest[] = "--";
    static char proper[] = "agent-proper";
    char *argv[ARGS_MAX] = {guard};
    size_t count = 1;
    if (user->change) {
        argv[count++] = uid;
        argv[count++] = user->uid;
        argv[count++] = gid;
        argv[count++] = user->gid;
        argv[count++] = groups;
        argv[count++] = user->groups;
    }
    argv[count++] = agent_binary;
    argv[count++] = self;
    argv[count++] = rest;
    argv[count++] = self;
    argv[count++] = proper;
    if (config != NULL) {
        argv[count++] = config;
    }
    ASSERT(count < ARGS_MAX);
    (void)execv(guard, argv); /* returns only when it failed */
    fprintf(stderr, "holdfast: %s: %s\n", guard, strerror(errno));
    return EXIT_OS;
}

int command_agent(int argc, char **argv)
{
    char self[PATH_SIZE];
    char guard[PATH_SIZE];
    char config[PATH_SIZE];
    char data_dir[PATH_SIZE];
    struct user user;
    struct err_detail detail = {.text = ""};
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fputs("usage: holdfast agent [CONFIG]\n", stderr);
        return COMMAND_USAGE;
    }
    if (argc == 2 && realpath(argv[1], config) == NULL) { /* the guard may stand elsewhere */
        fprintf(stderr, "error: %s: %s; remedy: name the configuration file\n", argv[1],
                strerror(errno));
        return EXIT_CONFIG;
    }
    const char *path = argc == 2 ? config : NULL;
    if (!read_config(path, data_dir, sizeof(data_dir))) {
        return EXIT_CONFIG;
    }
    if (choose_user(data_dir, &user, &detail) != ERR_OK) {
        fprintf(stderr, "error: %s\n", detail.text);
        return EXIT_CONFIG;
    }
    if (!own_path(self, sizeof(self)) || !guard_path(self, guard, sizeof(guard))) {
        fputs("holdfast: holdfast-guard is not beside this executable; remedy: install both\n",
              stderr);
        return EXIT_OS;
    }
    return exec_guard(guard, self, &user, path != NULL ? config : NULL);
}
