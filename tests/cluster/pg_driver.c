/* The PostgreSQL layer against real servers: three nodes on one machine, driven through pg.h as the
 * agent drives it. The process interface is implemented here directly (fork, exec, pidfd), so that
 * no guard is needed. As root it becomes the user postgres first. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "pg/pg.h"
#include "pg/pg_files.h"

#define BIN_DIR "/usr/lib/postgresql/15/bin"
#define NODES 3
#define DEADLINE_MS 60000

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #cond);         \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

struct node {
    char name[NAME_SIZE];
    char dir[PATH_SIZE];
    char data_dir[PATH_SIZE];
    char state_dir[PATH_SIZE];
    char pgpass[PATH_SIZE];
    uint16_t port;
    struct pg_config config;
    struct pg *pg;
    pid_t pid;
    int pidfd;
    bool child;
    uv_poll_t *poll;
    uint64_t changes;
    int starts; /* by us; adoption does not count */
    bool deaf;  /* to the next order to stop */
};

static uv_loop_t loop;
static char root_dir[PATH_SIZE];
static struct node nodes[NODES];

static void kill_all(struct node *node)
{
    if (node->pid > 1) {
        (void)kill(node->pid, SIGSTOP);
        for (int64_t pid; (pid = pg_proc_find(node->data_dir)) > 0;) {
            (void)kill((pid_t)pid, SIGKILL);
            (void)waitpid((pid_t)pid, NULL, 0); /* only the postmaster is our child */
        }
    }
}

static _Noreturn void fail(void)
{
    for (size_t i = 0; i < NODES; i++) {
        kill_all(&nodes[i]);
    }
    (void)fprintf(stderr, "files are kept in %s\n", root_dir);
    exit(1);
}

/* ---- the process interface ---- */

static void free_poll(uv_handle_t *handle)
{
    free(handle);
}

static void poll_end(struct node *node)
{
    if (node->poll != NULL) {
        (void)uv_poll_stop(node->poll);
        uv_close((uv_handle_t *)node->poll, free_poll);
        (void)close(node->pidfd);
        node->poll = NULL;
    }
}

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct node *node = poll->data;
    pid_t pid = node->pid;
    poll_end(node);
    if (node->child) {
        (void)waitpid(pid, NULL, 0);
    }
    for (int64_t orphan; (orphan = pg_proc_find(node->data_dir)) > 0;) {
        (void)kill((pid_t)orphan, SIGKILL);
        (void)sched_yield(); /* until the kernel is done with it: milliseconds */
    }
    node->pid = 0;
    if (node->pg != NULL) {
        pg_postmaster_exited(node->pg, pid);
    }
}

static void watch(struct node *node, pid_t pid, bool child)
{
    node->pid = pid;
    node->child = child;
    node->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(node->pidfd >= 0);
    node->poll = malloc(sizeof(*node->poll));
    CHECK(node->poll != NULL);
    CHECK(uv_poll_init(&loop, node->poll, node->pidfd) == 0);
    node->poll->data = node;
    CHECK(uv_poll_start(node->poll, UV_READABLE, on_pidfd) == 0);
}

static void started_later(uv_timer_t *timer)
{
    struct node *node = timer->data;
    struct pg_proc proc;
    uv_close((uv_handle_t *)timer, free_poll);
    bool there = pg_proc_stat(node->pid, &proc);
    pg_postmaster_started(node->pg, ERR_OK, node->pid, there ? proc.start_ticks : 0, NULL);
}

static void process_start(void *arg, const struct pg_process_start *request)
{
    struct node *node = arg;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)setsid();
        int log = open(request->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        (void)dup2(null, 0);
        (void)dup2(log, 1);
        (void)dup2(log, 2);
        union {
            const char *const *in;
            char *const *out;
        } argv = {.in = request->argv};
        (void)execv(request->argv[0], argv.out);
        _exit(127);
    }
    node->starts++;
    watch(node, pid, true);
    uv_timer_t *timer = malloc(sizeof(*timer));
    CHECK(timer != NULL && uv_timer_init(&loop, timer) == 0);
    timer->data = node;
    CHECK(uv_timer_start(timer, started_later, 0, 0) == 0);
}

static void process_adopt(void *arg, int64_t pid, uint64_t start_ticks)
{
    struct node *node = arg;
    (void)start_ticks;
    if (node->pid != (pid_t)pid) {
        watch(node, (pid_t)pid, false);
    }
}

