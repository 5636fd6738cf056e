/* sim: whole clusters of real cores in virtual time. Exit 0: every invariant held in every seed. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

struct options {
    uint64_t first;
    uint64_t last;
    double hours;
    bool trace;
    bool quiet;
    bool table;
    bool every_rule; /* a rule that is never reached is a failure */
    bool every_mark; /* a situation that is never reached is one */
    bool hash;
    const char *skip;
};

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: sim [--seeds A..B | --seed N] [--hours H] [--trace] [--quiet] [--hash] "
                    "[--no-table]\n           [--every-rule] [--every-mark] [--skip I,J-K,...]\n"
                    "  H: virtual hours of each seed (1); seeds above 10000: up to seven nodes, "
                    "every fault\n"
                    "  --every-rule, --every-mark: fails when a rule of the core, a situation, was "
                    "never reached\n"
                    "  --skip: faults that are drawn and not done, by number (shrink.py)\n"
                    "  --hash: one number for everything that happened\n");
    exit(2);
}

static void parse_seeds(const char *text, struct options *out)
{
    char copy[64];
    const char *dots = strstr(text, "..");
    if (dots == NULL || !str_copy(copy, sizeof(copy), text)) {
        usage();
    }
    copy[dots - text] = '\0';
    if (!str_to_u64(copy, &out->first) || !str_to_u64(dots + 2, &out->last) ||
        out->last < out->first) {
        usage();
    }
}

/* "3,7-12" */
static void parse_skip(const char *text, bool skip[FAULTS_DRAWN_MAX])
{
    while (text != NULL && *text != '\0') {
        char *end = NULL;
        unsigned long first = strtoul(text, &end, 10);
        unsigned long last = first;
        if (*end == '-') {
            last = strtoul(end + 1, &end, 10);
        }
        if (end == text || last < first || last >= FAULTS_DRAWN_MAX ||
            (*end != ',' && *end != '\0')) {
            usage();
        }
        for (unsigned long i = first; i <= last; i++) {
            skip[i] = true;
        }
        text = *end == ',' ? end + 1 : end;
    }
}

static struct options parse(int argc, char **argv)
{
    struct options out = {.first = 1, .last = 1, .hours = 1.0, .table = true};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--seeds") == 0 && more) {
            parse_seeds(argv[++i], &out);
        } else if (strcmp(argv[i], "--seed") == 0 && more) {
            if (!str_to_u64(argv[++i], &out.first)) {
                usage();
            }
            out.last = out.first;
        } else if (strcmp(argv[i], "--hours") == 0 && more) {
            out.hours = strtod(argv[++i], NULL);
        } else if (strcmp(argv[i], "--trace") == 0) {
            out.trace = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            out.quiet = true;
        } else if (strcmp(argv[i], "--every-rule") == 0) {
            out.every_rule = true;
        } else if (strcmp(argv[i], "--every-mark") == 0) {
            out.every_mark = true;
        } else if (strcmp(argv[i], "--hash") == 0) {
            out.hash = true;
        } else if (strcmp(argv[i], "--skip") == 0 && more) {
            out.skip = argv[++i];
        } else if (strcmp(argv[i], "--no-table") == 0) {
            out.table = false;
        } else {
            usage();
        }
    }
    if (!(out.hours > 0)) {
        usage();
    }
    return out;
}

static void print_table(const struct stats *stats)
{
    printf("\nrules reached, by the fault of the last 10 s (columns as numbered below)\n");
    printf("%-28s %10s", "rule", "all");
    for (int f = 0; f <= FAULT_COUNT; f++) {
        printf(" %5d", f);
    }
    printf("\n");
    for (int r = 0; r < CORE_REASON_COUNT; r++) {
        printf("%-28s %10" PRIu64, core_reason_name((enum core_reason)r), stats->reason[r]);
        for (int f = 0; f <= FAULT_COUNT; f++) {
            uint64_t n = stats->matrix[r][f];
            if (n < 100000) {
                printf(" %5" PRIu64, n);
            } else {
                printf(" %4" PRIu64 "k", n / 1000);
            }
        }
        printf("\n");
    }
    for (int f = 0; f < FAULT_COUNT; f++) {
        printf("  %d %s\n", f, fault_name((enum fault)f));
    }
    printf("  %d none\n", FAULT_COUNT);
}

