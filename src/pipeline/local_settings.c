/* SPDX-License-Identifier: MIT */
#include "pipeline/local_settings.h"

#include <inttypes.h>

/* Tokens of an axis of `grid`, at least one and at most all. */
static int64_t tokens_of(int32_t extent, int64_t grid)
{
    const int64_t tokens = extent < 0 ? (grid * -extent + 50) / 100 : extent;

    return tokens < 1 ? 1 : tokens < grid ? tokens : grid;
}

/* Tiles of one axis when nobody names them: some half of the box, so that a query sees about as far
 * to each side, and as equal as the grid allows; rather large than small. */
static int64_t choose_tile(int64_t grid, int64_t box)
{
    int64_t best = 1, least = INT64_MAX;

    if (box == grid)
        return grid;
    for (int64_t tile = 2 * box / 3; tile >= 1 && 20 * tile >= 9 * box; tile--) {
        const int64_t over = (grid + tile - 1) / tile * tile - grid;
        if (over < least) {
            least = over;
            best = tile;
        }
    }
    return best;
}

bool vmt_local_in_reference(const vmt_attention_settings *settings)
{
    return settings->kind == VMT_ATTENTION_LOCAL && (settings->phases >> VMT_DIT_REFERENCE & 1);
}

enum vmt_status vmt_local_make(vmt_ctx *ctx, vmt_dit_local *local,
                               const vmt_attention_settings *settings, const int64_t grid[3],
                               int64_t layers)
{
    vmt_local_geometry *g = &local->geometry;
    bool whole = true;

    *local = (vmt_dit_local){.first = settings->blocks[0], .last = settings->blocks[1]};
    if (settings->kind != VMT_ATTENTION_LOCAL)
        return VMT_OK;
    if (local->first >= layers)
        return vmt_fail(ctx, VMT_E_ARG, "--local-blocks %d-%d: the model has blocks 0 to %" PRId64,
                        local->first, local->last, layers - 1);
    for (int a = 0; a < 3; a++) {
        g->grid[a] = grid[a];
        g->box[a] = tokens_of(settings->window[a], grid[a]);
        g->tile[a] = settings->tile[a] ? tokens_of(settings->tile[a], grid[a])
                                       : choose_tile(grid[a], g->box[a]);
        if (g->tile[a] > g->box[a])
            return vmt_fail(ctx, VMT_E_ARG,
                            "--attention-tile: %" PRId64 " tokens of axis %d (0: time), more than "
                            "the %" PRId64 " that --attention-window gives",
                            g->tile[a], a, g->box[a]);
        whole = whole && g->box[a] == grid[a];
    }
    if (whole)
        *local = (vmt_dit_local){0};
    for (int pass = 0; pass < VMT_DIT_PASSES; pass++)
        local->passes[pass] = !whole && (settings->phases >> pass & 1);
    return VMT_OK;
}