static void process_stop(void *arg, bool hard)
{
    struct node *node = arg;
    if (node->deaf) { /* as a guard that dies before it reads */
        node->deaf = false;
        return;
    }
    if (node->pid <= 1) {
        return;
    }
    if (!hard) {
        (void)kill(node->pid, SIGINT);
        return;
    }
    (void)kill(node->pid, SIGSTOP);
    for (int64_t pid; (pid = pg_proc_find(node->data_dir)) > 0 && pid != node->pid;) {
        (void)kill((pid_t)pid, SIGKILL);
    }
    (void)kill(node->pid, SIGKILL);
}

/* ---- waiting ---- */

struct wait {
    bool done;
    enum err err;
    struct err_detail detail;
    enum core_divergence divergence;
    struct core_postgres facts;
};

static void on_done(enum err err, const struct err_detail *detail, void *arg)
{
    struct wait *wait = arg;
    CHECK(!wait->done);
    wait->done = true;
    uv_stop(&loop); /* the turn may still wait for other events */
    wait->err = err;
    wait->detail = *detail;
}

static void on_checked(enum err err, enum core_divergence divergence,
                       const struct err_detail *detail, void *arg)
{
    struct wait *wait = arg;
    on_done(err, detail, arg);
    wait->divergence = divergence;
}

static void on_facts(const struct core_postgres *facts, const struct pg_details *details, void *arg)
{
    struct wait *wait = arg;
    (void)details;
    CHECK(!wait->done);
    wait->done = true;
    uv_stop(&loop); /* the turn may still wait for other events */
    wait->facts = *facts;
}

static const char *waiting_for = "";

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    (void)fprintf(stderr, "deadline passed: %s\n", waiting_for);
    fail();
}