static void report(const struct stats *stats, const struct options *options, double seconds)
{
    uint64_t faults = 0;
    int reached = 0;
    int cells = 0;
    for (int f = 0; f < FAULT_COUNT; f++) {
        faults += stats->faults[f];
    }
    for (int r = 0; r < CORE_REASON_COUNT; r++) {
        reached += stats->reason[r] > 0 ? 1 : 0;
        for (int f = 0; f <= FAULT_COUNT; f++) {
            cells += stats->matrix[r][f] > 0 ? 1 : 0;
        }
    }
    double hours = (double)stats->virtual_us / 3.6e9;
    printf("virtual hours      %.1f in %.1f s of CPU (%.0f x real time)\n", hours, seconds,
           hours * 3600 / seconds);
    printf("seeds              %" PRIu64 "..%" PRIu64 "\n", options->first, options->last);
    printf("events, core steps %" PRIu64 ", %" PRIu64 "\n", stats->events, stats->steps);
    printf("faults             %" PRIu64 " (%.1f a virtual minute)\n", faults,
           (double)faults / (hours * 60));
    for (int f = 0; f < FAULT_COUNT; f++) {
        printf("  %-16s %" PRIu64 "\n", fault_name((enum fault)f), stats->faults[f]);
    }
    printf("rounds healed      %" PRIu64 " (slowest primary %" PRId64 " ms)\n", stats->rounds,
           stats->worst_heal_us / 1000);
    printf("failovers          %" PRIu64 "\n", stats->failovers);
    printf("takeovers          %" PRIu64 " (promotions %" PRIu64 ")\n", stats->takeovers,
           stats->promotions);
    printf("in-doubt writes    %" PRIu64 " (answers lost %" PRIu64 ", requests late %" PRIu64 ")\n",
           stats->in_doubt, stats->in_doubt_applied, stats->late_writes);
    printf("leases on promises %" PRIu64 "\n", stats->promise_leases);
    printf("fenced by guards   %" PRIu64 "\n", stats->fences);
    printf("primaries stopped  %" PRIu64 "\n", stats->stops);
    printf("rewinds, clones    %" PRIu64 ", %" PRIu64 "\n", stats->rewinds, stats->clones);
    printf("lost (async) bytes %" PRIu64 "\n", stats->lost_bytes);
    printf("rules reached      %d of %d; rules x fault kinds: %d of %d\n", reached,
           (int)CORE_REASON_COUNT, cells, (int)CORE_REASON_COUNT * (FAULT_COUNT + 1));
    int marks = 0;
    for (int m = 0; m < MARK_COUNT; m++) {
        marks += stats->mark[m] > 0 ? 1 : 0;
    }
    printf("situations reached %d of %d\n", marks, (int)MARK_COUNT);
    for (int m = 0; m < MARK_COUNT; m++) {
        printf("  %10" PRIu64 "  %s\n", stats->mark[m], mark_text((enum mark)m));
    }
    if (options->table) {
        print_table(stats);
    }
}

static int marks_missed(const struct stats *stats)
{
    int missed = 0;
    for (int m = 0; m < MARK_COUNT; m++) {
        if (stats->mark[m] == 0) {
            printf("NEVER REACHED: %s\n", mark_text((enum mark)m));
            missed++;
        }
    }
    return missed;
}

static int rules_missed(const struct stats *stats)
{
    int missed = 0;
    for (int r = 0; r < CORE_REASON_COUNT; r++) {
        if (stats->reason[r] == 0) {
            printf("NEVER REACHED: rule %s\n", core_reason_name((enum core_reason)r));
            missed++;
        }
    }
    return missed;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct sim *sim = calloc(1, sizeof(*sim));
    struct stats *stats = calloc(1, sizeof(*stats));
    if (sim == NULL || stats == NULL) {
        free(sim);
        free(stats);
        return 2;
    }
    sim->stats = stats;
    sim->tracing = options.trace;
    sim->quiet = options.quiet;
    parse_skip(options.skip, sim->skip);
    double start = cpu_seconds();
    for (uint64_t seed = options.first;; seed++) {
        sim->end_us = (int64_t)(options.hours * 3600.0 * (double)SECOND_US);
        world_reset(sim, seed);
        world_run(sim);
        if (options.hash) {
            printf("seed %" PRIu64 " hash %016" PRIx64 "\n", seed, sim->hash);
        }
        if (seed == options.last) {
            break;
        }
    }
    if (!options.quiet) {
        report(stats, &options, cpu_seconds() - start);
    }
    int missed = options.every_rule ? rules_missed(stats) : 0;
    missed += options.every_mark ? marks_missed(stats) : 0;
    free(sim);
    free(stats);
    return missed == 0 ? 0 : 1;
}
