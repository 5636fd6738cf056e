/* The lease of asynchronous mode: L1-L10 for three nodes, one store and a network that loses, delays
 * and reorders. What is not written here is docs/model.md.
 *
 * One process takes one step of one node, of the network or of the clock at a time. Nothing but the
 * guard is in time: an agent may be frozen between any two of its steps, a request may land whenever
 * it likes. The clock ticks at any moment, except past a primary whose lease has ended: that one the
 * guard (or where it is gone, the agent) ends within the tick.
 *
 * Three abstractions keep the state finite without cutting the search:
 * - A version is only ever compared with the one in force, so whoever holds one has a bit "it still
 *   is"; any write clears it for everybody, and a stale version never becomes right again.
 * - A moment is only ever used as "how much is left", so it is a counter that every tick lowers.
 * - Epochs are only compared, so they are kept as dense ranks: unused ones close up.
 *
 * Features (-D): PROMISE LIST HANDOFF RESTART REBOOT GUARD KEY ROLLBACK HEAL AWAY. Rules dropped (-D):
 * each NO_x names its rule where it is used.
 */
#ifndef TTL
#define TTL 2
#endif
#define WAIT (TTL + 1) /* the margin, in ticks: more than no time is all that it has to be */

#ifdef NO_L3_MARGIN
#define TAKE_WAIT TTL
#else
#define TAKE_WAIT WAIT
#endif
#ifdef NO_L9_MARGIN
#define PROMISE_WAIT TTL
#else
#define PROMISE_WAIT WAIT
#endif

#define ALL 7
#define BIT(i) (1 << (i))

#define NOBODY 3

/* record states, and kinds of requests that write them */
#define HELD 0
#define RELEASED 1
#define HANDING 2
#define NONE 0
#define RENEW 1
#define ACQUIRE 2
#define GIVE 3 /* released or handing_to: who gets it is in gto */

#define STOPPED 0
#define REPLICA 1
#define PRIMARY 2

/* ---- the store ---- */
unsigned rh : 2;       /* lease: holder */
unsigned rs : 2;       /* state */
unsigned rto : 2;      /* handing_to */
unsigned rep : 4 = 1;  /* epoch */
byte rleft;            /* time left of what this write proves to its sender ... */
bit rknown;            /* ... who still knows when it was sent, and has not read it yet (L6) */
unsigned fs : 3 = ALL; /* failsafe */
bit lkey = 1;          /* the leader key is there */

/* ---- the network: one request of each node waiting for its answer, one given up; and a list ---- */
byte qk[6];  /* kind; NONE: nothing that can still be applied */
byte qleft[6];       /* time left of its lease, counted from when it was sent */
bit qknown[6];       /* its sender still knows of it */
unsigned fsw : 3;    /* a write of /failsafe that can still be applied; 0: none */
bit fswknown;        /* ... its sender waits for the answer */

/* ---- the nodes ---- */
byte pg[3];
byte dl[3];            /* time left of the own lease: the page's deadline */
byte ep[3];    /* own epoch; 0: none */
bit hold[3];
bit unr[3];            /* a write of the lease was refused or is in doubt: read first (L6) */
bit tried[3];          /* a takeover was sent that may still land */
bit surr[3];           /* surrendered */
byte gto[3];   /* to whom; NOBODY: released */
bit armed[3];
bit lf[3];             /* the version of lease that it knows is in force */
bit ff[3];             /* ... of failsafe */
bit kf[3];             /* ... of leader */
byte w[3];             /* what is left of the wait of L3 (L10: of the old holder's) */
byte l8[3];            /* ... of L8 */
byte pw[3];            /* ... of a promise given */
byte pto[3];   /* to whom */
byte emax[3];  /* the newest epoch it knows of */
byte rd[3];            /* own round of promises: left of what it is worth; 0: none */
byte rn[3];    /* whom it asked */
byte rg[3];    /* who promised */
byte fk[3];    /* lists that may be in force: the last known ... */
byte fd[3];    /* ... and the one in doubt */
byte dk[3];    /* as they are on disk */
byte dd[3];
bit gone[3];           /* the guard is dead */

unsigned phase : 2;    /* 0 anything happens; 1 healed (HEAL); 2 the store is away (AWAY) */
unsigned down : 2 = NOBODY; /* this node never comes back after the healing */
byte bare;             /* ticks without a primary since the healing */

