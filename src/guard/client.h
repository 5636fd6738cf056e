/* guard/client.h - the agent's side of the guard.
 *
 * Purpose    order the guard about, hear its events, replace it when it died or froze.
 * Ownership  struct guard_client is the caller's and owns its descriptors and the mapping; poll fd
 *            for reading in your own loop (it changes with guard_client_spawn_replacement), and
 *            call guard_client_next until it gives CONTROL_NONE.
 * Errors     commands: ERR_UNREACHABLE, the guard is gone or does not read (nothing was ordered):
 *            call guard_client_spawn_replacement; ERR_INVALID: the order itself is malformed. What
 *            the guard answers comes later by guard_client_next, with the id the command gave out.
 *            After a replacement unanswered commands are in doubt: the new HELLO says what holds.
 * Blocking   nothing here does, but for the moment it takes to spawn a process.
 * Threads    loop thread only.
 */
#ifndef HOLDFAST_GUARD_CLIENT_H
#define HOLDFAST_GUARD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/time.h"
#include "guard/control.h"
#include "guard/page.h"

struct guard_client {
    int fd; /* of the control socket; -1: none */
    int page_fd;
    int old_fd; /* of the guard that is being replaced, kept until the new one speaks */
    struct page *page;
    uint32_t last_id;
    pid_t replacement; /* a guard that is our child; 0: none */
    char guard_binary[PATH_SIZE];
    char agent_binary[PATH_SIZE];
    union control_packet packet; /* the last one sent or received */
};

/* Takes over what the environment names, and removes it from there so that no child inherits it.
 * ERR_INVALID: not started by a guard of this version. On error client needs no fini. */
enum err guard_client_open(struct guard_client *client, struct err_detail *detail) MUST_CHECK;

/* Closes all; the guard then takes the agent for dead. Accepts a client already finished. */
void guard_client_fini(struct guard_client *client);

/* Commands; control.h says what each does and when it is refused. out_id may be NULL. */
enum err guard_client_ping(struct guard_client *client, uint32_t *out_id,
                           struct err_detail *detail) MUST_CHECK;
enum err guard_client_arm(struct guard_client *client, uint64_t epoch, uint32_t *out_id,
                          struct err_detail *detail) MUST_CHECK;
enum err guard_client_disarm(struct guard_client *client, uint64_t epoch, bool force_for_pause,
                             uint32_t *out_id, struct err_detail *detail) MUST_CHECK;
enum err guard_client_adopt(struct guard_client *client, pid_t pid, uint64_t start_ticks,
                            uint32_t *out_id, struct err_detail *detail) MUST_CHECK;
enum err guard_client_stop(struct guard_client *client, enum control_stop_mode mode,
                           uint32_t *out_id, struct err_detail *detail) MUST_CHECK;
/* Call it before every exit whose code is to count. stranger: the server that the guard watches is
 * another cluster's. */
enum err guard_client_leaving(struct guard_client *client, int code, bool stranger,
                              uint32_t *out_id, struct err_detail *detail) MUST_CHECK;

struct guard_client_start {
    const char *const *argv; /* NULL-terminated; argv[0] is the executable's absolute path */
    const char *data_dir;
    const char *log_path; /* NULL: /dev/null */
    uint64_t armed_epoch; /* 0: comes up as a standby */
};
enum err guard_client_start(struct guard_client *client, const struct guard_client_start *start,
                            uint32_t *out_id, struct err_detail *detail) MUST_CHECK;

/* The next packet from the guard, checked; *out_packet points into client and is good until the
 * next call. Its type is CONTROL_NONE when nothing waits. ERR_UNREACHABLE: the guard is gone. */
enum err guard_client_next(struct guard_client *client, const union control_packet **out_packet,
                           struct err_detail *detail) MUST_CHECK;

/* True when the guard's heartbeat is older than a guard in order lets it become. The caller has to
 * know that it was running itself meanwhile (compare with the time of its own last look). */
bool guard_client_stale(const struct guard_client *client, struct mono now);

/* Starts a new guard over this page, which ends the old one for good, adopts this agent and the
 * postmaster and goes on with an armed lease or a fence. agent_argv: what a new agent is started
 * with, should this one die. HELLO tells when it is in charge. Call it again if that does not come.
 */
enum err guard_client_spawn_replacement(struct guard_client *client, char *const *agent_argv,
                                        struct err_detail *detail) MUST_CHECK;

#endif
