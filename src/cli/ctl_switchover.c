/* Asks, then orders it from the leader's own REST API; only when that cannot be reached the order is
 * written into the store for whoever leads. A failover needs no leader: it names who is to lead. */
#include "cli/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/assert.h"
#include "base/str.h"

#define TIME_ERROR                                                                                 \
    "Unable to parse scheduled timestamp (%s). It should be in an unambiguous format (e.g. ISO "   \
    "8601)"

struct order {
    bool manual; /* a failover */
    const char *cluster_name;
    const char *leader;    /* given; NULL: asked for */
    const char *candidate; /* given; NULL: asked for; "": any */
    const char *scheduled; /* given; NULL: asked for */
    bool force;
    char leader_text[NAME_SIZE];
    char candidate_text[NAME_SIZE];
    char at[RECORDS_TIME_SIZE]; /* ISO 8601; "": now */
};

static bool parse(int argc, char **argv, struct order *order)
{
    static const struct option longs[] = {
        {"leader", required_argument, NULL, 'l'},    {"primary", required_argument, NULL, 'l'},
        {"candidate", required_argument, NULL, 'c'}, {"scheduled", required_argument, NULL, 's'},
        {"force", no_argument, NULL, 'f'},           {NULL, 0, NULL, 0}};
    int option;
    optind = 0; /* glibc: begin anew */
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'l':
            order->leader = optarg;
            break;
        case 'c':
            order->candidate = optarg;
            break;
        case 's':
            order->scheduled = optarg;
            break;
        case 'f':
            order->force = true;
            break;
        default:
            return false;
        }
    }
    order->cluster_name = optind < argc ? argv[optind] : NULL;
    return argc - optind <= 1;
}

static const char *action_of(const struct order *order)
{
    return order->manual ? "failover" : "switchover";
}

static void show(const struct ctl_cluster *cluster)
{
    const struct ctl_list_options options = {.format = TABLE_PRETTY};
    ctl_list_print(cluster, &options, stdout);
}

/* ---- the questions ---- */

static int ask_leader(const struct ctl_cluster *cluster, struct order *order)
{
    const char *current = cluster->core.leader.name;
    const struct member_info *leader = ctl_leader(cluster);
    if (cluster->core.leader.version == 0 || *current == '\0') {
        return ctl_error("This cluster has no leader");
    }
    if (order->leader == NULL && order->force) {
        order->leader = current;
    } else if (order->leader == NULL) {
        bool standby = leader != NULL && str_equal(leader->role, "standby_leader");
        if (!ctl_prompt(standby ? "Standby Leader" : "Primary", current, order->leader_text,
                        sizeof(order->leader_text))) {
            return 1;
        }
        order->leader = order->leader_text;
    }
    if (!str_equal(order->leader, current)) {
        return ctl_error("Member %s is not the leader of cluster %s", order->leader, cluster->name);
    }
    return 0;
}

static bool is_candidate(const struct ctl_cluster *cluster, const struct member_info *member)
{
    return !str_equal(member->name, cluster->core.leader.name) && !member->nofailover;
}

static int ask_candidate(const struct ctl_cluster *cluster, struct order *order)
{
    char list[MEMBERS_MAX * (NAME_SIZE + 4) + 32] = "Candidate [";
    size_t used = strlen(list);
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->member_count; i++) { /* the store gives them sorted */
        if (is_candidate(cluster, &cluster->members[i])) {
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s'%s'",
                                     count > 0 ? ", " : "", cluster->members[i].name);
            count++;
        }
    }
    (void)snprintf(list + used, sizeof(list) - used, "]"); /* sized for the most there can be */
    if (count == 0) {
        return ctl_error("No candidates found to %s to", action_of(order));
    }
    if (order->candidate == NULL && order->force) {
        order->candidate = "";
    } else if (order->candidate == NULL) {
        if (!ctl_prompt(list, "", order->candidate_text, sizeof(order->candidate_text))) {
            return 1;
        }
        order->candidate = order->candidate_text;
    }
    if (*order->candidate == '\0') {
        return order->manual ? ctl_error("Failover could be performed only to a specific candidate")
                             : 0;
    }
    if (str_equal(order->candidate, cluster->core.leader.name)) {
        return ctl_error("Member %s is already the leader of cluster %s", order->candidate,
                         cluster->name);
    }
    const struct member_info *member = ctl_member(cluster, order->candidate);
    if (member == NULL || !is_candidate(cluster, member)) {
        return ctl_error("Member %s does not exist in cluster %s or is tagged as nofailover",
                         order->candidate, cluster->name);
    }
    return 0;
}