#define PENDING(i) (qk[i] != NONE) /* a write of the lease waits for its answer */
#define UNION(i) (fk[i] | fd[i])
#define LISTED(i) (fs == 0 || (fs & BIT(i)))
#define MINE(i) (rh == i && rs == HELD)
#define OTHER_PRIMARY(i) ((i != 0 && pg[0] == PRIMARY) || (i != 1 && pg[1] == PRIMARY) || \
                          (i != 2 && pg[2] == PRIMARY))
#define ANY_PRIMARY (pg[0] == PRIMARY || pg[1] == PRIMARY || pg[2] == PRIMARY)
#define GIVEN(i) (rs == RELEASED || (rs == HANDING && rto == i))

/* Epochs close up: order and equality are all that anybody asks of them. */
#define HAS(v) (rep == v || ep[0] == v || ep[1] == v || ep[2] == v || emax[0] == v || \
                emax[1] == v || emax[2] == v)
#define LOWER(x, v) x = (x > v -> x - 1 : x)
inline close_up(v)
{
    v = 1;
    do
    :: v < rep + 1 && !HAS(v) ->
        LOWER(rep, v); LOWER(ep[0], v); LOWER(ep[1], v); LOWER(ep[2], v);
        LOWER(emax[0], v); LOWER(emax[1], v); LOWER(emax[2], v)
    :: v < rep + 1 && HAS(v) -> v++
    :: else -> break
    od;
    v = 0
}

/* Without ARM the guard is armed just before a server rises and disarmed just after it ended; where
 * nothing asks whether a server is stopped or a replica it is one at once. */
#ifdef ARM
#define ARM_WITH_RISE(i) skip
#define DISARM_WITH_STOP(i) skip
#define MAY_BE_UNARMED 0
#else
#define ARM_WITH_RISE(i) armed[i] = 1
#define DISARM_WITH_STOP(i) armed[i] = 0
#define MAY_BE_UNARMED 1
#endif
#if defined(HANDOFF) || defined(REBOOT)
#define DOWN STOPPED
#else
#define DOWN REPLICA
#endif

/* What only some features ask about is kept only for them. */
#ifdef PROMISE
#define KNOW(i, epoch) emax[i] = (epoch > emax[i] -> epoch : emax[i])
#define TRY(i) tried[i] = 1
#else
#define KNOW(i, epoch) skip
#ifdef RESTART
#define TRY(i) tried[i] = 1
#else
#define TRY(i) skip
#endif
#endif
#ifdef KEY
#define KEY_CHANGED kf[0] = 0; kf[1] = 0; kf[2] = 0
#else
#define KEY_CHANGED skip
#endif
#if defined(RESTART) || defined(REBOOT)
#define FORGETS 1
#endif
/* DISK: what the disk has of the lists may be older. Without it only a holder's lists are kept, for
 * it learns them anew with the next term (a doubt of an older term only adds to whom it asks). */
#ifdef DISK
#define LIST_READ(i) fk[i] = (fs != 0 -> fs : fk[i]); fd[i] = (fd[i] == fs -> 0 : fd[i])
#define LIST_LOST(i) skip
#define IS_ON_DISK(i) (fk[i] == dk[i] && fd[i] == dd[i])
#else
#define LIST_READ(i) fk[i] = (hold[i] -> fs : 0); fd[i] = (fd[i] == fs || !hold[i] -> 0 : fd[i])
#define LIST_LOST(i) fk[i] = 0; fd[i] = 0
#define IS_ON_DISK(i) 1
#endif

/* A version that changed is no longer what anybody waits on; a wait that will begin anew is zero. */
#define REFUSED(i) unr[i] = (PENDING(i) -> 1 : unr[i])
inline lease_changed()
{
    lf[0] = 0; lf[1] = 0; lf[2] = 0;
    w[0] = 0; w[1] = 0; w[2] = 0;
    REFUSED(0); REFUSED(1); REFUSED(2);
    qk[0] = 0; qk[1] = 0; qk[2] = 0; qk[3] = 0; qk[4] = 0; qk[5] = 0;
    qleft[0] = 0; qleft[1] = 0; qleft[2] = 0; qleft[3] = 0; qleft[4] = 0; qleft[5] = 0;
    qknown[0] = 0; qknown[1] = 0; qknown[2] = 0; qknown[3] = 0; qknown[4] = 0; qknown[5] = 0;
#ifndef NO_L9_FENCED_LIST /* a list is written conditional on holding the epoch */
    fsw = 0; fswknown = 0
#endif
}

#define DROP(q) qk[q] = NONE; qleft[q] = 0; qknown[q] = 0
#define DROP_TAKEOVER(i) \
    if :: qk[i] == ACQUIRE -> DROP(i); unr[i] = 1 :: else fi; \
    if :: qk[i + 3] == ACQUIRE -> DROP(i + 3) :: else fi

