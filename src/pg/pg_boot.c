/* A new cluster: initdb, the roles and passwords after its first start; and the renaming of a
 * directory whose bootstrap failed. */
#include "pg/pg_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/log.h"

#define SQL_SIZE 16384
#define OPTIONS_MAX 64

static void state_file(const struct pg *pg, const char *name, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%s/%s", pg->config.state_dir, name); /* length checked before */
}

/* ---- what a job that did not end has left ---- */

#define UNFINISHED_INITDB "initdb\n"
#define UNFINISHED_CLONE "clone\n"

bool pg_boot_half_made(const struct pg *pg)
{
    char path[PATH_SIZE];
    char text[16];
    state_file(pg, "unfinished", path);
    if (!pg_file_read(path, text, sizeof(text))) {
        return false;
    }
    /* pg_basebackup copies pg_control last; with it the directory may be somebody's restored one. */
    return str_equal(text, UNFINISHED_INITDB) ||
           (str_equal(text, UNFINISHED_CLONE) &&
            !(str_format(path, sizeof(path), "%s/global/pg_control", pg->config.data_dir) &&
              access(path, F_OK) == 0));
}

enum err pg_boot_unfinished_begin(struct pg_job *job, bool is_clone)
{
    char path[PATH_SIZE];
    state_file(job->pg, "unfinished", path);
    return pg_file_write(path, is_clone ? UNFINISHED_CLONE : UNFINISHED_INITDB, 0600, true,
                         &job->detail);
}

static enum err state_remove(const struct pg *pg, const char *name, struct err_detail *detail)
{
    char path[PATH_SIZE];
    state_file(pg, name, path);
    if (unlink(path) != 0 && errno != ENOENT) {
        return err_set_errno(detail, ERR_INVALID, errno, "cannot remove %s", path);
    }
    return pg_dir_fsync(pg->config.state_dir, detail);
}

enum err pg_boot_unfinished_end(struct pg_job *job)
{
    return state_remove(job->pg, "unfinished", &job->detail);
}

static enum err aside_rename(struct pg_job *job);

enum err pg_boot_discard_half_made(struct pg_job *job)
{
    if (!pg_boot_half_made(job->pg)) {
        return ERR_OK;
    }
    char path[PATH_SIZE];
    char text[16];
    state_file(job->pg, "unfinished", path);
    if (pg_file_read(path, text, sizeof(text)) && str_equal(text, UNFINISHED_INITDB)) {
        return aside_rename(job);
    }
    /* Half a copy tells nobody anything, and there may be no room for another one beside it. */
    return pg_datadir_clear(job->pg->config.data_dir, &job->detail);
}

/* ---- initdb ---- */

static enum err initdb_prepare(struct pg_job *job)
{
    const struct pg *pg = job->pg;
    char path[PATH_SIZE];
    int sys_errno = 0;
    enum err err = pg_boot_discard_half_made(job);
    if (err != ERR_OK) {
        return err;
    }
    if (!pg_dir_empty(pg->config.data_dir, &sys_errno)) {
        return err_set(&job->detail, ERR_INVALID, "%s is not empty", pg->config.data_dir);
    }
    err = pg_dir_make(pg->config.data_dir, 0700, &job->detail);
    state_file(pg, "setup_pending", path);
    if (err ==
        ERR_OK) { /* before the directory becomes usable: it must not be taken for complete */
        err = pg_file_write(path, "", 0600, true, &job->detail);
    }
    if (err == ERR_OK) {
        err = pg_boot_unfinished_begin(job, false);
    }
    const char *password = pg->config.superuser.password;
    if (err == ERR_OK && password != NULL && password[0] != '\0') {
        char line[1024];
        state_file(pg, "initdb.pw", path);
        if (!str_format(line, sizeof(line), "%s\n", password)) {
            return err_set(&job->detail, ERR_INVALID, "the superuser's password is too long");
        }
        err = pg_file_write(path, line, 0600, false, &job->detail);
        explicit_bzero(line, sizeof(line));
    }
    return err;
}

static enum pg_step initdb_files(struct pg_job *job)
{
    return pg_job_work(job, initdb_prepare);
}