static int ask_time(const struct ctl_cluster *cluster, struct order *order)
{
    char text[64] = "now";
    time_t now = time(NULL);
    time_t hour = now - now % 3600 + 3600;
    struct tm local;
    (void)localtime_r(&hour, &local);
    if (order->scheduled != NULL) {
        str_copy_cut(text, sizeof(text), order->scheduled);
    } else if (!order->force) {
        char question[128];
        char example[32];
        size_t used = strftime(example, sizeof(example), "%Y-%m-%dT%H:%M", &local);
        ASSERT(used > 0);
        (void)snprintf(question, sizeof(question),
                       "When should the switchover take place (e.g. %s ) ", example);
        if (!ctl_prompt(question, "now", text, sizeof(text))) {
            return 1;
        }
    }
    if (text[0] == '\0' || strcasecmp(text, "now") == 0) {
        return 0;
    }
    struct wall at;
    if (!records_parse_time(text, (int)local.tm_gmtoff, &at)) {
        return ctl_error(TIME_ERROR, text);
    }
    if (cluster->core.settings.pause) {
        return ctl_error("Can't schedule switchover in the paused state");
    }
    records_format_time(at, order->at);
    return 0;
}

static int ask_consent(const struct ctl_cluster *cluster, const struct order *order)
{
    char question[512];
    bool aborted;
    if (order->force) {
        return 0;
    }
    if (order->at[0] != '\0') {
        (void)snprintf(question, sizeof(question),
                       "Are you sure you want to schedule switchover of cluster %s at %s, demoting "
                       "current leader %s?",
                       cluster->name, order->at, order->leader);
    } else {
        const char *leader = cluster->core.leader.name;
        (void)snprintf(question, sizeof(question), "Are you sure you want to %s cluster %s%s%s?",
                       action_of(order), cluster->name,
                       *leader != '\0' ? ", demoting current leader " : "", leader);
    }
    if (ctl_confirm(question, &aborted)) {
        return 0;
    }
    return aborted ? 1
                   : ctl_error("Aborting %s%s", order->at[0] != '\0' ? "scheduled " : "",
                               action_of(order));
}

/* ---- the order ---- */

static int order_by_store(struct ctl *ctl, const struct ctl_cluster *cluster,
                          const struct order *order)
{
    char now[CTL_TIME_SIZE];
    ctl_time(now);
    if (!order->manual && cluster->core.settings.pause) {
        return ctl_error("switchover is not possible: leader %s does not answer, and the cluster "
                         "is paused, so nobody would carry it out; remedy: make another member the "
                         "leader without it: holdfast ctl failover --candidate %s",
                         order->leader, *order->candidate != '\0' ? order->candidate : "NAME");
    }
    printf("%s Could not %s using Patroni api, falling back to DCS\n", now, action_of(order));
    struct core_failover failover = {.version = 0};
    if (!order->manual) {
        str_copy_cut(failover.leader, sizeof(failover.leader), order->leader);
    }
    str_copy_cut(failover.candidate, sizeof(failover.candidate), order->candidate);
    if (order->at[0] != '\0' && !records_parse_time(order->at, 0, &failover.scheduled_at)) {
        return ctl_error(TIME_ERROR, order->at);
    }
    char *value = records_format_failover(&failover);
    /* Nobody else's order is replaced, and a leader that has changed meanwhile is left alone. */
    const struct dcs_op ops[] = {
        {.type = DCS_OP_CHECK, .key = "leader", .version = cluster->core.leader.version},
        {.type = DCS_OP_CHECK, .key = "failover", .version = cluster->core.failover.version},
        {.type = DCS_OP_PUT, .key = "failover", .value = value},
    };
    struct err_detail detail = {.text = ""};
    enum err err = ctl_cluster_write(ctl, cluster->name, ops, 3, &detail);
    free(value);
    if (err != ERR_OK) {
        return ctl_error("the order could not be written: %s (%s)", err_name(err), detail.text);
    }
    return 0;
}

static void print_answer(const struct order *order, const struct ctl_answer *answer)
{
    char now[CTL_TIME_SIZE];
    ctl_time(now);
    if (answer->status == 200 || answer->status == 202) {
        printf("%s %s\n", now, answer->body);
        return;
    }
    const char *word = strstr(answer->body, "status unknown") != NULL ? "result unknown" : "failed";
    printf("%s %s, details: %d, %s\n", order->manual ? "Failover" : "Switchover", word,
           answer->status, answer->body);
}

