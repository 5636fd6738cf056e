/* Runs every script of a folder and compares what the core did with what the script says.
 *
 * usage: scenario [--update] FOLDER [NAME...]
 *
 * The file as it ought to be is built from its own lines and the core's output; a difference fails,
 * --update writes it back for a review by diff. `must` and `never` hold in both cases. */
#include "scenario.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/str.h"

#define SCRIPT_MAX (256 * 1024)
#define LINE_MAX_BYTES 512

struct script {
    const char *path;
    int line;
    struct world *world;
    bool title;
    bool lesson;
    bool rule;
    bool guarded; /* must or never is there */
    char must[LINE_MAX_BYTES];
    char never[LINE_MAX_BYTES];
};

static bool complain(const struct script *script, const char *what)
{
    (void)fprintf(stderr, "%s:%d: %s\n", script->path, script->line, what);
    return false;
}

static size_t split(char *line, char *words[WORDS_MAX])
{
    size_t count = 0;
    char *save = NULL;
    for (char *word = strtok_r(line, " ", &save); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, " ", &save)) {
        words[count++] = word;
    }
    return count;
}

/* `name` is a rule or an action; out_happened: the scenario reached it. */
static bool happened(const struct world *world, const char *name, bool *out_happened)
{
    for (int r = 0; r < CORE_REASON_COUNT; r++) {
        if (str_equal(core_reason_name((enum core_reason)r), name)) {
            *out_happened = world->reached[r];
            return true;
        }
    }
    for (int a = 0; a < CORE_ACTION_COUNT; a++) {
        if (str_equal(core_action_name((enum core_action_type)a), name)) {
            *out_happened = world->acted[a];
            return true;
        }
    }
    return false;
}

static bool check_names(const struct script *script, const char *list, bool wanted)
{
    char copy[LINE_MAX_BYTES];
    char *words[WORDS_MAX];
    str_set(copy, sizeof(copy), list);
    size_t count = split(copy, words);
    for (size_t i = 0; i < count; i++) {
        bool seen = false;
        words[i][strcspn(words[i], ",")] = '\0';
        if (!happened(script->world, words[i], &seen)) {
            (void)fprintf(stderr, "%s: no such rule or action: %s\n", script->path, words[i]);
            return false;
        }
        if (seen != wanted) {
            (void)fprintf(stderr, "%s: %s %s\n", script->path, words[i],
                          wanted ? "never happened" : "happened");
            return false;
        }
    }
    return true;
}

static bool head_line(struct script *script, const char *line)
{
    const char *value = strchr(line, ':');
    if (value == NULL || value[1] != ' ') {
        return complain(script, "neither KEY: VALUE nor > COMMAND");
    }
    size_t length = (size_t)(value - line);
    const struct {
        const char *key;
        bool *seen;
        char *copy;
    } keys[] = {{"scenario", &script->title, NULL},
                {"lesson", &script->lesson, NULL},
                {"pain", &script->lesson, NULL},
                {"design", &script->lesson, NULL},
                {"rule", &script->rule, NULL},
                {"must", &script->guarded, script->must},
                {"never", &script->guarded, script->never}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strlen(keys[i].key) == length && strncmp(keys[i].key, line, length) == 0) {
            *keys[i].seen = true;
            return keys[i].copy == NULL || str_copy(keys[i].copy, LINE_MAX_BYTES, value + 2);
        }
    }
    return complain(script, "an unknown key");
}

static bool command_line(struct script *script, const char *line)
{
    char copy[LINE_MAX_BYTES];
    char *words[WORDS_MAX];
    if (!str_copy(copy, sizeof(copy), line)) {
        return complain(script, "too long");
    }
    size_t count = split(copy, words);
    if (count == 0 || !world_command(script->world, words, count)) {
        return complain(script, "a command that is not understood here");
    }
    return true;
}

