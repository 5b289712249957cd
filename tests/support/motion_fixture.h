/* SPDX-License-Identifier: MIT
 *
 * Small motion problems with random features, and a stand-in for the denoising network.
 */
#ifndef MOTION_FIXTURE_H
#define MOTION_FIXTURE_H

#include "testing.h"

#include "motion/guidance.h"

/* Settings of the paper on small grids: tile 3x4, window 5, three frames, ten inner steps. */
vmt_motion_settings motion_settings(enum vmt_variant variant);

/* A random tensor of standard deviation about `scale`, in memory of `arena`. */
vmt_tensor motion_random(vmt_ctx *ctx, vmt_arena *arena, test_rng *rng, double scale, int rank,
                         const int64_t *shape);

/* An arena of backend memory for a test. */
vmt_arena motion_arena(vmt_ctx *ctx, size_t bytes);

/* Elements as double. */
double motion_get(vmt_ctx *ctx, const vmt_tensor *t, int64_t i);
void motion_set(vmt_ctx *ctx, vmt_tensor *t, int64_t i, double value);
bool motion_equal(vmt_ctx *ctx, const vmt_tensor *a, const vmt_tensor *b); /* to the bit */

/* q = hidden = (1 + timestep / 1000) x, k = velocity = 0.7 x + c, c from the text; the latent x
 * [C, F, H, W] is read as [N, heads, head_dim]. */
typedef struct fake_network {
    vmt_ctx *ctx;
    vmt_tensor q, k, ones, hidden, velocity;
    int forwards, kept, backwards;
    float last_timestep;
    enum vmt_tap_text last_text;
    double gain; /* of the last kept forward */
} fake_network;

void fake_network_init(vmt_ctx *ctx, vmt_arena *arena, fake_network *f, int64_t tokens,
                       int64_t heads, int64_t head_dim);
vmt_tap_model fake_network_tap(fake_network *f);

#endif
