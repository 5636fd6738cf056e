/* Every field that a script may set, with the name it has there. A field that is not in a table
 * cannot be set: a wrong name is an error, never a line without effect. */
#include "scenario.h"

#include "base/str.h"

static const char *const initialize_states[] = {"absent", "running", "done", NULL};
static const char *const datadirs[] = {"unknown",      "empty",   "usable",
                                       "inaccessible", "foreign", NULL};
static const char *const controls[] = {"unknown",
                                       "starting_up",
                                       "shut_down",
                                       "shut_down_in_recovery",
                                       "shutting_down",
                                       "in_crash_recovery",
                                       "in_archive_recovery",
                                       "in_production",
                                       NULL};
const char *const lease_states[] = {"held", "released", "handing_to", NULL};
const char *const divergences[] = {"unknown", "none", "diverged", NULL};

#define FIELD(type, text, member, kind)                                                            \
    {                                                                                              \
        text, FIELD_##kind, offsetof(struct type, member), NULL                                    \
    }
#define CHOICE(type, text, member, names)                                                          \
    {                                                                                              \
        text, FIELD_ENUM, offsetof(struct type, member), names                                     \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, FIELD_BOOL, 0, NULL                                                                  \
    }

const struct field fields_cluster[] = {
    FIELD(core_cluster, "store_id", store_id, U64),
    FIELD(core_cluster, "revision", revision, U64),
    FIELD(core_cluster, "lease.present", lease.present, BOOL),
    FIELD(core_cluster, "lease.version", lease.version, U64),
    FIELD(core_cluster, "lease.holder", lease.holder, NAME),
    FIELD(core_cluster, "lease.epoch", lease.epoch, U64),
    FIELD(core_cluster, "lease.seq", lease.seq, U64),
    FIELD(core_cluster, "lease.ttl", lease.ttl_ms, I64),
    FIELD(core_cluster, "lease.armed", lease.armed, BOOL),
    CHOICE(core_cluster, "lease.state", lease.state, lease_states),
    FIELD(core_cluster, "lease.to", lease.to, NAME),
    FIELD(core_cluster, "leader.version", leader.version, U64),
    FIELD(core_cluster, "leader.name", leader.name, NAME),
    CHOICE(core_cluster, "initialize", initialize, initialize_states),
    FIELD(core_cluster, "initialize.version", initialize_version, U64),
    FIELD(core_cluster, "sysid", sysid, U64),
    FIELD(core_cluster, "config.version", settings.version, U64),
    FIELD(core_cluster, "ttl", settings.ttl_ms, I64),
    FIELD(core_cluster, "loop_wait", settings.loop_wait_ms, I64),
    FIELD(core_cluster, "maximum_lag", settings.maximum_lag_on_failover, I64),
    FIELD(core_cluster, "primary_start_timeout", settings.primary_start_timeout_ms, I64),
    FIELD(core_cluster, "check_timeline", settings.check_timeline, BOOL),
    FIELD(core_cluster, "failsafe_mode", settings.failsafe_mode, BOOL),
    FIELD(core_cluster, "pause", settings.pause, BOOL),
    FIELD(core_cluster, "use_pg_rewind", settings.use_pg_rewind, BOOL),
    FIELD(core_cluster, "clone_on_diverged", settings.clone_on_diverged, BOOL),
    FIELD(core_cluster, "clone_on_rewind_failed", settings.clone_on_rewind_failed, BOOL),
    FIELD(core_cluster, "failsafe.version", failsafe.version, U64),
    FIELD(core_cluster, "failsafe", failsafe.names, NAMES),
    FIELD(core_cluster, "failover.version", failover.version, U64),
    FIELD(core_cluster, "failover.leader", failover.leader, NAME),
    FIELD(core_cluster, "failover.candidate", failover.candidate, NAME),
    FIELD(core_cluster, "failover.scheduled_at", failover.scheduled_at.ms, I64),
    FIELD(core_cluster, "optime", optime, U64),
    FIELD(core_cluster, "optime_timeline", optime_timeline, U32),
    FIELD(core_cluster, "history_timeline", history_timeline, U32),
    END};

const struct field fields_postgres[] = {
    FIELD(core_postgres, "process", process, TRI),
    FIELD(core_postgres, "accepting", accepting, TRI),
    FIELD(core_postgres, "primary", primary, TRI),
    CHOICE(core_postgres, "datadir", datadir, datadirs),
    CHOICE(core_postgres, "control", control, controls),
    FIELD(core_postgres, "sysid", sysid, U64),
    FIELD(core_postgres, "timeline", timeline, U32),
    FIELD(core_postgres, "lsn", lsn, U64),
    FIELD(core_postgres, "shutdown_lsn", shutdown_lsn, U64),
    FIELD(core_postgres, "streaming", streaming, BOOL),
    FIELD(core_postgres, "checkpointed", timeline_checkpointed, BOOL),
    FIELD(core_postgres, "upstream", upstream, NAME),
    FIELD(core_postgres, "setup_pending", setup_pending, BOOL),
    FIELD(core_postgres, "incarnation", incarnation, U64),
    END};

