/* guard/guard.h - the guard's one object, and who does what with it.
 *
 * Purpose    state and functions shared by the guard's own files; nobody else includes it.
 * Ownership  one struct guard, static in main.c; every descriptor in it is -1 or owned by it.
 * Errors     functions that obey a command return enum err and its text for the answer; everything
 *            else goes on and logs.
 * Units      milliseconds of CLOCK_BOOTTIME.
 * Threads    one.
 */
#ifndef HOLDFAST_GUARD_GUARD_H
#define HOLDFAST_GUARD_GUARD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"
#include "guard/control.h"
#include "guard/page.h"
#include "guard/priority.h"

#define GUARD_TTL_DEFAULT_MS 5000   /* until a lease names one */
#define GUARD_TICK_MS 250           /* the heartbeat's period: a third of what counts as stale */
#define GUARD_REFRESH_MS 1000       /* between looks at the postmaster's executable */
#define GUARD_AGENT_AGE_MS_MIN 200  /* an agent is never called frozen sooner */
#define GUARD_AGENT_START_MS 5000   /* until its first heartbeat */
#define GUARD_AGENT_MUTE_MS 200     /* a closed socket means it is exiting, or never heard again */
#define GUARD_AGENT_STEADY_MS 10000 /* having run so long, it is restarted at once */
#define GUARD_AGENT_BACKOFF_MS 50   /* doubled up to ... */
#define GUARD_AGENT_BACKOFF_MS_MAX 1000
#define GUARD_PROBE_MS 2000 /* for a new binary to say that it fits */
#define GUARD_DRAIN_MS 100  /* for the log collector to end after a clean shutdown */
#define GUARD_SCAN_MS_MAX 20

enum guard_agent_phase {
    GUARD_AGENT_WAITING, /* to be started at restart_at */
    GUARD_AGENT_RUNNING,
    GUARD_AGENT_KILLED, /* SIGKILL sent, its end not seen yet */
};

struct guard_agent {
    enum guard_agent_phase phase;
    pid_t pid; /* valid while pidfd is open */
    int pidfd;
    bool child; /* false: adopted, its exit code has to be announced */
    bool reaped;
    int status;         /* as of waitpid, once reaped */
    int announced_code; /* -1: none */
    struct mono started_at;
    struct mono spared_until; /* its heartbeat counts as no older than this */
    struct mono mute_from;    /* its end of the socket is closed since; MONO_NEVER: it is not */
    struct mono restart_at;
    int64_t backoff_ms; /* 0: restart at once */
    uint32_t restarts;
    bool hup_pending; /* signals wait for the first heartbeat: before, they would end it */
    bool term_pending;
    bool leaving; /* SIGTERM was asked for: pass it to every new agent as well */
};

struct guard_postmaster {
    struct page_postmaster id; /* id.pid 0: none */
    int pidfd;
    bool child;
    bool dead; /* its pidfd said so */
    bool reaped;
    int status;
    /* a start whose exec has not been seen */
    int start_pipe;
    uint32_t start_id;
    int start_errno;
    uint32_t start_step;
    bool start_told; /* answered: what follows is an exit, not a failed start */
    /* its end */
    bool ending;           /* scans go on until nothing of it is left */
    struct mono kill_from; /* scans only look before, kill from then on */
    struct mono scan_at;
    int64_t scan_pause_ms;
    uint64_t killed;
};

enum guard_upgrade_phase {
    GUARD_UPGRADE_NONE,
    GUARD_UPGRADE_WANTED,
    GUARD_UPGRADE_PROBING_GUARD,
    GUARD_UPGRADE_PROBING_AGENT,
    GUARD_UPGRADE_READY,       /* exec as soon as nothing is half done */
    GUARD_UPGRADE_RENEW_AGENT, /* after the exec: the agent has its grace */
};

struct guard_upgrade {
    enum guard_upgrade_phase phase;
    pid_t probe_pid;
    int probe_pidfd;
    int probe_status; /* -1: running */
    struct mono due;
};

struct guard {
    /* the command line */
    const char *guard_binary;
    const char *agent_binary;
    char *const *agent_argv;
    /* what it has */
    struct page *page;
    int page_fd;
    int control_fd;
    int signal_fd;
    int lease_timer_fd;
    int work_timer_fd;
    int log_fd;
    pid_t log_pid;
    struct priority priority;
    struct guard_agent agent;
    struct guard_postmaster postmaster;
    struct guard_upgrade upgrade;
    pid_t zombie; /* a postmaster that ended unreaped: not ours to reap */
    /* the loop */
    struct mono lease_wake;
    struct mono lease_timer; /* what the timer is set to */
    struct mono work_wake;
    struct mono beat_at;
    int64_t watchdog_ms; /* between words to systemd's watchdog; 0: it does not watch */
    struct mono watchdog_at;
    struct mono refresh_at;
    int exit_code; /* -1: go on */
};

/* loop.c */
enum err guard_loop_init(struct guard *guard, struct err_detail *detail) MUST_CHECK;
int guard_loop_run(struct guard *guard);
/* Reads the page and does what the lease demands; sets lease_wake. */
void guard_lease_enforce(struct guard *guard, struct mono now);
/* What was done against the armed primary; NONE when not armed. */
enum page_fence guard_fence(const struct guard *guard);
/* Repeats it: for a successor, and for a server that was made known only now. */
void guard_fence_again(struct guard *guard, struct mono now);

/* agent.c */
enum err guard_agent_adopt(struct guard *guard, const struct page_process *agent, bool child,
                           struct err_detail *detail) MUST_CHECK;
void guard_agent_kill(struct guard *guard, const char *why);
void guard_agent_work(struct guard *guard, struct mono now);
void guard_agent_ended(struct guard *guard, struct mono now);
void guard_agent_spare(struct guard *guard, struct mono now);
struct mono guard_agent_due(const struct guard *guard, struct mono now);
int64_t guard_ttl_ms(const struct guard *guard);

/* postgres.c */
enum err guard_postgres_start(struct guard *guard, struct control_start *start,
                              struct err_detail *detail) MUST_CHECK;
enum err guard_postgres_adopt(struct guard *guard, pid_t pid, uint64_t start_ticks,
                              struct err_detail *detail) MUST_CHECK;
void guard_postgres_resume(struct guard *guard);
void guard_postgres_fast(struct guard *guard);
void guard_postgres_hard(struct guard *guard, struct mono now);
void guard_postgres_started(struct guard *guard);
void guard_postgres_ended(struct guard *guard, struct mono now);
void guard_postgres_work(struct guard *guard, struct mono now);
void guard_postgres_refresh(struct guard *guard);
/* It is not ours: runs on unwatched. Not armed. */
void guard_postgres_forget(struct guard *guard);

/* command.c */
void guard_control_read(struct guard *guard, struct mono now);
void guard_control_hello(struct guard *guard);
void guard_control_send(struct guard *guard, const union control_answer *packet);
void guard_control_refuse(struct guard *guard, uint32_t id, enum err err,
                          const struct err_detail *detail);
void guard_control_close(struct guard *guard);

/* upgrade.c */
void guard_upgrade_ask(struct guard *guard);
void guard_upgrade_work(struct guard *guard, struct mono now);
struct mono guard_upgrade_due(const struct guard *guard);

#endif
