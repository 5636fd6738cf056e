/* guard/control.h - what agent and guard say to each other.
 *
 * Purpose    the packets of the control socket: the agent's commands, the guard's answers, events.
 * Form       SOCK_SEQPACKET, one message a packet, each a struct of fixed size that starts with
 *            struct control_head; both ends are of one machine and one build, so plain C layout.
 * Ownership  none; packets are copied whole.
 * Errors     control_check refuses what is not exactly one message of this version; the guard
 *            answers such a packet with CONTROL_REFUSED when it has at least a head, else drops it.
 * Rules      every command is answered once, with its id, by CONTROL_DONE, CONTROL_STARTED or
 *            CONTROL_REFUSED. Events carry id 0 and may come at any time. CONTROL_HELLO is the
 *            first packet of every connection and holds the whole state, so nothing that was told
 *            to an earlier agent has to be told again.
 * Units      *_ms: CLOCK_BOOTTIME milliseconds.
 */
#ifndef HOLDFAST_GUARD_CONTROL_H
#define HOLDFAST_GUARD_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define CONTROL_VERSION 1
#define CONTROL_TEXT_SIZE 128

#define CONTROL_ENV_PAGE_FD "HOLDFAST_PAGE_FD"
#define CONTROL_ENV_CONTROL_FD "HOLDFAST_CONTROL_FD"
#define CONTROL_ENV_GUARD_BINARY "HOLDFAST_GUARD_BINARY"
#define CONTROL_ENV_AGENT_BINARY "HOLDFAST_AGENT_BINARY"

/* The agent's exit codes: 0 leaves for good, these are errors of the configuration (sysexits.h),
 * anything else asks for a new agent. */
#define CONTROL_EXIT_CONFIG_MIN 64
#define CONTROL_EXIT_CONFIG_MAX 78

/* After UPGRADE_REQUESTED the agent may end by itself for so long; then it is killed. */
#define CONTROL_UPGRADE_GRACE_MS 200

#define CONTROL_COMMAND_LIST(X)                                                                    \
    X(PING, ping)       /* look at the page now */                                                 \
    X(START, start)     /* start a postmaster */                                                   \
    X(ADOPT, adopt)     /* watch a running postmaster */                                           \
    X(ARM, arm)         /* end the postmaster when the lease ends */                               \
    X(DISARM, disarm)   /* stop doing so */                                                        \
    X(STOP, stop)       /* stop the postmaster */                                                  \
    X(LEAVING, leaving) /* the agent is about to exit with this code */

#define CONTROL_ANSWER_LIST(X)                                                                     \
    X(DONE, done)       /* the command with that id was carried out */                             \
    X(REFUSED, refused) /* nothing was done, and why */                                            \
    X(STARTED, started) /* answers START */                                                        \
    X(HELLO, hello)     /* event: the whole state */                                               \
    X(EXITED, exited)   /* event: nothing of that server runs any more */                          \
    X(FENCED, fenced)   /* event: the lease ended, this was done */                                \
    X(UPGRADE, upgrade) /* event: make room for a newer agent */

#define CONTROL_TYPE_LIST(X) CONTROL_COMMAND_LIST(X) CONTROL_ANSWER_LIST(X)

enum control_type {
    CONTROL_NONE = 0,
#define X(name, member) CONTROL_##name,
    CONTROL_TYPE_LIST(X)
#undef X
        CONTROL_TYPE_COUNT
};

struct control_head {
    uint16_t version;
    uint16_t type;
    uint32_t size; /* of the whole packet */
    uint32_t id;
    uint32_t zero;
};

/* START: refused with ERR_CONFLICT (its time has not come) while a postmaster is known, while
 * fenced, and when armed_epoch is not 0 (the server comes up as primary) and the guard is not armed
 * for exactly that epoch with its lease running. With another error: the server cannot be started. */
struct control_start {
    struct control_head head;
    uint64_t armed_epoch;
    uint32_t args_count;
    uint32_t args_size;
    char log_path[PATH_SIZE]; /* gets stdout and stderr, appended; "": /dev/null */
    char data_dir[PATH_SIZE];
    char args[PG_ARGS_SIZE]; /* args_count texts one after the other; the first is the executable */
};

struct control_adopt {
    struct control_head head;
    int64_t pid;
    uint64_t start_ticks;
};

/* ARM: refused unless the page holds a lease of exactly this epoch that has not reached stage 1;
 * and when armed for a newer epoch, or fenced. Armed already for an older one: goes over to it. */
