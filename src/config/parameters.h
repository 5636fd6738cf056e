/* config/parameters.h - postgresql.parameters and recovery_conf, merged and checked.
 *
 * Purpose    split server settings into those that the agent controls and the others.
 * Ownership  everything goes to the section's arena.
 * Errors     a controlled setting with a bad value is dropped for its default, with a warning.
 * Source     compat/config.md section 5.1.
 */
#ifndef HOLDFAST_CONFIG_PARAMETERS_H
#define HOLDFAST_CONFIG_PARAMETERS_H

#include "config/tree.h"
#include "pg/pg_config.h"

/* Fills in parameters, controlled and recovery. listen_addresses, port and cluster_name are not among
 * them: they are fields of pg_config. wal_keep_size is never on the command line, so it is an
 * uncontrolled one; so is wal_retrieve_retry_interval with its default of 200ms (design section 7). */
void config_parameters(const struct config_section *local, const struct config_section *dynamic,
                       struct pg_config *pg);

#endif