/* A challenger with an old list can do as little as one with an old record, so one bit says both. */
#if defined(NO_L9_RESTART) || defined(NO_L9_CHECK)
#define LIST_OLD(i) ff[i] = 0
#else
#define LIST_OLD(i) ff[i] = (hold[i] -> 0 : ff[i]); lf[i] = (hold[i] -> lf[i] : 0); \
                    w[i] = (hold[i] -> w[i] : 0)
#endif
inline list_changed()
{
    LIST_OLD(0); LIST_OLD(1); LIST_OLD(2);
#ifndef NO_L9_CHECK /* the takeover checks the list's version */
    DROP_TAKEOVER(0); DROP_TAKEOVER(1); DROP_TAKEOVER(2);
#endif
    fsw = 0; fswknown = 0
}

/* lease_lose */
inline lose(i)
{
    hold[i] = 0; ep[i] = 0; dl[i] = 0; surr[i] = 0; gto[i] = 0; LIST_LOST(i);
    rd[i] = 0; rn[i] = 0; rg[i] = 0
}

#ifdef NO_L9_RESTART
#define LIST_SEEN(i) 1
#else
#define LIST_SEEN(i) ff[i]
#endif

/* What a holder needs no more: it reads the store before it challenges or promises again. */
#define HOLDS(i) w[i] = 0; emax[i] = 0; pw[i] = 0; pto[i] = 0; \
                 fk[i] = (fk[i] == 0 -> fs : fk[i])

/* A snapshot of the store: fold_cluster, lease_fold_record, fold_challenge, fold_failsafe. */
inline observe(i)
{
    if
    :: !(lf[i] && LIST_SEEN(i)) -> /* a new version of lease or of failsafe: the wait begins (L3, L9) */
        if
        :: rs == HANDING && rh == i -> w[i] = TTL / 2 /* L10 */
        :: else -> w[i] = TAKE_WAIT
        fi
    :: else
    fi;
    if
    :: MINE(i) ->
        tried[i] = 0;
        if
        :: surr[i]
#ifdef NO_L2_PAGE_ONLY
        :: !surr[i] -> ep[i] = rep; hold[i] = 1; dl[i] = TTL
#else
        :: !surr[i] && rknown ->
            dl[i] = (ep[i] != rep || rleft > dl[i] -> rleft : dl[i]);
#ifdef NO_L1 /* the lease counts from the moment its write is known, not from the sending */
            dl[i] = TTL;
#endif
            ep[i] = rep; hold[i] = 1
        :: !surr[i] && !rknown && ep[i] == rep -> hold[i] = 1
        :: !surr[i] && !rknown && ep[i] != rep -> lose(i)
#endif
        fi;
        rknown = 0; rleft = 0;
        if
        :: hold[i] -> HOLDS(i)
        :: else
        fi
    :: else ->
        if
        :: !lf[i] -> tried[i] = 0 /* what it was conditional on is gone; or nobody knows any more */
        :: else
        fi;
        lose(i)
    fi;
    unr[i] = 0;
    lf[i] = 1; ff[i] = 1; kf[i] = 1;
    if
    :: !hold[i] -> KNOW(i, rep)
    :: else
    fi;
    LIST_READ(i);
    close_up(v)
}
inline send(i, kind)
{
    qk[i] = kind; qleft[i] = (kind == GIVE -> 0 : TTL); qknown[i] = (kind != GIVE)
}

/* A request of node i in slot q is applied. */
inline apply(i, q, kind, left, known)
{
    kind = qk[q]; left = qleft[q]; known = qknown[q];
    lease_changed();
    rh = i;
    rs = (kind != GIVE -> HELD : (gto[i] == NOBODY -> RELEASED : HANDING));
    rto = (kind == GIVE && gto[i] != NOBODY -> gto[i] : 0);
    rep = (kind == ACQUIRE -> rep + 1 : rep);
    rleft = left; rknown = (kind != GIVE && known);
    lkey = (kind != GIVE);
    KEY_CHANGED;
    kind = 0; left = 0; known = 0
}

/* Its answer comes back: lease_fold_done. A GIVE that is known applied is the end of the term. */
inline answered(i)
{
    lf[i] = 1; kf[i] = 1; tried[i] = 0; unr[i] = 0;
    if
    :: surr[i] ->
        lose(i);
        w[i] = (rs == HANDING -> TTL / 2 : TAKE_WAIT)
    :: else ->
        dl[i] = (ep[i] != rep || rleft > dl[i] -> rleft : dl[i]);
#ifdef NO_L1
        dl[i] = TTL;
#endif
        ep[i] = rep; hold[i] = 1;
        HOLDS(i)
    fi;
    rknown = 0; rleft = 0;
    close_up(v)
}

