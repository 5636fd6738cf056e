/* Every kept input of one fuzzer, once: usage: replay NAME FOLDER. Needs no libFuzzer, so it runs with
 * any compiler. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"

static void run_file(int dir_fd, const char *name, fuzz_function function)
{
    AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    struct stat status;
    ASSERT(fd >= 0 && fstat(fd, &status) == 0);
    size_t size = (size_t)status.st_size;
    AUTO_FREE uint8_t *data = malloc(size > 0 ? size : 1);
    ASSERT(data != NULL && read(fd, data, size) == status.st_size);
    (void)fprintf(stderr, "%s\n", name); /* the last one named is the one that failed */
    function(data, size);
}

int main(int argc, char **argv)
{
    fuzz_function function = argc == 3 ? fuzz_find(argv[1]) : NULL;
    DIR *dir = function != NULL ? opendir(argv[2]) : NULL;
    if (dir == NULL) {
        (void)fprintf(stderr, "usage: replay NAME FOLDER\n");
        return 2;
    }
    unsigned count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            run_file(dirfd(dir), entry->d_name, function);
            count++;
        }
    }
    (void)closedir(dir);
    (void)printf("%s: %u inputs\n", argv[1], count);
    return count > 0 && fflush(stdout) == 0 ? 0 : 1;
}