const struct field fields_guard[] = {
    FIELD(core_guard, "alive", alive, TRI), FIELD(core_guard, "armed", armed, BOOL),
    FIELD(core_guard, "epoch", armed_epoch, U64), FIELD(core_guard, "fenced", fenced, BOOL), END};

const struct field fields_peer[] = {FIELD(peer, "silent", silent, BOOL),
                                    FIELD(peer, "refuses", refuses, BOOL),
                                    FIELD(peer, "primary", status.primary, BOOL),
                                    FIELD(peer, "nofailover", status.nofailover, BOOL),
                                    FIELD(peer, "priority", status.failover_priority, I32),
                                    FIELD(peer, "timeline", status.timeline, U32),
                                    FIELD(peer, "lsn", status.lsn, U64),
                                    END};

const struct field fields_member[] = {
    FIELD(core_member, "api", has_api_url, BOOL),
    FIELD(core_member, "conn", has_conn_url, BOOL),
    FIELD(core_member, "running", running, BOOL),
    FIELD(core_member, "nofailover", nofailover, BOOL),
    FIELD(core_member, "checkpoint_pending", checkpoint_pending, BOOL),
    END};

const struct field fields_config[] = {FIELD(core_config, "nofailover", nofailover, BOOL),
                                      FIELD(core_config, "priority", failover_priority, I32),
                                      FIELD(core_config, "may_bootstrap", may_bootstrap, BOOL),
                                      FIELD(core_config, "same_boot", same_boot, BOOL), END};

const struct field fields_memory[] = {FIELD(core_memory, "epoch_max", epoch_max, U64),
                                      FIELD(core_memory, "ttl_max", ttl_max_ms, I64),
                                      FIELD(core_memory, "promised_to", promised_to, NAME),
                                      FIELD(core_memory, "promised_epoch", promised_epoch, U64),
                                      FIELD(core_memory, "promised", promised_ms, I64),
                                      END};

const struct field fields_request[] = {FIELD(core_promise_request, "id", request_id, U64),
                                       FIELD(core_promise_request, "holder", holder, NAME),
                                       FIELD(core_promise_request, "epoch", epoch, U64),
                                       FIELD(core_promise_request, "ttl", ttl_ms, I64), END};

static bool choice_set(const char *const *choices, const char *text, int *out)
{
    for (int i = 0; choices[i] != NULL; i++) {
        if (str_equal(choices[i], text)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool names_set(struct core_name_list *out, const char *text)
{
    *out = (struct core_name_list){0};
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        if (out->count == MEMBERS_MAX || length >= NAME_SIZE) {
            return false;
        }
        memcpy(out->name[out->count++], text, length);
        text += length + (text[length] == ',');
    }
    return true;
}

static bool number_set(enum field_kind kind, void *at, const char *text)
{
    int64_t number = 0;
    if (!str_to_i64(text, &number) || (number < 0 && kind != FIELD_I64 && kind != FIELD_I32)) {
        return false;
    }
    if (kind == FIELD_U64) {
        *(uint64_t *)at = (uint64_t)number;
    } else if (kind == FIELD_I64) {
        *(int64_t *)at = number;
    } else if (kind == FIELD_U32) {
        *(uint32_t *)at = (uint32_t)number;
    } else {
        *(int32_t *)at = (int32_t)number;
    }
    return true;
}

static bool value_set(const struct field *field, void *at, const char *text)
{
    static const char *const answers[] = {"unknown", "no", "yes", NULL};
    int choice = 0;
    switch (field->kind) {
    case FIELD_TRI:
        if (!choice_set(answers, text, &choice)) {
            return false;
        }
        *(enum tri *)at = (enum tri)choice;
        return true;
    case FIELD_BOOL:
        if (!choice_set(answers, text, &choice) || choice == TRI_UNKNOWN) {
            return false;
        }
        *(bool *)at = choice == TRI_YES;
        return true;
    case FIELD_ENUM:
        if (!choice_set(field->choices, text, &choice)) {
            return false;
        }
        *(int *)at = choice; /* every enum of view.h is as wide as an int */
        return true;
    case FIELD_NAME:
        return str_copy(at, NAME_SIZE, text);
    case FIELD_NAMES:
        return names_set(at, text);
    case FIELD_U64:
    case FIELD_U32:
    case FIELD_I64:
    case FIELD_I32:
        return number_set(field->kind, at, text);
    }
    return false;
}

bool fields_set(const struct field *fields, void *object, const char *word)
{
    size_t length = strcspn(word, "=");
    if (word[length] != '=') {
        return false;
    }
    for (const struct field *field = fields; field->name != NULL; field++) {
        if (strlen(field->name) == length && strncmp(field->name, word, length) == 0) {
            return value_set(field, (char *)object + field->offset, word + length + 1);
        }
    }
    return false;
}