static enum pg_step initdb_run(struct pg_job *job)
{
    const struct pg_config *config = &job->pg->config;
    char binary[PATH_SIZE];
    char password_file[PATH_SIZE];
    const char *argv[OPTIONS_MAX + 8];
    size_t count = 0;
    pg_binary(job->pg, "initdb", binary);
    state_file(job->pg, "initdb.pw", password_file);
    argv[count++] = binary;
    argv[count++] = arena_printf(&job->arena, "--pgdata=%s", config->data_dir);
    if (config->superuser.username != NULL) {
        argv[count++] = arena_printf(&job->arena, "--username=%s", config->superuser.username);
    }
    if (config->superuser.password != NULL && config->superuser.password[0] != '\0') {
        argv[count++] = arena_printf(&job->arena, "--pwfile=%s", password_file);
    }
    for (size_t i = 0; i < config->initdb_option_count && i < OPTIONS_MAX; i++) {
        argv[count++] = config->initdb_options[i];
    }
    argv[count] = NULL;
    struct pg_child_spawn spawn = {.argv = argv};
    job->created = true;
    return pg_job_spawn(job, &spawn, NULL);
}

static enum err initdb_hba(struct pg_job *job)
{
    const struct pg *pg = job->pg;
    char path[PATH_SIZE];
    state_file(pg, "initdb.pw", path);
    (void)unlink(path); /* absent without a password */
    if (pg->config.pg_hba_count > 0 || pg->config.bootstrap_pg_hba_count == 0) {
        return pg_boot_unfinished_end(job);
    }
    AUTO_FREE char *buffer = malloc(PG_FILE_TEXT_SIZE);
    ASSERT(buffer != NULL);
    (void)snprintf(path, sizeof(path), "%s/pg_hba.conf", pg->config.data_dir); /* checked */
    if (!pg_file_read(path, buffer, PG_FILE_TEXT_SIZE)) {
        return err_set(&job->detail, ERR_INVALID, "cannot read %s", path);
    }
    struct pgconf_text text;
    size_t used = strlen(buffer);
    pgconf_text_init(&text, buffer + used, PG_FILE_TEXT_SIZE - used);
    pgconf_text_add(&text, "\n");
    for (size_t i = 0; i < pg->config.bootstrap_pg_hba_count; i++) {
        pgconf_text_add(&text, "%s\n", pg->config.bootstrap_pg_hba[i]);
    }
    if (text.full) {
        return err_set(&job->detail, ERR_INVALID, "pg_hba.conf: too large");
    }
    enum err err = pg_file_write(path, buffer, 0600, false, &job->detail);
    return err == ERR_OK ? pg_boot_unfinished_end(job) : err;
}

static enum pg_step initdb_finish(struct pg_job *job)
{
    return pg_job_work(job, initdb_hba);
}

/* initdb removes what it made when it fails by itself, but not when it is killed or was told not to:
 * then a person may want to look at it. */
static enum err initdb_cleanup(struct pg_job *job)
{
    char path[PATH_SIZE];
    state_file(job->pg, "initdb.pw", path);
    (void)unlink(path); /* absent without a password */
    int sys_errno = 0;
    if (!job->created || pg_dir_empty(job->pg->config.data_dir, &sys_errno)) {
        return job->created ? state_remove(job->pg, "unfinished", NULL) : ERR_OK;
    }
    struct stat st;
    bool wal_apart = str_format(path, sizeof(path), "%s/pg_wal", job->pg->config.data_dir) &&
                     lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
    /* WAL that stands elsewhere would be in the next one's way; a mount point cannot be renamed. */
    struct err_detail why = job->detail;
    if (!wal_apart && aside_rename(job) == ERR_OK) {
        return ERR_OK;
    }
    job->detail = why; /* what initdb said tells more */
    enum err err = pg_datadir_clear(job->pg->config.data_dir, NULL);
    return err == ERR_OK ? state_remove(job->pg, "unfinished", NULL) : err;
}

static const pg_step_fn initdb_steps[] = {pg_job_need_stopped, initdb_files, initdb_run,
                                          initdb_finish};