static void wait_for(const bool *done)
{
    static uv_timer_t timer;
    CHECK(uv_timer_init(&loop, &timer) == 0);
    CHECK(uv_timer_start(&timer, on_deadline, DEADLINE_MS, 0) == 0);
    while (!*done) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void on_turn(uv_timer_t *timer)
{
    bool *done = timer->data;
    *done = true;
    uv_stop(&loop);
}

static void on_turn_closed(uv_handle_t *handle)
{
    bool *done = handle->data;
    *done = true;
}

/* Lets the loop run on until the next look at a condition that has a deadline. */
static void turn(void)
{
    bool done = false;
    uv_timer_t timer;
    CHECK(uv_timer_init(&loop, &timer) == 0);
    timer.data = &done;
    CHECK(uv_timer_start(&timer, on_turn, 20, 20) == 0);
    while (!done) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    done = false;
    uv_close((uv_handle_t *)&timer, on_turn_closed);
    while (!done) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
}

/* Its arguments are a name and a call, not expressions. NOLINTBEGIN(bugprone-macro-parentheses) */
#define AWAIT(wait_name, call)                                                                     \
    struct wait wait_name = {0};                                                                   \
    call;                                                                                          \
    waiting_for = #call;                                                                           \
    wait_for(&wait_name.done);                                                                     \
    if (wait_name.err != ERR_OK) {                                                                 \
        (void)fprintf(stderr, "%s: %s: %s\n", #call, err_name(wait_name.err),                      \
                      wait_name.detail.text);                                                      \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

#define MUST(call_with_w)                                                                          \
    do {                                                                                           \
        AWAIT(w, call_with_w)                                                                      \
        CHECK(w.err == ERR_OK);                                                                    \
    } while (0)

static struct core_postgres facts_of(struct node *node)
{
    AWAIT(w, pg_probe(node->pg, 2000, on_facts, &w))
    return w.facts;
}

/* Probes until the question is answered with yes. */
static struct core_postgres facts_until(struct node *node,
                                        bool (*question)(const struct core_postgres *facts))
{
    int64_t deadline = mono_now().ms + DEADLINE_MS;
    for (;;) {
        struct core_postgres facts = facts_of(node);
        if (question(&facts)) {
            return facts;
        }
        CHECK(mono_now().ms < deadline);
        turn();
    }
}

static bool is_primary(const struct core_postgres *facts)
{
    return facts->accepting == TRI_YES && facts->primary == TRI_YES;
}

static bool is_streaming(const struct core_postgres *facts)
{
    return facts->accepting == TRI_YES && facts->primary == TRI_NO && facts->streaming;
}

static bool is_gone(const struct core_postgres *facts)
{
    return facts->process == TRI_NO;
}

/* ---- SQL of the test's own ---- */

static PGconn *sql_open(struct node *node, const char *user, const char *password)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", node->port);
    const char *const keys[] = {"host", "port", "dbname", "user", "password", "connect_timeout",
                                NULL};
    const char *const values[] = {"127.0.0.1", port, "postgres", user, password, "5", NULL};
    return PQconnectdbParams(keys, values, 0);
}

static bool sql_try(struct node *node, const char *sql, char *out, size_t out_size)
{
    PGconn *conn = sql_open(node, "admin", "s3cr'et\\pw");
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (!ok) {
        (void)fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
    }
    if (out != NULL) {
        str_copy_cut(out, out_size, ok && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    }
    PQclear(result);
    PQfinish(conn);
    return ok;
}

static void sql_do(struct node *node, const char *sql)
{
    CHECK(sql_try(node, sql, NULL, 0));
}

static int64_t sql_number(struct node *node, const char *sql)
{
    char text[64];
    int64_t number = 0;
    CHECK(sql_try(node, sql, text, sizeof(text)));
    CHECK(str_to_i64(text, &number));
    return number;
}

static void rows_until(struct node *node, int64_t wanted)
{
    int64_t deadline = mono_now().ms + DEADLINE_MS;
    while (sql_number(node, "SELECT count(*) FROM t") != wanted) {
        CHECK(mono_now().ms < deadline);
        turn();
    }
}

/* ---- set-up ---- */

static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    CHECK(bind(fd, (struct sockaddr *)&address, size) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static const char *const hba[] = {
    "local all all scram-sha-256",
    "host all all 127.0.0.1/32 scram-sha-256",
    "host replication replicator 127.0.0.1/32 scram-sha-256",
};
static const char *const initdb_options[] = {"--encoding=UTF8", "--data-checksums", "--locale=C"};

static struct pg_parameter parameters[] = {
    {"unix_socket_directories", NULL}, {"shared_buffers", "16MB"}, {"log_statement", "all"},
    {"log_min_messages", "info"},      {"max_wal_size", "256MB"},
};
static struct pg_parameter bad_parameters[] = {
    {"unix_socket_directories", NULL},
    {"shared_buffers", "lots of it"},
};
static const struct pg_parameter controlled[] = {
    {"wal_level", "hot_standby"},
    {"max_connections", "50"},
    {"wal_keep_size", "64MB"},
};

static void on_changed(void *arg)
{
    struct node *node = arg;
    node->changes++;
}

static void node_create(struct node *node)
{
    static const struct pg_process process = {
        .start = process_start, .adopt = process_adopt, .stop = process_stop};
    struct pg_process own = process;
    own.arg = node;
    CHECK(pg_create(&loop, &node->config, &own, on_changed, node, &node->pg) == ERR_OK);
}

static void on_destroyed(void *arg)
{
    bool *done = arg;
    *done = true;
    uv_stop(&loop);
}

/* The struct goes; the server and our watch of it stay or go as told. */
static void node_destroy(struct node *node)
{
    bool done = false;
    struct pg *pg = node->pg;
    node->pg = NULL;
    pg_destroy(pg, on_destroyed, &done);
    wait_for(&done);
}

static void node_init(struct node *node, int number)
{
    (void)snprintf(node->name, sizeof(node->name), "node-%d", number);
    CHECK(str_format(node->dir, sizeof(node->dir), "%.900s/n%d", root_dir, number));
    CHECK(str_format(node->data_dir, sizeof(node->data_dir), "%.900s/n%d/data", root_dir, number));
    CHECK(
        str_format(node->state_dir, sizeof(node->state_dir), "%.900s/n%d/state", root_dir, number));
    CHECK(str_format(node->pgpass, sizeof(node->pgpass), "%.900s/n%d/pgpass", root_dir, number));
    CHECK(mkdir(node->dir, 0700) == 0);
    node->port = free_port();
    node->config = (struct pg_config){
        .scope = "demo",
        .name = node->name,
        .listen_addresses = "127.0.0.1",
        .port = node->port,
        .connect_host = "127.0.0.1",
        .connect_port = node->port,
        .data_dir = node->data_dir,
        .bin_dir = BIN_DIR,
        .state_dir = node->state_dir,
        .pgpass = node->pgpass,
        .database = "postgres",
        .superuser = {.username = "admin", .password = "s3cr'et\\pw"},
        .replication = {.username = "replicator", .password = "re:pl"},
        .rewind = {.username = "rewinder", .password = "rewpw"},
        .parameters = parameters,
        .parameter_count = sizeof(parameters) / sizeof(parameters[0]),
        .controlled = controlled,
        .controlled_count = sizeof(controlled) / sizeof(controlled[0]),
        .pg_hba = hba,
        .pg_hba_count = sizeof(hba) / sizeof(hba[0]),
        .initdb_options = initdb_options,
        .initdb_option_count = sizeof(initdb_options) / sizeof(initdb_options[0]),
        .use_slots = true,
        .set_aside_max_bytes = INT64_C(1) << 30,
        .pg_ctl_timeout_ms = 30000,
    };
    node_create(node);
}

static struct pg_source source_of(const struct node *node)
{
    struct pg_source source = {.port = node->port};
    str_copy_cut(source.name, sizeof(source.name), node->name);
    str_copy_cut(source.host, sizeof(source.host), "localhost");
    str_copy_cut(source.dbname, sizeof(source.dbname), "postgres");
    return source;
}

static void become_postgres(void)
{
    if (geteuid() != 0) {
        return;
    }
    const struct passwd *user = getpwnam("postgres");
    CHECK(user != NULL);
    uid_t uid = user->pw_uid;
    gid_t gid = user->pw_gid;
    CHECK(initgroups("postgres", gid) == 0 && setgid(gid) == 0 && setuid(uid) == 0);
    (void)setenv("HOME", "/var/empty", 1);
}

/* ---- the story ---- */

static bool file_holds(const char *path, const char *text)
{
    const size_t size = 8 * 1024 * 1024;
    AUTO_FREE char *content = malloc(size);
    CHECK(content != NULL);
    return pg_file_read(path, content, size) && strstr(content, text) != NULL;
}

static void test_bootstrap(struct node *node)
{
    struct core_postgres facts = facts_of(node);
    CHECK(facts.datadir == CORE_DATADIR_EMPTY && facts.process == TRI_NO);
    MUST(pg_initdb(node->pg, on_done, &w));
    facts = facts_of(node);
    CHECK(facts.datadir == CORE_DATADIR_USABLE && facts.setup_pending && facts.sysid != 0);
    CHECK(facts.control == CORE_CONTROL_SHUT_DOWN && facts.shutdown_lsn != 0);
    int64_t t0 = mono_now().ms;
    MUST(pg_start_primary(node->pg, on_done, &w));
    (void)printf("start of a primary: %" PRId64 " ms\n", mono_now().ms - t0);
    facts = facts_of(node);
    CHECK(is_primary(&facts) && facts.timeline == 1 && facts.lsn > 0 && facts.incarnation != 0);
    CHECK(facts.timeline_checkpointed);
    MUST(pg_setup(node->pg, on_done, &w));
    MUST(pg_setup(node->pg, on_done, &w));
    CHECK(!facts_of(node).setup_pending);
    char log[PATH_SIZE];
    CHECK(str_format(log, sizeof(log), "%.900s/postgresql.log", node->state_dir));
    CHECK(file_holds(log, "statement: ") && !file_holds(log, "re:pl") && !file_holds(log, "rewpw"));
    CHECK(sql_number(node, "SELECT count(*) FROM pg_roles WHERE rolname = 'replicator' AND "
                           "rolreplication AND NOT rolsuper") == 1);
    CHECK(sql_number(node, "SELECT has_function_privilege('rewinder', "
                           "'pg_read_binary_file(text)', 'EXECUTE')::int") == 1);
    CHECK(sql_number(node, "SELECT setting FROM pg_settings WHERE name = 'max_connections'") == 50);
    sql_do(node, "CREATE TABLE t(i int); INSERT INTO t SELECT generate_series(1, 100)");
    (void)printf("bootstrap: ok\n");
}

static void test_clone(struct node *from, struct node *to)
{
    struct pg_source source = source_of(from);
    /* enough data for the progress to be seen */
    MUST(pg_clone(to->pg, &source, on_done, &w));
    struct core_postgres facts = facts_of(to);
    CHECK(facts.datadir == CORE_DATADIR_USABLE && facts.process == TRI_NO);
    int64_t t0 = mono_now().ms;
    MUST(pg_start_replica(to->pg, &source, on_done, &w));
    (void)printf("start of a replica: %" PRId64 " ms\n", mono_now().ms - t0);
    facts = facts_until(to, is_streaming);
    CHECK(str_equal(facts.upstream, from->name) && facts.timeline >= 1);
    CHECK(str_equal(pg_details(to->pg)->replication_state, "streaming"));
    struct stat st;
    CHECK(stat(to->pgpass, &st) == 0 && (st.st_mode & 0777) == 0600);
    char conf[PATH_SIZE];
    CHECK(str_format(conf, sizeof(conf), "%.900s/postgresql.conf", to->data_dir));
    CHECK(file_holds(conf, "wal_retrieve_retry_interval = '200ms'"));
    CHECK(!file_holds(conf, "re:pl") && file_holds(conf, "passfile="));
    rows_until(to, sql_number(from, "SELECT count(*) FROM t"));
    (void)printf("clone of %s from %s: ok\n", to->name, from->name);
}

static void test_slots(struct node *node)
{
    struct core_name_list members = {.count = NODES};
    for (size_t i = 0; i < NODES; i++) {
        str_copy_cut(members.name[i], NAME_SIZE, nodes[i].name);
    }
    pg_set_members(node->pg, &members);
    int64_t deadline = mono_now().ms + DEADLINE_MS;
    while (sql_number(node,
                      "SELECT count(*) FROM pg_replication_slots WHERE slot_name IN "
                      "('node_1', 'node_2', 'node_3') AND restart_lsn IS NOT NULL") < NODES - 1) {
        (void)facts_of(node);
        CHECK(mono_now().ms < deadline);
    }
    (void)printf("slots on %s: ok\n", node->name);
}

static void test_idle_cost(struct node *node)
{
    struct timespec before;
    struct timespec after;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    const int rounds = 200;
    int64_t t0 = mono_now().ms;
    for (int i = 0; i < rounds; i++) {
        (void)facts_of(node);
    }
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double us = (double)(after.tv_sec - before.tv_sec) * 1e6 +
                (double)(after.tv_nsec - before.tv_nsec) / 1e3;
    (void)printf("probe: %.0f us of our CPU, %.2f ms each\n", us / rounds,
                 (double)(mono_now().ms - t0) / rounds);
}

/* An agent that starts beside a server that hangs has only its files to tell its role by (INV-1). */
static void test_adopt_hanging(struct node *node, enum tri primary)
{
    pid_t pid = node->pid;
    node_destroy(node);
    CHECK(kill(pid, SIGSTOP) == 0);
    node_create(node);
    struct core_postgres facts = facts_of(node);
    CHECK(facts.process == TRI_YES && facts.accepting == TRI_UNKNOWN);
    CHECK(facts.primary == primary);
    CHECK(kill(pid, SIGCONT) == 0);
    facts = facts_until(node, primary == TRI_YES ? is_primary : is_streaming);
    (void)printf("adoption of hanging %s: ok\n", node->name);
}

static void test_adopt(struct node *node, enum tri primary)
{
    pid_t pid = node->pid;
    int starts = node->starts;
    uint64_t incarnation = facts_of(node).incarnation;
    node_destroy(node);
    CHECK(kill(pid, 0) == 0);
    node_create(node);
    struct core_postgres facts = facts_of(node);
    CHECK(facts.accepting == TRI_YES && facts.incarnation == incarnation);
    CHECK(node->pid == pid && node->starts == starts);
    (void)printf("adoption of %s: ok\n", node->name);
    test_adopt_hanging(node, primary);
}

static void test_follow(struct node *node, struct node *upstream)
{
    pid_t pid = node->pid;
    struct pg_source source = source_of(upstream);
    MUST(pg_follow(node->pg, &source, on_done, &w));
    struct core_postgres facts = facts_until(node, is_streaming);
    CHECK(str_equal(facts.upstream, upstream->name) && node->pid == pid);
    int64_t deadline = mono_now().ms + DEADLINE_MS;
    char sql[256];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT count(*) FROM pg_stat_wal_receiver WHERE sender_port = %u",
                   upstream->port);
    while (sql_number(node, sql) != 1) {
        CHECK(mono_now().ms < deadline);
        turn();
    }
    (void)printf("%s follows %s, same pid: ok\n", node->name, upstream->name);
}

static void test_promote(struct node *node)
{
    int64_t t0 = mono_now().ms;
    MUST(pg_promote(node->pg, on_done, &w));
    int64_t t1 = mono_now().ms;
    sql_do(node, "INSERT INTO t VALUES (-1)");
    (void)printf("promote: %" PRId64 " ms to the callback, %" PRId64
                 " ms to a first write (its connection included)\n",
                 t1 - t0, mono_now().ms - t0);
    struct core_postgres facts = facts_of(node);
    CHECK(is_primary(&facts));
    MUST(pg_checkpoint(node->pg, on_done, &w));
    CHECK(facts_of(node).timeline_checkpointed);
}

static void test_stop(struct node *node, enum pg_stop_mode mode)
{
    uint64_t changes = node->changes;
    int64_t t0 = mono_now().ms;
    MUST(pg_stop(node->pg, mode, on_done, &w));
    (void)printf("%s stop: %" PRId64 " ms\n", mode == PG_STOP_FAST ? "fast" : "hard",
                 mono_now().ms - t0);
    struct core_postgres facts = facts_of(node);
    CHECK(facts.process == TRI_NO && facts.accepting == TRI_NO && facts.primary == TRI_NO);
    CHECK(pg_proc_find(node->data_dir) == 0);
    CHECK(node->changes > changes);
    if (mode == PG_STOP_FAST) {
        CHECK(facts.control == CORE_CONTROL_SHUT_DOWN ||
              facts.control == CORE_CONTROL_SHUT_DOWN_IN_RECOVERY);
    } else {
        CHECK(facts.control == CORE_CONTROL_IN_PRODUCTION ||
              facts.control == CORE_CONTROL_IN_ARCHIVE_RECOVERY);
    }
}

static enum core_divergence divergence(struct node *node, struct node *source_node)
{
    struct pg_source source = source_of(source_node);
    AWAIT(w, pg_check_divergence(node->pg, &source, on_checked, &w))
    CHECK(w.err == ERR_OK);
    return w.divergence;
}

static int server_major(struct node *node)
{
    return (int)(sql_number(node, "SELECT current_setting('server_version_num')") / 10000);
}

static void test_killed(struct node *node)
{
    uint64_t changes = node->changes;
    uint64_t incarnation = facts_of(node).incarnation;
    (void)kill(node->pid, SIGKILL);
    (void)facts_until(node, is_gone);
    CHECK(node->changes > changes && str_equal(pg_details(node->pg)->state, "crashed"));
    int64_t t0 = mono_now().ms;
    MUST(pg_start_primary(node->pg, on_done, &w));
    (void)printf("restart after SIGKILL: %" PRId64 " ms\n", mono_now().ms - t0);
    struct core_postgres facts = facts_of(node);
    CHECK(is_primary(&facts) && facts.incarnation != incarnation);
    CHECK(sql_number(node, "SELECT count(*) FROM pg_settings WHERE name = "
                           "'recovery_init_sync_method' AND setting = 'syncfs'") ==
          (server_major(node) >= 14 ? 1 : 0));
}

/* The old primary writes what nobody else gets, crashes, and comes back by pg_rewind. */
static void test_rewind(struct node *old, struct node *new)
{
    struct pg_source source = source_of(new);
    waiting_for = "rewind";
    CHECK(divergence(old, new) == CORE_DIVERGENCE_DIVERGED);
    MUST(pg_rewind(old->pg, &source, on_done, &w));
    char sets[PATH_SIZE];
    CHECK(str_format(sets, sizeof(sets), "%.900s/wal-set-aside", old->state_dir));
    uv_fs_t request;
    CHECK(uv_fs_scandir(NULL, &request, sets, 0, NULL) == 1);
    uv_dirent_t entry;
    CHECK(uv_fs_scandir_next(&request, &entry) == 0);
    char report[PATH_SIZE];
    CHECK(str_format(report, sizeof(report), "%.700s/%.200s/report.txt", sets, entry.name));
    CHECK(file_holds(report, "transactions: 3\n") && file_holds(report, "complete: yes"));
    CHECK(uv_fs_scandir_next(&request, &entry) == UV_EOF);
    uv_fs_req_cleanup(&request);
    MUST(pg_start_replica(old->pg, &source, on_done, &w));
    (void)facts_until(old, is_streaming);
    rows_until(old, sql_number(new, "SELECT count(*) FROM t"));
    CHECK(sql_number(old, "SELECT count(*) FROM t WHERE i BETWEEN 1001 AND 1003") == 0);
    CHECK(divergence(old, new) == CORE_DIVERGENCE_NONE);
    (void)printf("rewind of %s: ok\n", old->name);
}

static void test_bad_start(struct node *node)
{
    struct pg_config bad = node->config;
    bad.parameters = bad_parameters;
    bad.parameter_count = sizeof(bad_parameters) / sizeof(bad_parameters[0]);
    pg_reconfigure(node->pg, &bad);
    struct pg_source source = source_of(&nodes[1]);
    AWAIT(w, pg_start_replica(node->pg, &source, on_done, &w))
    CHECK(w.err == ERR_REFUSED && strstr(w.detail.text, "shared_buffers") != NULL);
    CHECK(strstr(pg_details(node->pg)->last_error, "shared_buffers") != NULL);
    CHECK(str_equal(pg_details(node->pg)->state, "start failed"));
    CHECK(facts_of(node).process == TRI_NO);
    pg_reconfigure(node->pg, &node->config);
    (void)printf("server that does not start: ok\n");
}

static void test_wrong_password(struct node *node)
{
    struct pg_source source = source_of(&nodes[1]);
    struct pg_config bad = node->config;
    bad.replication.password = "wrong";
    pg_reconfigure(node->pg, &bad);
    AWAIT(w, pg_clone(node->pg, &source, on_done, &w))
    CHECK(w.err == ERR_REFUSED && strstr(w.detail.text, "password authentication failed") != NULL);
    CHECK(strstr(w.detail.text, "wrong") == NULL);
    /* what was there is still there */
    CHECK(facts_of(node).datadir == CORE_DATADIR_USABLE);
    pg_reconfigure(node->pg, &node->config);
    (void)printf("wrong password: ok\n");
}

static void test_stop_cancels_clone(struct node *node)
{
    struct pg_source source = source_of(&nodes[1]);
    struct wait clone = {0};
    struct wait stop = {0};
    pg_clone(node->pg, &source, on_done, &clone);
    int64_t deadline = mono_now().ms + DEADLINE_MS;
    while (pg_details(node->pg)->progress_done_bytes < 0 && !clone.done) {
        (void)uv_run(&loop, UV_RUN_ONCE);
        CHECK(mono_now().ms < deadline);
    }
    pg_stop(node->pg, PG_STOP_HARD, on_done, &stop);
    waiting_for = "stop of a clone";
    wait_for(&stop.done);
    CHECK(clone.done && clone.err == ERR_CANCELED && stop.err == ERR_OK);
    CHECK(facts_of(node).datadir == CORE_DATADIR_EMPTY);
    (void)printf("stop cancels a clone: ok\n");
}

/* The start's callback comes first, and nothing of it is left running. */
static void test_stop_overrides_start(struct node *node, struct node *upstream)
{
    struct pg_source source = source_of(upstream);
    for (int turns = 0; turns < 8; turns++) {
        struct wait start = {0};
        struct wait stop = {0};
        pg_start_replica(node->pg, &source, on_done, &start);
        for (int i = 0; i < turns && !start.done; i++) {
            (void)uv_run(&loop, UV_RUN_ONCE);
        }
        pg_stop(node->pg, PG_STOP_FAST, on_done, &stop);
        CHECK(!stop.done);
        waiting_for = "stop of a start";
        wait_for(&stop.done);
        CHECK(start.done && start.err != ERR_REFUSED && stop.err == ERR_OK);
        CHECK(facts_of(node).process == TRI_NO && pg_proc_find(node->data_dir) == 0);
    }
    (void)printf("stop overrides a start: ok\n");
}

static void test_reconfigure(struct node *node)
{
    static struct pg_parameter changed[8];
    struct pg_config config = node->config;
    memcpy(changed, parameters, sizeof(parameters));
    size_t count = sizeof(parameters) / sizeof(parameters[0]);
    changed[count] = (struct pg_parameter){"work_mem", "7MB"};
    config.parameters = changed;
    config.parameter_count = count + 1;
    pg_reconfigure(node->pg, &config);
    int64_t deadline = mono_now().ms + DEADLINE_MS;
    while (sql_number(node, "SELECT setting FROM pg_settings WHERE name = 'work_mem'") != 7168) {
        CHECK(mono_now().ms < deadline);
        turn();
    }
    (void)printf("reload: ok\n");
}

static void story(void)
{
    struct node *a = &nodes[0];
    struct node *b = &nodes[1];
    struct node *c = &nodes[2];
    struct wait refused = {0};
    test_bootstrap(a);
    test_clone(a, b);
    test_clone(a, c);
    test_slots(a);
    test_slots(b);
    test_slots(c);
    test_idle_cost(a);
    test_idle_cost(b);
    test_adopt(a, TRI_YES);
    test_adopt(b, TRI_NO);
    test_reconfigure(a);
    test_killed(a);
    test_follow(c, b);
    test_follow(c, a);
    /* a graceful switch: a stops, b has it all; a follows without a rewind */
    (void)facts_until(b, is_streaming);
    rows_until(b, sql_number(a, "SELECT count(*) FROM t"));
    test_stop(a, PG_STOP_FAST);
    test_promote(b);
    CHECK(divergence(a, b) == CORE_DIVERGENCE_NONE);
    struct pg_source source_b = source_of(b);
    MUST(pg_start_replica(a->pg, &source_b, on_done, &w));
    (void)facts_until(a, is_streaming);
    test_follow(c, b);
    CHECK(facts_until(a, is_streaming).timeline == 2);
    /* one action at a time */
    pg_follow(a->pg, &source_b, on_done, &refused);
    AWAIT(second, pg_checkpoint(a->pg, on_done, &second))
    CHECK(second.err == ERR_REFUSED);
    wait_for(&refused.done);
    CHECK(refused.err == ERR_OK);
    /* a fork: b goes on alone for three transactions after c was promoted */
    rows_until(c, sql_number(b, "SELECT count(*) FROM t"));
    test_promote(c);
    sql_do(b, "INSERT INTO t VALUES (1001)");
    sql_do(b, "INSERT INTO t VALUES (1002)");
    sql_do(b, "INSERT INTO t VALUES (1003)");
    test_stop(b, PG_STOP_HARD);
    test_rewind(b, c);
    /* the last resort: a is made to diverge too, and is cloned over */
    test_stop(c, PG_STOP_FAST);
    test_promote(b);
    MUST(pg_promote(a->pg, on_done, &w));
    sql_do(a, "INSERT INTO t VALUES (2001)");
    test_stop(a, PG_STOP_FAST);
    test_wrong_password(a);
    CHECK(divergence(a, b) == CORE_DIVERGENCE_DIVERGED);
    test_clone(b, a);
    CHECK(sql_number(a, "SELECT count(*) FROM t WHERE i = 2001") == 0);
    char sets[PATH_SIZE];
    CHECK(str_format(sets, sizeof(sets), "%.900s/wal-set-aside", a->state_dir));
    int sys_errno = 0;
    CHECK(!pg_dir_empty(sets, &sys_errno) && sys_errno == 0);
    test_stop(a, PG_STOP_FAST);
    test_stop_overrides_start(a, b);
    test_bad_start(c);
    MUST(pg_set_aside(c->pg, on_done, &w));
    CHECK(facts_of(c).datadir == CORE_DATADIR_EMPTY);
    test_stop_cancels_clone(c);
    b->deaf = true;
    test_stop(b, PG_STOP_FAST); /* told again after a second */
    CHECK(!b->deaf);
}

int main(void)
{
    become_postgres();
    log_set_level(LOG_LEVEL_DEBUG);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(uv_loop_init(&loop) == 0);
    str_copy_cut(root_dir, sizeof(root_dir), "/tmp/holdfast-pg-XXXXXX");
    CHECK(mkdtemp(root_dir) != NULL);
    parameters[0].value = root_dir;
    bad_parameters[0].value = root_dir;
    for (int i = 0; i < NODES; i++) {
        node_init(&nodes[i], i + 1);
    }
    story();
    for (size_t i = 0; i < NODES; i++) {
        node_destroy(&nodes[i]);
        kill_all(&nodes[i]);
        poll_end(&nodes[i]);
    }
    CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&loop) == 0);
    CHECK(pg_dir_clear(root_dir, NULL) == ERR_OK && rmdir(root_dir) == 0);
    (void)printf("all: ok\n");
    return 0;
}
