/* The smallest agent there can be: it obeys lines from its standard input, tells what it sees on
 * its standard output ("PID word key=value ..."), beats, renews a lease when told to, and replaces
 * a guard that died or froze. A successor goes on with the lease that it finds in the page, as a
 * real one. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"
#include "base/time.h"
#include "guard/client.h"

#define LOOP_MS 20
#define LINE_MAX_BYTES 8192
#define WORDS_MAX 80

static struct guard_client client;
static char **own_argv;
static bool renewing;
static bool beating = true;
static bool replacing = true;
static struct mono renewed_at;
static volatile sig_atomic_t got_term;
static volatile sig_atomic_t got_hup;

static void on_signal(int number)
{
    if (number == SIGTERM) {
        got_term = 1;
    } else {
        got_hup = 1;
    }
}

static void PRINTF_LIKE(1, 2) say(const char *format, ...)
{
    char line[1024];
    int used = snprintf(line, sizeof(line), "%d ", getpid());
    va_list args;
    va_start(args, format);
    used += vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
    va_end(args);
    line[used++] = '\n';
    (void)!write(STDOUT_FILENO, line, (size_t)used); /* the test that is gone reads nothing */
}

static void lease_renew(int64_t ttl_ms, uint64_t epoch)
{
    struct page_lease lease;
    page_lease_read(client.page, &lease);
    renewed_at = mono_now();
    lease = (struct page_lease){.deadline = mono_add(renewed_at, ttl_ms),
                                .ttl_ms = ttl_ms,
                                .epoch = epoch,
                                .seq = lease.seq + 1};
    page_lease_write(client.page, &lease);
}

static void lease_show(const char *word)
{
    struct page_lease lease;
    page_lease_read(client.page, &lease);
    say("%s deadline=%lld ttl=%lld epoch=%llu seq=%llu", word, (long long)lease.deadline.ms,
        (long long)lease.ttl_ms, (unsigned long long)lease.epoch, (unsigned long long)lease.seq);
}

static void lease_tick(struct mono now)
{
    struct page_lease lease;
    page_lease_read(client.page, &lease);
    if (renewing && mono_sub(now, renewed_at) >= lease.ttl_ms / 4) {
        lease_renew(lease.ttl_ms, lease.epoch);
    }
}

static void show(const union control_packet *packet)
{
    switch ((enum control_type)packet->head.type) {
    case CONTROL_HELLO:
        say("hello guard=%lld priority=%u/%d locked=%u armed=%llu fence=%u postmaster=%lld "
            "child=%u "
            "exit_pid=%lld exit_status=%lld restarts=%u version=%s",
            (long long)packet->hello.guard_pid, packet->hello.priority,
            packet->hello.priority_value, packet->hello.memory_locked,
            (unsigned long long)packet->hello.armed_epoch, packet->hello.fence,
            (long long)packet->hello.postmaster_pid, packet->hello.postmaster_child,
            (long long)packet->hello.exit_pid, (long long)packet->hello.exit_status,
            packet->hello.agent_restarts, packet->hello.guard_version);
        break;
    case CONTROL_DONE:
        say("done id=%u", packet->head.id);
        break;
    case CONTROL_REFUSED:
        say("refused id=%u err=%d errno=%d text=%s", packet->head.id, packet->refused.err,
            packet->refused.sys_errno, packet->refused.text);
        break;
    case CONTROL_STARTED:
        say("started id=%u pid=%lld ticks=%llu", packet->head.id, (long long)packet->started.pid,
            (unsigned long long)packet->started.start_ticks);
        break;
    case CONTROL_EXITED:
        say("exited pid=%lld status=%lld killed=%llu left=%u reaped=%u at=%lld",
            (long long)packet->exited.pid, (long long)packet->exited.status,
            (unsigned long long)packet->exited.orphans_killed, packet->exited.orphans_left,
            packet->exited.reaped, (long long)mono_now().ms);
        break;
    case CONTROL_FENCED:
        say("fenced stage=%u epoch=%llu at=%lld", packet->fenced.stage,
            (unsigned long long)packet->fenced.epoch, (long long)packet->fenced.at_ms);
        break;
    case CONTROL_UPGRADE:
        say("upgrade");
        break;
    case CONTROL_NONE:
    case CONTROL_PING:
    case CONTROL_START:
    case CONTROL_ADOPT:
    case CONTROL_ARM:
    case CONTROL_DISARM:
    case CONTROL_STOP:
    case CONTROL_LEAVING:
    case CONTROL_TYPE_COUNT:
        say("unknown type=%u", packet->head.type);
        break;
    }
}

static int64_t number(char **words, size_t count, size_t at)
{
    int64_t value = 0;
    if (at >= count || !str_to_i64(words[at], &value)) {
        say("bad_number");
    }
    return value;
}

static enum err obey_start(char **words, size_t count, struct err_detail *detail)
{
    if (count < 5) {
        return ERR_INVALID;
    }
    const char *argv[WORDS_MAX + 1];
    size_t used = 0;
    for (size_t i = 4; i < count; i++) {
        argv[used++] = words[i];
    }
    argv[used] = NULL;
    const struct guard_client_start start = {.argv = argv,
                                             .data_dir = words[3],
                                             .log_path = words[2],
                                             .armed_epoch = (uint64_t)number(words, count, 1)};
    return guard_client_start(&client, &start, NULL, detail);
}

