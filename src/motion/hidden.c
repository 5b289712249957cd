/* SPDX-License-Identifier: MIT */
#include "motion/hidden.h"

enum vmt_status vmt_hidden_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_hidden_memory *memory,
                                  const int64_t grid[3], int64_t dim, int64_t side)
{
    vmt_hidden_memory *const m = memory;
    vmt_tensor *const cells[] = {&m->pooled, &m->dpooled};
    vmt_tensor *const rows[] = {&m->moved, &m->dmoved, &m->unit, &m->dunit};

    if (grid[0] < 2)
        return vmt_fail(ctx, VMT_E_ARG,
                        "one latent frame, in which nothing moves: this method compares frames; "
                        "ask for 5 frames or more");
    m->pooling =
        (vmt_pooling){.grid_h = grid[1], .grid_w = grid[2], .cells_h = side, .cells_w = side};
    for (int i = 0; i < 2; i++)
        VMT_TRY(vmt_take(ctx, arena, cells[i], ctx->real, VMT_SHAPE(grid[0], side * side, dim)));
    for (int i = 0; i < 4; i++)
        VMT_TRY(
            vmt_take(ctx, arena, rows[i], ctx->real, VMT_SHAPE(grid[0] - 1, side * side * dim)));
    return vmt_take(ctx, arena, &m->dhidden, ctx->real,
                    VMT_SHAPE(grid[0] * grid[1] * grid[2], dim));
}

/* [N, dim] as [frames, tokens, dim]. */
static vmt_tensor by_frame(const vmt_hidden_memory *m, const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(m->pooled.shape[0], m->pooling.grid_h * m->pooling.grid_w,
                                    m->pooled.shape[2]));
}

/* Frames first.. of pooled, as the rows of moved. */
static vmt_tensor rows_from(const vmt_hidden_memory *m, const vmt_tensor *pooled, int64_t first)
{
    const vmt_tensor part = vmt_slice(pooled, first, m->moved.shape[0]);

    return vmt_reshape(&part, 2, m->moved.shape);
}

enum vmt_status vmt_hidden_moved(vmt_ctx *ctx, vmt_hidden_memory *memory, const vmt_tensor *hidden)
{
    vmt_hidden_memory *const m = memory;
    const vmt_tensor x = by_frame(m, hidden);

    VMT_TRY(vmt_pool(ctx, &m->pooled, &x, &m->pooling));
    if (m->pooled.shape[1] > 1)
        VMT_TRY(vmt_centre(ctx, &m->pooled, &m->pooled));
    const vmt_tensor now = rows_from(m, &m->pooled, 0), next = rows_from(m, &m->pooled, 1);
    return vmt_lincomb(ctx, &m->moved, &next, &now, 1.0, -1.0);
}

enum vmt_status vmt_hidden_distance(vmt_ctx *ctx, vmt_hidden_memory *memory, vmt_tensor *loss,
                                    const vmt_tensor *reference, const vmt_tensor *mask,
                                    double grad_scale)
{
    vmt_hidden_memory *const m = memory;
    vmt_tensor now = rows_from(m, &m->dpooled, 0), next = rows_from(m, &m->dpooled, 1);
    vmt_tensor dx = by_frame(m, &m->dhidden);

    VMT_TRY(vmt_unit_rows(ctx, &m->unit, &m->moved, mask));
    VMT_TRY(vmt_flow_loss(ctx, loss, &m->dunit, &m->unit, reference, NULL,
                          1.0 / (double)m->moved.shape[0], grad_scale));
    VMT_TRY(vmt_unit_rows_bwd(ctx, &m->dmoved, &m->dunit, &m->moved, mask));
    VMT_TRY(vmt_zero(ctx, &m->dpooled));
    VMT_TRY(vmt_lincomb(ctx, &now, &now, &m->dmoved, 1.0, -1.0));
    VMT_TRY(vmt_lincomb(ctx, &next, &next, &m->dmoved, 1.0, 1.0));
    if (m->pooled.shape[1] > 1)
        VMT_TRY(vmt_centre(ctx, &m->dpooled, &m->dpooled));
    return vmt_pool_bwd(ctx, &dx, &m->dpooled, &m->pooling);
}