/* The request's body; to be freed. */
static char *order_text(const struct order *order)
{
    json_t *body = json_object();
    ASSERT(body != NULL);
    if (!order->manual) {
        json_object_set_new(body, "leader", json_string(order->leader));
    }
    if (*order->candidate != '\0') {
        json_object_set_new(body, "candidate", json_string(order->candidate));
    }
    if (order->at[0] != '\0') {
        json_object_set_new(body, "scheduled_at", json_string(order->at));
    }
    char *text = json_dumps(body, 0);
    json_decref(body);
    ASSERT(text != NULL);
    return text;
}

/* ERR_UNREACHABLE: it has no address, or does not answer. */
static enum err order_by_member(struct ctl *ctl, const struct ctl_cluster *cluster,
                                const struct order *order, const struct member_info *member,
                                struct ctl_answer *out_answer, struct err_detail *detail)
{
    if (member == NULL || member->api_url[0] == '\0') {
        return err_set(detail, ERR_UNREACHABLE, "the member key tells no API address");
    }
    char *text = order_text(order);
    int64_t loop_ms = cluster->core.settings.loop_wait_ms;
    struct ctl_request request = {
        .method = HTTP_POST,
        .api_url = member->api_url,
        .path = order->manual ? "/failover" : "/switchover",
        .body = text,
        .timeout_ms = 2 * (loop_ms > 10000 ? loop_ms : 10000) + 5000, /* more than the server's */
    };
    enum err err = ctl_call(ctl, &request, out_answer, detail);
    if (err == ERR_OK && out_answer->status == 501) { /* a very old agent */
        request.path = "/failover";
        err = ctl_call(ctl, &request, out_answer, detail);
    }
    free(text);
    return err;
}

static int order_it(struct ctl *ctl, const struct ctl_cluster *cluster, const struct order *order)
{
    ASSERT(order->candidate != NULL); /* asked for, or "" */
    struct ctl_answer answer = {.status = 0};
    struct err_detail detail = {.text = ""};
    enum err err = order_by_member(ctl, cluster, order, ctl_leader(cluster), &answer, &detail);
    if (order->manual && err != ERR_OK && err != ERR_IN_DOUBT) {
        err = order_by_member(ctl, cluster, order, ctl_member(cluster, order->candidate), &answer,
                              &detail);
    }
    if (err == ERR_IN_DOUBT) { /* it may be under way: a second order could undo it */
        return ctl_error("%s result unknown, details: %s",
                         order->manual ? "Failover" : "Switchover", detail.text);
    }
    if (err != ERR_OK) {
        return order_by_store(ctl, cluster, order);
    }
    print_answer(order, &answer);
    bool good = answer.status == 200 || answer.status == 202;
    return !good && ctl->strict ? 1 : good ? 0 : -1;
}

static int order_run(struct ctl *ctl, struct order *order)
{
    const char *name = ctl_cluster_name(ctl, order->cluster_name);
    struct ctl_cluster *cluster = name == NULL ? NULL : ctl_cluster_read(ctl, name);
    if (cluster == NULL) {
        return 1;
    }
    puts("Current cluster topology");
    show(cluster);
    int status = order->manual ? 0 : ask_leader(cluster, order);
    status = status != 0 ? status : ask_candidate(cluster, order);
    status = status != 0 || order->manual ? status : ask_time(cluster, order);
    status = status != 0 ? status : ask_consent(cluster, order);
    status = status != 0 ? status : order_it(ctl, cluster, order);
    ctl_cluster_free(cluster);
    if (status == -1) {
        return 0; /* told on standard output; the exit status stays patronictl's */
    }
    if (status == 0) {
        cluster = ctl_cluster_read(ctl, name);
        if (cluster == NULL) {
            return 1;
        }
        show(cluster);
        ctl_cluster_free(cluster);
    }
    return status;
}

int ctl_switchover(struct ctl *ctl, int argc, char **argv)
{
    struct order order = {.cluster_name = NULL};
    if (!parse(argc, argv, &order)) {
        fputs("usage: switchover [CLUSTER_NAME] [--leader|--primary NAME] [--candidate NAME] "
              "[--scheduled TIME] [--force]\n",
              stderr);
        return 2;
    }
    return order_run(ctl, &order);
}

int ctl_failover(struct ctl *ctl, int argc, char **argv)
{
    struct order order = {.manual = true};
    if (!parse(argc, argv, &order) || order.leader != NULL || order.scheduled != NULL) {
        fputs("usage: failover [CLUSTER_NAME] --candidate NAME [--force]\n", stderr);
        return 2;
    }
    return order_run(ctl, &order);
}
