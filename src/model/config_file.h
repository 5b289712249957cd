/* SPDX-License-Identifier: MIT
 *
 * Inside of vmt_config_file and checked lookups in it; only src/model includes it.
 */
#ifndef VMT_MODEL_CONFIG_FILE_H
#define VMT_MODEL_CONFIG_FILE_H

#include "base/json.h"
#include "model/model_config.h"

struct vmt_config_file {
    cJSON *root;
    char *label; /* path, for messages */
};

/* A section ("dit", "motion", …), or NULL.  An official config.json is one DiT section as a whole.
 */
const cJSON *vmt_config_section(const vmt_config_file *config, const char *name);

/* The item as a number; VMT_E_FORMAT when it is of another type or out of [low, high]. */
enum vmt_status vmt_config_int(vmt_ctx *ctx, const char *label, const cJSON *item, int64_t low,
                               int64_t high, int64_t *value);
enum vmt_status vmt_config_real(vmt_ctx *ctx, const char *label, const cJSON *item, double low,
                                double high, double *value);

#endif
