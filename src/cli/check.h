/* cli/check.h - what `holdfast check` finds out about this machine; only for src/cli.
 *
 * Purpose    ports, binaries, directories, users and the guard's rights.
 * Ownership  complaints go to the report.
 */
#ifndef HOLDFAST_CLI_CHECK_H
#define HOLDFAST_CLI_CHECK_H

#include "config/config.h"

void check_host(const struct config *config, struct config_report *report);

#endif
