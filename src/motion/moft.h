/* SPDX-License-Identifier: MIT */
#ifndef VMT_MOTION_MOFT_H
#define VMT_MOTION_MOFT_H

#include "tensor/tensor.h"

/* The `count` channels (columns of moved, [n, C] R) whose mean absolute value is largest, falling;
 * the earlier one wins a tie.  Host memory. */
enum vmt_status vmt_moft_choose(vmt_ctx *ctx, int64_t *channels, int64_t count,
                                const vmt_tensor *moved);

/* How many of `dim` channels a share keeps, at least one. */
int64_t vmt_moft_count(double share, int64_t dim);

#endif
