/* config/env.h - configuration from the environment.
 *
 * Purpose    HOLDFAST_* and PATRONI_* variables as a configuration tree of their own; of two with the
 *            same ending HOLDFAST_ wins.
 * Ownership  config_env_capture's answer goes to config_env_free. A reload uses what was captured at
 *            the start: the environment is read once.
 * Errors     none: empty values are ignored.
 * Threads    before any thread is started: capturing may change the environment.
 * Source     compat/config.md sections 1.2 and 6.
 */
#ifndef HOLDFAST_CONFIG_ENV_H
#define HOLDFAST_CONFIG_ENV_H

#include <stdbool.h>

#include "codec/yaml.h"

struct config_env;

/* remove: the variables are taken out of the process' environment, passwords with them. */
struct config_env *config_env_capture(bool remove);
void config_env_free(struct config_env *env); /* takes NULL */

/* PATRONI_CONFIGURATION: a whole configuration as YAML; NULL when not set. */
const char *config_env_whole(const struct config_env *env);

/* The other variables as a tree with marks ("environment variable PATRONI_NAME"). Never NULL. */
json_t *config_env_tree(const struct config_env *env, struct yaml_marks *marks);

#endif