/* The request is waited for no longer and may still land. */
inline give_up(i)
{
    qk[i + 3] = qk[i]; qleft[i + 3] = qleft[i]; qknown[i + 3] = qknown[i];
    DROP(i);
    unr[i] = 1
}

/* The agent is another one: what the page and the disk do not have is forgotten (core_init). */
inline restart(i)
{
    ep[i] = (tried[i] -> rep + 1 : ep[i]);
#ifdef NO_PAGE /* a new agent finds no page */
    dl[i] = 0;
#endif
    hold[i] = (ep[i] != 0 && dl[i] > 0);
    surr[i] = 0; unr[i] = 0; tried[i] = 0;
    rd[i] = 0; rn[i] = 0; rg[i] = 0;
    qknown[i] = 0; qknown[i + 3] = 0;
    rknown = (rh == i -> 0 : rknown);
    rleft = (rh == i -> 0 : rleft);
    if
    :: qk[i] != NONE && qk[i + 3] == NONE -> qk[i + 3] = qk[i]; qleft[i + 3] = 0
    :: else
    fi;
    qk[i] = NONE; qleft[i] = 0; qleft[i + 3] = 0;
    fswknown = (rh == i -> 0 : fswknown);
    lf[i] = 0; ff[i] = 0; kf[i] = 0; w[i] = 0;
    pw[i] = 0; pto[i] = 0; emax[i] = 0;
#ifdef DISK
    fk[i] = dk[i]; fd[i] = dd[i];
#endif
#if defined(L8) && !defined(NO_L8)
    l8[i] = WAIT;
#endif
    close_up(v)
}

inline tick_node(i)
{
    dl[i] = (dl[i] > 0 -> dl[i] - 1 : 0);
    w[i] = (w[i] > 0 -> w[i] - 1 : 0);
    l8[i] = (l8[i] > 0 -> l8[i] - 1 : 0);
    pw[i] = (pw[i] > 0 -> pw[i] - 1 : 0);
    pto[i] = (pw[i] == 0 -> 0 : pto[i]);
    rd[i] = (rd[i] > 0 -> rd[i] - 1 : 0);
    rn[i] = (rd[i] == 0 -> 0 : rn[i]);
    rg[i] = (rd[i] == 0 -> 0 : rg[i]);
    qleft[i] = (qleft[i] > 0 -> qleft[i] - 1 : 0);
    qleft[i + 3] = (qleft[i + 3] > 0 -> qleft[i + 3] - 1 : 0)
}

/* ---- when a node may do what (the rules) ---- */

#ifdef HANDOFF /* a promise lapses only when its receiver gave the lease up */
#define PROMISED_TO(j, i) pto[j] = i
#define BOUND(i) (pw[i] > 0 && !(rs != HELD && rh == pto[i]))
#else
#define PROMISED_TO(j, i) skip
#define BOUND(i) (pw[i] > 0)
#endif
#define CAN_RENEW(i) (hold[i] && !surr[i] && !unr[i] && !PENDING(i) && lf[i] && qk[i + 3] == NONE)
#define MAY_GIVE_AGAIN(i) (surr[i] && !unr[i] && !PENDING(i) && lf[i] && MINE(i) && \
                           qk[i + 3] == NONE)
#define RACER(i) (!hold[i] && ep[i] == 0 && !unr[i] && !PENDING(i) && lf[i] && FF(i) && kf[i] && \
                  pg[i] == REPLICA && !armed[i])
#ifdef NO_L9_CHECK
#define FF(i) 1
#else
#define FF(i) ff[i]
#endif
#ifdef NO_L3
#define WAITED(i) 1
#else
#ifdef NO_L4_KEY /* a missing leader key is taken for a release */
#define WAITED(i) (GIVEN(i) || !lkey || (w[i] == 0 && l8[i] == 0))
#else
#ifdef NO_L10_BACK /* a lease given to one by name is nobody else's, ever */
#define WAITED(i) (GIVEN(i) || (rs != HANDING && w[i] == 0 && l8[i] == 0))
#else
#define WAITED(i) (GIVEN(i) || (w[i] == 0 && l8[i] == 0))
#endif
#endif
#endif
#ifdef NO_L9_KEEP /* promises are given and not kept */
#define FREE(i) 1
#else
#define FREE(i) (!BOUND(i))
#endif
#ifdef NO_L9_MEMBER
#define MEMBER(i) 1
#else
#define MEMBER(i) LISTED(i)
#endif
#ifdef NO_L9_DURABLE /* a takeover does not ask whether the list that it saw is on disk */
#define DURABLE(i) 1
#else
#define DURABLE(i) IS_ON_DISK(i)
#endif
#define CAN_TAKE(i) (RACER(i) && WAITED(i) && FREE(i) && MEMBER(i) && DURABLE(i) && \
                     qk[i + 3] == NONE)