struct control_arm {
    struct control_head head;
    uint64_t epoch;
};

/* DISARM: accepted when no postmaster is left; with force_for_pause also while it runs, unless it
 * is being fenced. epoch has to be the armed one. Not armed at all: done. */
struct control_disarm {
    struct control_head head;
    uint64_t epoch;
    uint32_t force_for_pause;
    uint32_t zero;
};

enum control_stop_mode {
    CONTROL_STOP_FAST, /* SIGINT */
    CONTROL_STOP_HARD, /* as a fence's stage 2 */
    CONTROL_STOP_COUNT
};

/* STOP: done means ordered; CONTROL_EXITED tells the end. Refused when there is no postmaster. */
struct control_stop {
    struct control_head head;
    uint32_t mode;
    uint32_t zero;
};

/* LEAVING: needed because a guard that adopted its agent cannot see the exit code. stranger 1: the
 * server that was adopted belongs to another cluster, so the guard leaves it running; refused while
 * armed. */
struct control_leaving {
    struct control_head head;
    int32_t code;
    uint32_t stranger;
};

struct control_ping {
    struct control_head head;
};

struct control_done {
    struct control_head head;
};

struct control_upgrade {
    struct control_head head;
};

struct control_refused {
    struct control_head head;
    int32_t err; /* enum err */
    int32_t sys_errno;
    char text[CONTROL_TEXT_SIZE];
};

struct control_started {
    struct control_head head;
    int64_t pid;
    uint64_t start_ticks;
};

struct control_exited {
    struct control_head head;
    int64_t pid;
    int64_t status; /* as of waitpid; -1: unknown, it was no child of this guard */
    uint64_t orphans_killed;
    uint32_t orphans_left; /* 0 always: the event waits for that */
    uint32_t reaped;       /* 0: a zombie of this pid may stay until its parent looks */
};

struct control_fenced {
    struct control_head head;
    uint64_t epoch;
    int64_t at_ms;
    uint32_t stage; /* enum page_fence */
    uint32_t zero;
};

enum control_priority {
    CONTROL_PRIORITY_PLAIN, /* as any process: `holdfast check` warns */
    CONTROL_PRIORITY_NICE,
    CONTROL_PRIORITY_REALTIME,
    CONTROL_PRIORITY_COUNT
};

struct control_hello {
    struct control_head head;
    int64_t guard_pid;
    uint32_t priority; /* enum control_priority */
    int32_t priority_value;
    uint32_t memory_locked;
    uint32_t oom_protected;
    uint64_t armed_epoch; /* 0: not armed */
    uint32_t fence;       /* enum page_fence */
    uint32_t postmaster_child;
    int64_t postmaster_pid; /* 0: none */
    uint64_t postmaster_start_ticks;
    int64_t exit_pid; /* the postmaster that ended last; 0: none */
    int64_t exit_status;
    uint32_t exit_reaped;
    uint32_t agent_restarts; /* agents this guard had to replace */
    char guard_version[32];
};

/* What the guard sends: small enough for a stack. */
union control_answer {
    struct control_head head;
#define X(name, member) struct control_##member member;
    CONTROL_ANSWER_LIST(X)
#undef X
};

/* Anything; large because of START. */
union control_packet {
    struct control_head head;
#define X(name, member) struct control_##member member;
    CONTROL_TYPE_LIST(X)
#undef X
};

/* The type's size, 0 for no type. */
size_t control_size(uint16_t type);

/* The lower-case name of a type, "unknown" for none. */
const char *control_name(uint16_t type);

/* Zeroes the struct of the type (packet points to one, or to a union) and fills in its head. */
void control_init(void *packet, enum control_type type, uint32_t id);

/* Whether received bytes are exactly one message of this version, its texts terminated and its
 * enums in range: ERR_OK or ERR_INVALID. */
enum err control_check(const union control_packet *packet, size_t received_bytes,
                       struct err_detail *detail) MUST_CHECK;

/* Packs argv (NULL-terminated) into a start packet: ERR_INVALID when it is empty or too large. */
enum err control_args_pack(struct control_start *start, const char *const *argv,
                           struct err_detail *detail) MUST_CHECK;

/* Points out_argv (PG_ARGS_MAX + 1 places, NULL-terminated) into a checked start packet. */
void control_args_borrow(struct control_start *start, char *out_argv[PG_ARGS_MAX + 1]);

#endif