static const struct pg_plan initdb_plan = {
    .name = "initdb",
    .state = "initializing new cluster",
    .failed_state = "initdb failed",
    .steps = initdb_steps,
    .count = sizeof(initdb_steps) / sizeof(initdb_steps[0]),
    .cleanup = initdb_cleanup,
};

void pg_initdb(struct pg *pg, pg_done_cb cb, void *arg)
{
    pg_job_submit(pg_job_new(pg, &initdb_plan, cb, arg));
}

/* ---- setup ---- */

static enum pg_step setup_connect(struct pg_job *job)
{
    struct pg_target target;
    pg_local_target(job->pg, &target);
    return pg_job_connect(job, &target);
}

/* A literal that reads the same with standard_conforming_strings on or off: E'...' with doubled
 * backslashes; NUL cannot occur. */
static void literal_add(struct pgconf_text *sql, const char *text)
{
    pgconf_text_add(sql, "E'");
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\') {
            pgconf_text_add(sql, "%c", *text);
        }
        pgconf_text_add(sql, "%c", *text);
    }
    pgconf_text_add(sql, "'");
}

static void role_add(struct pgconf_text *sql, const struct pg_credentials *credentials,
                     const char *attributes)
{
    if (credentials->username == NULL) {
        return;
    }
    pgconf_text_add(sql, " r := ");
    literal_add(sql, credentials->username);
    pgconf_text_add(sql,
                    "; IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = r) THEN v := 'ALTER'; "
                    "ELSE v := 'CREATE'; END IF; EXECUTE format('%%s ROLE %%I WITH %s', v, r);",
                    attributes);
    if (credentials->password != NULL && credentials->password[0] != '\0') {
        pgconf_text_add(sql, " EXECUTE format('ALTER ROLE %%I PASSWORD %%L', r, ");
        literal_add(sql, credentials->password);
        pgconf_text_add(sql, ");");
    }
}

/* config.md 4.4: nothing that logs statements may see the passwords. The settings are made by
 * statements of their own, since statement logging happens before a statement runs; unknown
 * placeholder names (no such extension) are accepted by PostgreSQL. */
static void setup_sql(const struct pg *pg, struct pgconf_text *sql)
{
    static const char *const quiet[][2] = {
        {"synchronous_commit", "local"},
        {"log_statement", "none"},
        {"log_min_duration_statement", "-1"},
        {"log_min_duration_sample", "-1"},
        {"log_min_error_statement", "panic"},
        {"log_transaction_sample_rate", "0"},
        {"log_error_verbosity", "terse"},
        {"pg_stat_statements.track_utility", "off"},
        {"pgaudit.log", "none"},
    };
    for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++) {
        pgconf_text_add(sql, "SET %s = '%s';", quiet[i][0], quiet[i][1]);
    }
    pgconf_text_add(sql, "DO $holdfast_setup$ DECLARE r text; v text; f text; BEGIN");
    role_add(sql, &pg->config.superuser, "SUPERUSER LOGIN");
    role_add(sql, &pg->config.replication, "REPLICATION LOGIN");
    if (pg->config.rewind.username != NULL) {
        role_add(sql, &pg->config.rewind, "LOGIN");
        pgconf_text_add(sql,
                        " FOREACH f IN ARRAY ARRAY['pg_ls_dir(text, boolean, boolean)',"
                        " 'pg_stat_file(text, boolean)', 'pg_read_binary_file(text)',"
                        " 'pg_read_binary_file(text, bigint, bigint, boolean)'] LOOP"
                        " EXECUTE format('GRANT EXECUTE ON FUNCTION pg_catalog.%%s TO %%I', f, r);"
                        " END LOOP;");
    }
    pgconf_text_add(sql, " END $holdfast_setup$;");
    for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++) {
        pgconf_text_add(sql, "RESET %s;", quiet[i][0]);
    }
}

static enum pg_step setup_quiet(struct pg_job *job)
{
    /* the statements that carry no secret, sent before the one that does */
    return pg_job_query(job,
                        "SET synchronous_commit = 'local'; SET log_statement = 'none';"
                        "SET log_min_duration_statement = '-1'; SET log_duration = 'off';"
                        "SET log_min_error_statement = 'panic'",
                        PG_SQL_TIMEOUT_MS);
}