#ifdef NO_L4_ZERO
#define SURR(i) 1
#else
#define SURR(i) !surr[i]
#endif
#define CAN_ARM(i) (hold[i] && dl[i] > 0 && !surr[i] && !armed[i] && !gone[i])
#if defined(NO_INV3_ARM) || !defined(ARM)
#define CAN_RISE(i) (hold[i] && dl[i] > 0 && SURR(i) && !gone[i] && pg[i] != PRIMARY)
#else
#define CAN_RISE(i) (hold[i] && dl[i] > 0 && SURR(i) && armed[i] && !gone[i] && pg[i] != PRIMARY)
#endif
#define CAN_DISARM(i) (armed[i] && pg[i] != PRIMARY && !(hold[i] && dl[i] > 0 && !surr[i]))
#ifdef NO_L4_STOPPED
#define CAN_GIVE(i) (CAN_RENEW(i))
#else
#define CAN_GIVE(i) (CAN_RENEW(i) && pg[i] == STOPPED)
#endif
#define LEADS(i) (hold[i] && dl[i] > 0 && !surr[i] && (UNION(i) & BIT(i)))
#ifdef NO_L9
#define CAN_ASK(i) 0
#else
#define CAN_ASK(i) LEADS(i)
#endif
#ifdef NO_L9_REFUSE /* a promise is given by whoever is asked */
#define CAN_PROMISE(j, i) (rd[i] > 0 && (rn[i] & BIT(j)) && !(rg[i] & BIT(j)))
#else
#define CAN_PROMISE(j, i) (rd[i] > 0 && (rn[i] & BIT(j)) && !(rg[i] & BIT(j)) && \
                           pg[j] != PRIMARY && !hold[j] && ep[j] == 0 && !PENDING(j) && !unr[j] && \
                           !tried[j] && emax[j] <= ep[i])
#endif
#ifdef NO_L9_UNION /* only the list that is known is asked, not the one in doubt */
#define ASKED(i) fk[i]
#else
#define ASKED(i) UNION(i)
#endif
#ifdef NO_L9_REVIVE /* promises revive a lease that has ended */
#define CAN_COUNT(i) (rd[i] > 0 && (ASKED(i) & ~(rg[i] | BIT(i))) == 0)
#else
#define CAN_COUNT(i) (rd[i] > 0 && dl[i] > 0 && (ASKED(i) & ~(rg[i] | BIT(i))) == 0)
#endif
#define CAN_LIST(i) (hold[i] && dl[i] > 0 && !surr[i] && pg[i] == PRIMARY && lf[i] && ff[i] && \
                     !PENDING(i) && !unr[i] && fsw == 0 && IS_ON_DISK(i))
#ifdef NO_GUARD_STOP
#define WATCHED(i) 0
#else
#ifdef NO_AGENT_STOP
#define WATCHED(i) (armed[i] && !gone[i])
#else
#define WATCHED(i) armed[i]
#endif
#endif
#define OVERDUE(i) (WATCHED(i) && pg[i] == PRIMARY && dl[i] == 0)

/* ---- what they do ---- */

