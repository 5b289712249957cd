/* SPDX-License-Identifier: MIT
 *
 * What the flow ops share.  Keys are rows of the left operand and queries columns of the right one,
 * so that a lane holds a query and neither softmax nor expected place needs a sum across lanes.
 */
#ifndef VMT_CPU_FLOW_H
#define VMT_CPU_FLOW_H

#include "backend/cpu/cpu_attention.h"
#include "backend/flow_tiles.h"

#include <math.h>

#define LOG2_E 1.44269504088896341

/* `count` rows of d floats, `row` apart, with room for what products round up. */
static inline int64_t cpu_flow_row(int64_t d)
{
    return cpu_round_up(d, CPU_MAX_LANES);
}

static inline float *cpu_take_floats(vmt_arena *arena, int64_t count)
{
    size_t bytes;

    if (!vmt_mul_size((size_t)count, sizeof(float), &bytes))
        bytes = SIZE_MAX;
    return vmt_arena_take(arena, bytes);
}

static inline uint32_t *cpu_units(float *x)
{
    return (uint32_t *)(void *)x;
}

/* s = logit_scale / √d. */
static inline float cpu_logit_factor(double logit_scale, int64_t d)
{
    return (float)(logit_scale / sqrt((double)d));
}

#endif