static enum pg_step setup_roles(struct pg_job *job)
{
    AUTO_FREE char *buffer = malloc(SQL_SIZE);
    ASSERT(buffer != NULL);
    struct pgconf_text sql;
    pgconf_text_init(&sql, buffer, SQL_SIZE);
    setup_sql(job->pg, &sql);
    if (sql.full || strstr(buffer, "$holdfast_setup$") == NULL) {
        explicit_bzero(buffer, SQL_SIZE);
        pg_job_fail(job, ERR_INVALID, "a role's name or password is too long");
        return PG_STEP_WAIT;
    }
    job->in_doubt = true;
    enum pg_step step = pg_job_query(job, buffer, PG_SQL_TIMEOUT_MS);
    explicit_bzero(buffer, SQL_SIZE);
    return step;
}

static enum err setup_mark(struct pg_job *job)
{
    return state_remove(job->pg, "setup_pending", &job->detail);
}

static enum pg_step setup_finish(struct pg_job *job)
{
    return pg_job_work(job, setup_mark);
}

static const pg_step_fn setup_steps[] = {setup_connect, setup_quiet, setup_roles, setup_finish};
static const struct pg_plan setup_plan = {
    .name = "setup",
    .steps = setup_steps,
    .count = sizeof(setup_steps) / sizeof(setup_steps[0]),
};

void pg_setup(struct pg *pg, pg_done_cb cb, void *arg)
{
    pg_job_submit(pg_job_new(pg, &setup_plan, cb, arg));
}

/* ---- set aside ---- */

/* Only a directory of ours-to-be is renamed; a link or a mount point cannot be. */
static enum err aside_rename(struct pg_job *job)
{
    const struct pg *pg = job->pg;
    char target[PATH_SIZE];
    struct stat st;
    if (!str_format(target, sizeof(target), "%s.failed", pg->config.data_dir)) {
        return err_set(&job->detail, ERR_INVALID, "path too long");
    }
    if (lstat(pg->config.data_dir, &st) != 0) {
        return errno == ENOENT ? ERR_OK
                               : err_set_errno(&job->detail, ERR_INVALID, errno,
                                               "cannot look at %s", pg->config.data_dir);
    }
    if (stat(target, &st) == 0) {
        enum err err = pg_dir_clear(target, &job->detail);
        if (err != ERR_OK) {
            return err;
        }
        if (rmdir(target) != 0) {
            return err_set_errno(&job->detail, ERR_INVALID, errno, "cannot remove %s", target);
        }
    }
    if (rename(pg->config.data_dir, target) != 0) {
        return err_set_errno(&job->detail, ERR_INVALID, errno, "cannot rename %s",
                             pg->config.data_dir);
    }
    job->set_aside = true;
    char marker[PATH_SIZE];
    state_file(pg, "setup_pending", marker);
    (void)unlink(marker); /* that cluster is no more */
    state_file(pg, "unfinished", marker);
    (void)unlink(marker); /* without a directory it says nothing */
    char parent[PATH_SIZE];
    str_copy_cut(parent, sizeof(parent), pg->config.data_dir);
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        return pg_dir_fsync(parent, &job->detail);
    }
    return ERR_OK;
}

static enum pg_step aside_work(struct pg_job *job)
{
    return pg_job_work(job, aside_rename);
}

void pg_boot_aside_tell(struct pg *pg)
{
    if (pg->watching) {                     /* the watch went along with the directory */
        (void)uv_fs_event_stop(&pg->watch); /* always 0 */
        pg->watching = false;
    }
    log_warn("postgres_set_aside", "to=%s.failed", pg->config.data_dir);
}

static const pg_step_fn aside_steps[] = {pg_job_need_stopped, aside_work};
static const struct pg_plan aside_plan = {
    .name = "set aside",
    .steps = aside_steps,
    .count = sizeof(aside_steps) / sizeof(aside_steps[0]),
};

void pg_set_aside(struct pg *pg, pg_done_cb cb, void *arg)
{
    pg_job_submit(pg_job_new(pg, &aside_plan, cb, arg));
}