/* The file as it ought to be, into `out`: output lines of before are dropped, those of now added. */
static bool run_lines(struct script *script, const char *text, FILE *out)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        char line[LINE_MAX_BYTES];
        script->line++;
        if (length >= sizeof(line)) {
            return complain(script, "too long");
        }
        memcpy(line, text, length);
        line[length] = '\0';
        text += length + (text[length] == '\n');
        if (line[0] == ' ') {
            continue; /* output of an earlier run */
        }
        (void)fprintf(out, "%s\n", line);
        bool plain = line[0] == '\0' || line[0] == '#';
        bool good =
            plain || (line[0] == '>' ? command_line(script, &line[1]) : head_line(script, line));
        if (!good) {
            return false;
        }
    }
    if (!script->title || !script->lesson || !script->rule || !script->guarded) {
        return complain(script, "scenario, lesson (pain, design), rule, and must or never are due");
    }
    return true;
}

static bool file_read(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t length = fread(text, 1, size - 1, file);
    bool good = ferror(file) == 0 && feof(file) != 0;
    text[length] = '\0';
    return fclose(file) == 0 && good;
}

static bool file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return false;
    }
    bool good = fputs(text, file) >= 0;
    return fclose(file) == 0 && good;
}

/* The first line that differs, and what follows it on both sides. */
static void tell_difference(const char *path, const char *wanted, const char *given)
{
    int line = 1;
    size_t start = 0;
    for (size_t i = 0; wanted[i] == given[i] && wanted[i] != '\0'; i++) {
        if (wanted[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    (void)fprintf(stderr, "%s:%d: written down:\n%.600s\n%s:%d: the core gave:\n%.600s\n", path,
                  line, &wanted[start], path, line, &given[start]);
}

static bool run_script(const char *path, bool update)
{
    static struct world world;
    static char text[SCRIPT_MAX];
    world = (struct world){.shown_reason = -1};
    struct script script = {.path = path, .world = &world};
    AUTO_FREE char *given = NULL;
    size_t size = 0;
    if (!file_read(path, text, sizeof(text))) {
        return complain(&script, "cannot be read whole");
    }
    world.out = open_memstream(&given, &size);
    if (world.out == NULL) {
        return complain(&script, "no memory");
    }
    bool good = run_lines(&script, text, world.out);
    if (fclose(world.out) != 0 || given == NULL) {
        return complain(&script, "no memory");
    }
    good = good && check_names(&script, script.must, true);
    good = good && check_names(&script, script.never, false);
    if (!good || str_equal(text, given)) {
        return good;
    }
    if (update) {
        (void)printf("%s: written anew\n", path);
        return file_write(path, given);
    }
    tell_difference(path, text, given);
    return false;
}

static int is_script(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 9 && str_equal(&entry->d_name[length - 9], ".scenario");
}

static bool named(const char *file, char *const names[], int count)
{
    for (int i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(file, names[i], length) == 0 && str_equal(&file[length], ".scenario")) {
            return true;
        }
    }
    return count == 0;
}

int main(int argc, char *argv[])
{
    bool update = argc > 1 && str_equal(argv[1], "--update");
    int first = update ? 2 : 1;
    if (argc <= first) {
        (void)fprintf(stderr, "usage: scenario [--update] FOLDER [NAME...]\n");
        return 2;
    }
    struct dirent **entries = NULL;
    int count = scandir(argv[first], &entries, is_script, alphasort);
    int run = 0;
    int failed = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        bool fits = str_format(path, sizeof(path), "%s/%s", argv[first], entries[i]->d_name);
        if (named(entries[i]->d_name, &argv[first + 1], argc - first - 1)) {
            bool good = fits && run_script(path, update);
            run++;
            failed += !good;
            if (!good) {
                (void)fprintf(stderr, "FAILED: %s\n", entries[i]->d_name);
            }
        }
        free(entries[i]);
    }
    free(entries);
    (void)printf("scenarios: %d run, %d failed\n", run, failed);
    return run > 0 && failed == 0 ? 0 : 1;
}
