/* SPDX-License-Identifier: MIT
 *
 * Settings of local attention as the boxes that a grid gets.
 */
#ifndef VMT_PIPELINE_LOCAL_SETTINGS_H
#define VMT_PIPELINE_LOCAL_SETTINGS_H

#include "dit/dit.h"

/* What a run does: all passes false for full attention, also where the boxes are the whole grid.
 * Errors: VMT_E_ARG (a tile larger than its box, blocks that the model does not have). */
enum vmt_status vmt_local_make(vmt_ctx *ctx, vmt_dit_local *local,
                               const vmt_attention_settings *settings, const int64_t grid[3],
                               int64_t layers);

/* Whether the reference's features depend on the settings of local attention. */
bool vmt_local_in_reference(const vmt_attention_settings *settings);

#endif