static enum err obey_guard(char **words, size_t count, struct err_detail *detail)
{
    uint64_t first = count > 1 && words[1][0] >= '0' && words[1][0] <= '9'
                         ? (uint64_t)number(words, count, 1)
                         : 0;
    if (str_equal(words[0], "arm")) {
        return guard_client_arm(&client, first, NULL, detail);
    }
    if (str_equal(words[0], "disarm")) {
        return guard_client_disarm(&client, first, count > 2, NULL, detail);
    }
    if (str_equal(words[0], "ping")) {
        return guard_client_ping(&client, NULL, detail);
    }
    if (str_equal(words[0], "stop")) {
        bool hard = count > 1 && str_equal(words[1], "hard");
        return guard_client_stop(&client, hard ? CONTROL_STOP_HARD : CONTROL_STOP_FAST, NULL,
                                 detail);
    }
    if (str_equal(words[0], "adopt")) {
        return guard_client_adopt(&client, (pid_t)first, (uint64_t)number(words, count, 2), NULL,
                                  detail);
    }
    if (str_equal(words[0], "start")) {
        return obey_start(words, count, detail);
    }
    if (str_equal(words[0], "leave")) {
        enum err err = guard_client_leaving(&client, (int)first, count > 2, NULL, detail);
        if (err == ERR_OK) {
            _exit((int)first);
        }
        return err;
    }
    return err_set(detail, ERR_INVALID, "unknown word %s", words[0]);
}

static void obey(char **words, size_t count)
{
    struct err_detail detail = {.sys_errno = 0};
    if (str_equal(words[0], "lease")) {
        renewing = true;
        lease_renew(number(words, count, 1), (uint64_t)number(words, count, 2));
        lease_show("lease");
    } else if (str_equal(words[0], "hold")) { /* no renewal any more */
        renewing = false;
        lease_show("held");
    } else if (str_equal(words[0], "zero")) {
        renewing = false;
        page_lease_write(client.page, &(struct page_lease){.ttl_ms = number(words, count, 1),
                                                           .epoch = UINT64_MAX >> 1});
        say("zeroed at=%lld", (long long)mono_now().ms);
    } else if (str_equal(words[0], "mute")) {
        beating = false;
        say("muted");
    } else if (str_equal(words[0], "replace")) {
        replacing = count > 1 && str_equal(words[1], "on");
        say("replacing on=%d", replacing);
    } else if (str_equal(words[0], "exit")) {
        _exit((int)number(words, count, 1));
    } else if (obey_guard(words, count, &detail) != ERR_OK) {
        say("failed %s", detail.text);
    }
}

static void obey_line(char *line)
{
    char *words[WORDS_MAX + 1];
    size_t count = 0;
    char *rest = line;
    char *word;
    while (count < WORDS_MAX && (word = strsep(&rest, " ")) != NULL) {
        if (word[0] != '\0') {
            words[count++] = word;
        }
    }
    words[count] = NULL;
    if (count > 0) {
        obey(words, count);
    }
}

static void read_lines(void)
{
    static char buffer[LINE_MAX_BYTES];
    static size_t used;
    ssize_t got = read(STDIN_FILENO, buffer + used, sizeof(buffer) - used - 1);
    if (got <= 0) {
        _exit(1); /* the test is gone; the guard will follow it */
    }
    used += (size_t)got;
    char *end;
    while ((end = memchr(buffer, '\n', used)) != NULL) {
        *end = '\0';
        obey_line(buffer);
        size_t line_size = (size_t)(end - buffer) + 1;
        used -= line_size;
        memmove(buffer, end + 1, used);
    }
}

static void replace_guard(const char *why)
{
    struct err_detail detail;
    say("guard_lost why=%s", why);
    page_guard_beat(client.page, mono_now()); /* the new one gets its time */
    if (guard_client_spawn_replacement(&client, own_argv, &detail) != ERR_OK) {
        say("failed %s", detail.text);
    }
}

static void listen_to_guard(void)
{
    for (;;) {
        const union control_packet *packet;
        struct err_detail detail;
        if (guard_client_next(&client, &packet, &detail) != ERR_OK) {
            if (replacing) {
                replace_guard("closed");
            } else {
                (void)poll(NULL, 0, LOOP_MS); /* the socket stays readable: do not spin */
            }
            return;
        }
        if (packet->head.type == CONTROL_NONE) {
            return;
        }
        show(packet);
    }
}

static void start_up(void)
{
    struct err_detail detail;
    if (guard_client_open(&client, &detail) != ERR_OK) {
        say("failed %s", detail.text);
        _exit(1);
    }
    const struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    struct page_lease lease;
    page_lease_read(client.page, &lease);
    if (mono_before(mono_now(), lease.deadline)) {
        renewing = true;
        lease_renew(lease.ttl_ms, lease.epoch);
    }
    lease_show("agent_started");
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_equal(argv[1], "--version")) {
        return 0;
    }
    own_argv = argv;
    start_up();
    struct mono looked = mono_now();
    for (;;) {
        struct mono now = mono_now();
        if (beating) {
            page_agent_beat(client.page, now);
        }
        lease_tick(now);
        bool awake = mono_sub(now, looked) < 100;
        looked = now;
        if (replacing && awake && guard_client_stale(&client, now)) {
            replace_guard("stale");
        }
        if (got_term) {
            got_term = 0;
            say("term");
        }
        if (got_hup) {
            got_hup = 0;
            say("hup");
        }
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                               {.fd = client.fd, .events = POLLIN}};
        if (poll(fds, 2, LOOP_MS) <= 0) {
            continue;
        }
        if (fds[0].revents != 0) {
            read_lines();
        }
        if (fds[1].revents != 0) {
            listen_to_guard();
        }
    }
}