inline act_take(i) { send(i, ACQUIRE); TRY(i); printf("%d: takeover sent\n", i) }
inline act_renew(i) { send(i, RENEW); printf("%d: renewal sent\n", i) }
inline act_give(i, to)
{
    surr[i] = 1; gto[i] = to;
#ifndef NO_L4_ZERO /* the deadline is zeroed before the lease is given away */
    dl[i] = 0;
#endif
    rd[i] = 0; rn[i] = 0; rg[i] = 0;
    qknown[i] = 0; qknown[i + 3] = 0;
    rknown = 0; rleft = 0;
    send(i, GIVE);
    printf("%d: sent: given to %d\n", i, to)
}
inline act_rise(i)
{
    printf("%d: promoted\n", i);
    assert(!OTHER_PRIMARY(i)); /* INV-1 */
    pg[i] = PRIMARY;
    ARM_WITH_RISE(i)
}
inline act_stop(i)
{
#ifdef AWAY
    assert(phase != 2); /* INV-6 */
#endif
    pg[i] = DOWN;
    DISARM_WITH_STOP(i);
    printf("%d: primary stopped\n", i)
}
inline act_ask(i)
{
    rd[i] = TTL; rn[i] = ASKED(i) & ~BIT(i); rg[i] = 0;
    printf("%d: asks %d for promises\n", i, rn[i])
}
inline act_promise(j, i)
{
    rg[i] = rg[i] | BIT(j);
    pw[j] = PROMISE_WAIT; PROMISED_TO(j, i);
    KNOW(j, ep[i]);
    printf("%d: promises %d\n", j, i)
}
inline act_count(i)
{
    dl[i] = (rd[i] > dl[i] -> rd[i] : dl[i]);
    rd[i] = 0; rn[i] = 0; rg[i] = 0;
    printf("%d: lease on promises, %d left\n", i, dl[i])
}
inline land_answered(i)
{
    printf("%d: request applied (%d), answered\n", i, qk[i]);
    apply(i, i, kind, left, known);
    answered(i)
}
inline land_silent(i, q)
{
    printf("%d: request applied (%d), no answer\n", i, qk[q]);
    apply(i, q, kind, left, known); /* the sender, if it still waits, comes to doubt */
    close_up(v)
}
#ifdef NO_L6 /* a write without an answer is taken for applied */
#define HOPE(i) dl[i] = (qleft[i] > dl[i] && qk[i] == RENEW -> qleft[i] : dl[i])
#else
#define HOPE(i) skip
#endif
inline lost(q) { printf("request %d lost\n", q); DROP(q) }

/* HEAL (INV-7): from some moment on the store answers everybody but at most one node, which never
 * comes back, and whatever a node can do it does before the clock ticks again. AWAY (INV-6): from some
 * moment on nobody reaches the store while all members can agree; agents may still be restarted. */
#if defined(HEAL) || defined(AWAY)
#define CHAOS (phase == 0)
#define NOW(i) (phase != 2 && down != i)
#define STORE (phase != 2)
#else
#define CHAOS 1
#define NOW(i) 1
#define STORE 1
#endif
#define SHOULD_ASK(i) (phase == 2 && dl[i] < TTL && rd[i] == 0)
#ifdef AWAY
#define MAY_RESTART (CHAOS || (phase == 2 && down == NOBODY)) /* one a tick */
#define RESTARTED down = (phase == 2 -> 0 : down)
#else
#define MAY_RESTART CHAOS
#define RESTARTED skip
#endif
#define URGENT(i) (NOW(i) && (SEES_NEWS(i) || (CAN_RENEW(i) && dl[i] < TTL) || CAN_TAKE(i) || \
                              MAY_GIVE_AGAIN(i) || PENDING(i) || qk[i + 3] != NONE || CAN_RISE(i) || \
                              URGENT_ARM(i) || (pg[i] == STOPPED && !hold[i]) || gone[i]))
#ifdef ARM
#define URGENT_ARM(i) (CAN_ARM(i) || CAN_DISARM(i))
#else
#define URGENT_ARM(i) 0
#endif
#define URGENT_PROMISE(i, j, k) ((SHOULD_ASK(i) && CAN_ASK(i)) || CAN_PROMISE(j, i) || \
                                 CAN_PROMISE(k, i) || CAN_COUNT(i))
#define FIT(i) LISTED(i)
#define AGREES(j, i) (!(UNION(i) & BIT(j)) || \
                      (pg[j] != PRIMARY && !hold[j] && ep[j] == 0 && !PENDING(j) && !unr[j] && \
                       !tried[j] && emax[j] <= ep[i]))
#define STANDS(i, j, k) (pg[i] == PRIMARY && MINE(i) && LEADS(i) && AGREES(j, i) && AGREES(k, i) && \
                         !PENDING(j) && !PENDING(k))

#ifdef HEAL
#define STEP_PHASE \
    DO(CHAOS && (FIT(0) || FIT(1) || FIT(2)), phase = 1; printf("healed\n")) \
    DO(CHAOS && (FIT(1) || FIT(2)), phase = 1; down = 0; printf("healed, without 0\n")) \
    DO(CHAOS && (FIT(0) || FIT(2)), phase = 1; down = 1; printf("healed, without 1\n")) \
    DO(CHAOS && (FIT(0) || FIT(1)), phase = 1; down = 2; printf("healed, without 2\n"))
#define TICK_PASSES (phase != 1 || !(URGENT(0) || URGENT(1) || URGENT(2)))
#define TICK_SEES \
    bare = (phase != 1 || ANY_PRIMARY -> 0 : bare + 1); \
    assert(bare <= BARE_MAX) /* INV-7 */
