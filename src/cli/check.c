/* Reads the configuration as the agent does, then looks at this machine, and says what both mean in
 * numbers. Errors make the exit status 1; notes and warnings do not. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "base/str.h"
#include "cli/check.h"

/* How much a failover may lose. */
static void explain_loss(const struct config *config, const struct core_settings *settings,
                         struct config_report *report)
{
    const json_t *mode = json_object_get(config->bootstrap_dcs, "synchronous_mode");
    bool off = mode == NULL || json_is_false(mode) || json_is_null(mode) ||
               (json_is_string(mode) && strcasecmp(json_string_value(mode), "off") == 0);
    config_report_add(
        report, off ? CONFIG_NOTE : CONFIG_WARNING,
        "%sasynchronous: a failover may lose what the new primary had not received; it "
        "takes place only to a member at most %" PRId64
        " MB (maximum_lag_on_failover) behind the position that the old primary last "
        "published, which it does every %g s",
        off ? "" : "synchronous_mode has no effect in this build, so the cluster is ",
        (settings->maximum_lag_on_failover + 1048575) / 1048576,
        (double)settings->loop_wait_ms / 1000.0);
}

/* What the times mean when the primary's machine is lost. */
static void explain_ttl(const struct config *config, struct config_report *report)
{
    struct core_settings settings;
    dynconfig_settings(config->bootstrap_dcs, 1, config->postgresql, NULL, &settings, NULL);
    double outage_s = (double)settings.ttl_ms / 1000.0 + 0.5;
    config_report_add(report,
                      settings.ttl_ms > 2 * DYNCONFIG_TTL_DEFAULT_MS ? CONFIG_WARNING : CONFIG_NOTE,
                      "ttl %g s (from bootstrap.dcs; /config in the store wins once the cluster "
                      "exists): up to %g s without writes when the primary's machine is lost; %g s "
                      "is the default and %g s the least",
                      (double)settings.ttl_ms / 1000.0, outage_s, DYNCONFIG_TTL_DEFAULT_MS / 1000.0,
                      DYNCONFIG_TTL_MIN_MS / 1000.0);
    if (!settings.failsafe_mode) {
        config_report_add(
            report, CONFIG_WARNING,
            "failsafe_mode is off: the primary stops when the store is away for %g s, "
            "though all members can still agree; remedy: remove \"failsafe_mode: false\"",
            0.7 * (double)settings.ttl_ms / 1000.0);
    }
    explain_loss(config, &settings, report);
    if (!settings.use_pg_rewind) {
        config_report_add(report, CONFIG_NOTE,
                          "use_pg_rewind is off: an old primary that has diverged stays out of the "
                          "cluster until a person acts; remedy: \"use_pg_rewind: true\"");
    }
}

static void print_report(const struct config_report *report)
{
    static const char *const words[] = {
        [CONFIG_ERROR] = "error", [CONFIG_WARNING] = "warning", [CONFIG_NOTE] = "note"};
    uint32_t count[3] = {0};
    for (uint32_t i = 0; i < report->count; i++) {
        const struct config_message *message = &report->message[i];
        printf("%s: %s\n", words[message->severity], message->text);
        count[message->severity]++;
    }
    if (report->lost > 0) {
        printf("note: %" PRIu32 " more\n", report->lost);
    }
    printf("%" PRIu32 " errors, %" PRIu32 " warnings, %" PRIu32 " notes\n", report->error_count,
           count[CONFIG_WARNING], count[CONFIG_NOTE]);
}

int cli_check(int argc, char **argv)
{
    const char *path = argc == 2 && argv[1][0] != '-' ? argv[1] : NULL;
    if (argc > 2 || (argc == 2 && path == NULL)) {
        fputs("usage: holdfast check CONFIG\n", stderr);
        return 2;
    }
    struct config_report *report = calloc(1, sizeof(*report));
    ASSERT(report != NULL);
    config_report_init(report);
    struct config_env *env = config_env_capture(false);
    struct config *config = NULL;
    if (config_load(path, env, CONFIG_FOR_AGENT, &config, report) == ERR_OK) {
        explain_ttl(config, report);
        check_host(config, report);
    }
    print_report(report);
    int status = report->error_count > 0 ? 1 : 0;
    config_destroy(config);
    config_env_free(env);
    config_report_fini(report);
    free(report);
    return status;
}
