/* agent/notify.h - what systemd is told, when it wants to hear it.
 *
 * Purpose    READY=1, STATUS=..., STOPPING=1 to the datagram socket named by NOTIFY_SOCKET.
 * Errors     none reach the caller: nobody depends on it.
 * Threads    loop thread; one non-blocking send a call.
 */
#ifndef HOLDFAST_AGENT_NOTIFY_H
#define HOLDFAST_AGENT_NOTIFY_H

/* Newline-separated assignments, "READY=1\nSTATUS=running". */
void notify_send(const char *state);

#endif
