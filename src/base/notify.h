/* base/notify.h - what systemd is told, when it wants to hear it.
 *
 * Purpose    READY=1, STATUS=..., MAINPID=..., WATCHDOG=1 to the datagram socket that NOTIFY_SOCKET
 *            names.
 * Errors     none reach the caller: nobody depends on it.
 * Threads    any; one non-blocking send a call.
 * Source     sd_notify(3), sd_watchdog_enabled(3).
 */
#ifndef HOLDFAST_BASE_NOTIFY_H
#define HOLDFAST_BASE_NOTIFY_H

#include <stdint.h>

/* Newline-separated assignments, "READY=1\nSTATUS=running". */
void notify_send(const char *state);

/* Within which time systemd wants to hear WATCHDOG=1, as the environment says; 0: never. WATCHDOG_PID
 * is not asked: a guard that took over has another one. */
int64_t notify_watchdog_ms(void);

#endif