#else
#ifdef AWAY
#define STEP_PHASE \
    DO(CHAOS && (STANDS(0, 1, 2) || STANDS(1, 0, 2) || STANDS(2, 0, 1)), \
       phase = 2; printf("the store is away\n"))
#define TICK_PASSES (phase != 2 || !(URGENT_PROMISE(0, 1, 2) || URGENT_PROMISE(1, 0, 2) || \
                                     URGENT_PROMISE(2, 0, 1)))
#define TICK_SEES down = NOBODY
#else
#define STEP_PHASE
#define TICK_PASSES 1
#define TICK_SEES skip
#endif
#endif
#ifndef BARE_MAX
#define BARE_MAX (3 * TTL)
#endif

/* One step: nothing comes between. */
#define DO(condition, action) :: d_step { (condition) -> action }

#ifdef PROMISE
#define STEP_PROMISE(i, j, k) \
    DO((CHAOS || SHOULD_ASK(i)) && CAN_ASK(i), act_ask(i)) \
    DO(phase != 1 && CAN_PROMISE(j, i), act_promise(j, i)) \
    DO(phase != 1 && CAN_PROMISE(k, i), act_promise(k, i)) \
    DO(phase != 1 && CAN_COUNT(i), act_count(i))
#else
#define STEP_PROMISE(i, j, k)
#endif

#ifdef LIST
#ifndef LISTS
#define LISTS(i, l) (l == 7 || (l == 3 && i != 2)) /* node 2 joins and leaves */
#endif
#define NEW_LIST(i, l) \
    DO(CHAOS && CAN_LIST(i) && fd[i] == 0 && fs != l && LISTS(i, l), \
       fd[i] = l; DOUBT(i, l); printf("%d: list in doubt: %d\n", i, l))
#ifdef DISK
#define STEP_DISK(i) \
    DO(!IS_ON_DISK(i), dk[i] = fk[i]; dd[i] = fd[i]; printf("%d: remembered\n", i))
#define DOUBT(i, l) dd[i] = l
#else
#define STEP_DISK(i)
#define DOUBT(i, l) skip
#endif
#define STEP_LIST(i) \
    NEW_LIST(i, 3) NEW_LIST(i, 5) NEW_LIST(i, 6) NEW_LIST(i, 7) \
    DO(CHAOS && CAN_LIST(i) && fd[i] != 0, fsw = fd[i]; fswknown = 1; printf("%d: list sent\n", i)) \
    DO(CHAOS && rh == i && fsw != 0 && fswknown, printf("%d: list applied, answered\n", i); \
       fs = fsw; list_changed(); fk[i] = fs; fd[i] = 0) \
    DO(CHAOS && rh == i && fsw != 0, printf("%d: list applied, no answer\n", i); \
       fs = fsw; list_changed()) \
    DO(CHAOS && rh == i && fsw != 0, fsw = 0; fswknown = 0; printf("list lost\n")) \
    DO(CHAOS && rh == i && fsw != 0 && fswknown, fswknown = 0; printf("list in doubt\n")) \
    STEP_DISK(i)
#else
#define STEP_LIST(i)
#endif

#ifdef HANDOFF
#define STEP_HANDOFF(i, j, k) \
    DO(CHAOS && CAN_GIVE(i) && !surr[i], act_give(i, NOBODY)) \
    DO(CHAOS && CAN_GIVE(i) && !surr[i], act_give(i, j)) \
    DO(CHAOS && CAN_GIVE(i) && !surr[i], act_give(i, k)) \
    DO(NOW(i) && MAY_GIVE_AGAIN(i), act_give(i, gto[i]))
#else
#define STEP_HANDOFF(i, j, k)
#endif

#ifdef RESTART
#define STEP_RESTART(i) DO(MAY_RESTART && !gone[i], RESTARTED; restart(i); printf("%d: agent restarted\n", i))
#else
#define STEP_RESTART(i)
#endif
#ifdef REBOOT
#define STEP_REBOOT(i) \
    DO(CHAOS, pg[i] = STOPPED; armed[i] = 0; dl[i] = 0; ep[i] = 0; tried[i] = 0; gone[i] = 0; restart(i); \
       printf("%d: machine rebooted\n", i))
#else
#define STEP_REBOOT(i)
#endif
#ifdef GUARD
#define STEP_GUARD(i) \
    DO(CHAOS && !gone[i], gone[i] = 1; printf("%d: guard died\n", i)) \
    DO((CHAOS || NOW(i)) && gone[i], gone[i] = 0; printf("%d: guard replaced\n", i))
