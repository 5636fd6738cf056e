/* The store's process alone, for tests that start, freeze and kill it: DIR [SOCKET] [--no-sync]. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "store/store.h"

int main(int argc, char **argv)
{
    struct store_options options = {.dir = NULL};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--no-sync") == 0) {
            options.no_sync = true;
        } else if (options.dir == NULL) {
            options.dir = argv[i];
        } else {
            options.socket_path = argv[i];
        }
    }
    return store_main(&options);
}
