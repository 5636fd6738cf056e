/* A change of /config: by any member that answers, the leader first; by a conditional write when none
 * does. */
#include "cli/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

#define CALL_TIMEOUT_MS 5000
#define POLL_MS 200

static bool has_pause(const struct ctl_cluster *cluster)
{
    return cluster->core.settings.pause;
}

/* ---- asking a member ---- */

/* 0: answered; -1: nobody could be asked. */
static int patch_by_member(struct ctl *ctl, const struct ctl_cluster *cluster, bool pause,
                           struct ctl_answer *answer)
{
    const char *body = pause ? "{\"pause\": true}" : "{\"pause\": null}";
    const struct member_info *leader = ctl_leader(cluster);
    for (int round = 0; round < 2; round++) { /* the leader, then the others */
        for (uint32_t i = 0; i < cluster->member_count; i++) {
            const struct member_info *member = &cluster->members[i];
            if ((member == leader) != (round == 0) || member->api_url[0] == '\0') {
                continue;
            }
            struct err_detail detail;
            const struct ctl_request request = {HTTP_PATCH, member->api_url, "/config", body,
                                                CALL_TIMEOUT_MS};
            enum err err = ctl_call(ctl, &request, answer, &detail);
            if (err == ERR_OK && answer->status != 501) {
                return 0;
            }
        }
    }
    return -1;
}

/* ---- the store itself ---- */

static int patch_by_store(struct ctl *ctl, const struct ctl_cluster *cluster, bool pause)
{
    json_t *config = cluster->config != NULL ? json_copy(cluster->config) : NULL;
    if (config == NULL) {
        return ctl_error("Can not find accessible cluster member");
    }
    if (pause) {
        json_object_set_new(config, "pause", json_true());
    } else {
        (void)json_object_del(config, "pause"); /* absent is fine */
    }
    char *value = json_dumps(config, JSON_COMPACT);
    json_decref(config);
    ASSERT(value != NULL);
    const struct dcs_op ops[] = {
        {.type = DCS_OP_CHECK, .key = "config", .version = cluster->config_version},
        {.type = DCS_OP_PUT, .key = "config", .value = value},
    };
    struct err_detail detail = {.text = ""};
    enum err err = ctl_cluster_write(ctl, cluster->name, ops, 2, &detail);
    free(value);
    if (err != ERR_OK) {
        return ctl_error("no member answers and /config could not be written: %s (%s)",
                         err_name(err), detail.text);
    }
    return 0;
}

/* ---- --wait ---- */

/* Whether every member that is not in `changed` has seen it; prints nothing. */
static bool recognised(const struct ctl_cluster *cluster, bool pause, char *laggards, size_t size)
{
    size_t used = 0;
    laggards[0] = '\0';
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (cluster->members[i].pause != pause && used < size) {
            int length = snprintf(laggards + used, size - used, "%s%s", used > 0 ? ", " : "",
                                  cluster->members[i].name);
            used += length > 0 ? (size_t)length : 0;
        }
    }
    return used == 0;
}

static int wait_for_all(struct ctl *ctl, const char *name, bool pause, int64_t loop_wait_ms)
{
    char laggards[MEMBERS_MAX * (NAME_SIZE + 2)];
    const int64_t wait_ms = loop_wait_ms + 1000;
    struct mono until = mono_add(mono_now(), wait_ms);
    printf("'%s' request sent, waiting until it is recognized by all nodes\n",
           pause ? "pause" : "resume");
    for (;;) {
        struct ctl_cluster *cluster = ctl_cluster_read(ctl, name);
        if (cluster == NULL) {
            return 1;
        }
        bool all = recognised(cluster, pause, laggards, sizeof(laggards));
        ctl_cluster_free(cluster);
        if (all) {
            printf("Success: cluster management is %s\n", pause ? "paused" : "resumed");
            return 0;
        }
        if (!mono_before(mono_now(), until)) {
            printf("%s members didn't recognized pause state after %" PRId64 " seconds\n", laggards,
                   wait_ms / 1000);
            return ctl->strict ? 1 : 0;
        }
        ctl_pause_ms(POLL_MS);
    }
}

static int change(struct ctl *ctl, const struct ctl_cluster *cluster, bool pause, bool wait)
{
    struct ctl_answer answer = {.status = 0};
    if (has_pause(cluster) == pause) {
        return ctl_error(pause ? "Cluster is already paused" : "Cluster is not paused");
    }
    if (patch_by_member(ctl, cluster, pause, &answer) != 0) {
        int status = patch_by_store(ctl, cluster, pause);
        if (status != 0) {
            return status;
        }
    } else if (answer.status != 200) {
        printf("Failed: %s cluster management status code=%d, (%s)\n", pause ? "pause" : "resume",
               answer.status, answer.body);
        return ctl->strict ? 1 : 0;
    }
    if (wait) {
        return wait_for_all(ctl, cluster->name, pause, cluster->core.settings.loop_wait_ms);
    }
    printf("Success: cluster management is %s\n", pause ? "paused" : "resumed");
    return 0;
}

static int pause_or_resume(struct ctl *ctl, int argc, char **argv, bool pause)
{
    static const struct option longs[] = {{"wait", no_argument, NULL, 'w'}, {NULL, 0, NULL, 0}};
    bool wait = false;
    bool usage = false;
    int option;
    optind = 0; /* glibc: begin anew */
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        wait = wait || option == 'w';
        usage = usage || option != 'w';
    }
    if (usage || argc - optind > 1) {
        fprintf(stderr, "usage: %s [--wait] [CLUSTER_NAME]\n", pause ? "pause" : "resume");
        return 2;
    }
    const char *name = ctl_cluster_name(ctl, optind < argc ? argv[optind] : NULL);
    struct ctl_cluster *cluster = name == NULL ? NULL : ctl_cluster_read(ctl, name);
    if (cluster == NULL) {
        return 1;
    }
    int status = change(ctl, cluster, pause, wait);
    ctl_cluster_free(cluster);
    return status;
}

int ctl_pause(struct ctl *ctl, int argc, char **argv)
{
    return pause_or_resume(ctl, argc, argv, true);
}

int ctl_resume(struct ctl *ctl, int argc, char **argv)
{
    return pause_or_resume(ctl, argc, argv, false);
}