#else
#define STEP_GUARD(i)
#endif
#ifdef KEY
#define STEP_KEY \
    DO(CHAOS && lkey, lkey = 0; kf[0] = 0; kf[1] = 0; kf[2] = 0; \
        DROP_TAKEOVER(0); DROP_TAKEOVER(1); DROP_TAKEOVER(2); printf("leader key gone\n"))
#else
#define STEP_KEY
#endif

#ifdef ARM
#define STEP_ARM(i) \
    DO(NOW(i) && CAN_ARM(i), armed[i] = 1; printf("%d: armed\n", i)) \
    DO(NOW(i) && CAN_DISARM(i), armed[i] = 0; printf("%d: disarmed\n", i))
#else
#define STEP_ARM(i)
#endif
#if defined(HANDOFF) || defined(REBOOT)
#define STEP_START(i) \
    DO(NOW(i) && pg[i] == STOPPED && !hold[i] && !armed[i], pg[i] = REPLICA; printf("%d: replica\n", i))
#else
#define STEP_START(i)
#endif

#ifdef ONE_SLOT /* a request is applied or lost before its sender gives it up */
#define STEP_GIVE_UP(i)
#else
#define STEP_GIVE_UP(i) \
    DO(CHAOS && PENDING(i) && qk[i + 3] == NONE, give_up(i); printf("%d: write in doubt\n", i))
#endif

#ifdef CALM /* requests are late, and answered when they arrive */
#define STEP_LOSS(i)
#else
#define STEP_LOSS(i) \
    DO((CHAOS || down == i) && STORE && qk[i] != NONE, land_silent(i, i)) \
    DO((CHAOS || down == i) && qk[i] != NONE, HOPE(i); lost(i); unr[i] = 1) \
    DO(STORE && qk[i + 3] != NONE, land_silent(i, i + 3)) \
    DO(qk[i + 3] != NONE, lost(i + 3))
#endif
#ifdef NO_L6_READ /* doubt is never ended by reading */
#define SEES_NEWS(i) (!unr[i] && (!lf[i] || !ff[i] || !kf[i] || (MINE(i) && rknown)))
#else
#define SEES_NEWS(i) (!lf[i] || !ff[i] || !kf[i] || unr[i] || (MINE(i) && rknown))
#endif

#define STEP(i, j, k) \
    DO(NOW(i) && SEES_NEWS(i), observe(i); printf("%d: reads the store\n", i)) \
    DO(NOW(i) && CAN_RENEW(i) && (CHAOS || dl[i] < TTL), act_renew(i)) \
    DO(NOW(i) && CAN_TAKE(i), act_take(i)) \
    DO(NOW(i) && qk[i] != NONE, land_answered(i)) \
    STEP_LOSS(i) \
    STEP_GIVE_UP(i) \
    DO(NOW(i) && CAN_RISE(i), act_rise(i)) \
    DO(pg[i] == PRIMARY && (CHAOS || OVERDUE(i)), act_stop(i)) \
    STEP_ARM(i) STEP_START(i) \
    STEP_PROMISE(i, j, k) STEP_LIST(i) STEP_HANDOFF(i, j, k) STEP_RESTART(i) STEP_REBOOT(i) \
    STEP_GUARD(i)

inline tick()
{
    tick_node(0); tick_node(1); tick_node(2);
    rleft = (rleft > 0 -> rleft - 1 : 0);
    printf("---- tick\n");
    TICK_SEES
}

active proctype world()
{
    byte v, left;
    unsigned kind : 2;
    bit known;

    d_step {
        pg[0] = PRIMARY; pg[1] = REPLICA; pg[2] = REPLICA;
        dl[0] = TTL; hold[0] = 1; ep[0] = 1; armed[0] = 1;
        KNOW(1, 1); KNOW(2, 1);
        lf[0] = 1; lf[1] = 1; lf[2] = 1; ff[0] = 1; ff[1] = 1; ff[2] = 1;
        kf[0] = 1; kf[1] = 1; kf[2] = 1;
        w[1] = TAKE_WAIT; w[2] = TAKE_WAIT;
#ifdef FIRST_LIST
        fs = FIRST_LIST;
#endif
        fk[0] = fs;
#ifdef DISK
        fk[1] = fs; fk[2] = fs; dk[0] = fs; dk[1] = fs; dk[2] = fs
#endif
    }
    do
    STEP(0, 1, 2)
    STEP(1, 0, 2)
    STEP(2, 0, 1)
    STEP_KEY
    STEP_PHASE
    DO(!OVERDUE(0) && !OVERDUE(1) && !OVERDUE(2) && TICK_PASSES, tick())
    od
}
