/* SPDX-License-Identifier: MIT
 *
 * Tiles of queries of the attention motion flow: which tokens, which rows of the flow, which own
 * position.
 */
#ifndef VMT_FLOW_TILES_H
#define VMT_FLOW_TILES_H

#include "tensor/tensor.h"

/* Tokens first_row.., first_col.. of a tile (fewer at the right and bottom). */
typedef struct flow_tile {
    int64_t index, first_row, first_col, rows, cols;
} flow_tile;

static inline flow_tile flow_tile_at(const vmt_flow_geometry *g, int64_t index)
{
    const int64_t across = (g->grid_w + g->tile_w - 1) / g->tile_w;
    flow_tile t = {.index = index,
                   .first_row = index / across * g->tile_h,
                   .first_col = index % across * g->tile_w};
    const int64_t rows_left = g->grid_h - t.first_row, cols_left = g->grid_w - t.first_col;
    t.rows = g->tile_h < rows_left ? g->tile_h : rows_left;
    t.cols = g->tile_w < cols_left ? g->tile_w : cols_left;
    return t;
}

/* Token n of a tile: its place in the frame, its row of the flow, its own position. */
typedef struct flow_query {
    int64_t token, flow_row, own_row, own_col;
} flow_query;

static inline flow_query flow_query_of(const vmt_flow_geometry *g, const flow_tile *t, int64_t n)
{
    const int64_t row = n / t->cols, col = n % t->cols;
    flow_query query = {.token = (t->first_row + row) * g->grid_w + t->first_col + col};

    if (g->positions == VMT_POSITIONS_RELEASED) {
        query.flow_row = t->index * g->tile_h * g->tile_w + row * g->tile_w + col;
        query.own_row = row;
        query.own_col = col;
    } else {
        query.flow_row = query.token;
        query.own_row = t->first_row + row;
        query.own_col = t->first_col + col;
    }
    return query;
}

/* The token that chooses a tile's window. */
static inline int64_t flow_centre_of(const vmt_flow_geometry *g, int64_t index)
{
    const flow_tile t = flow_tile_at(g, index);
    const int64_t row = t.first_row + g->tile_h / 2, col = t.first_col + g->tile_w / 2;
    return (row < g->grid_h ? row : g->grid_h - 1) * g->grid_w +
           (col < g->grid_w ? col : g->grid_w - 1);
}

/* Place that entry p of a tile's window counts as.   rows, cols: of this tile. */
static inline void flow_entry_place(const vmt_flow_geometry *g, const int32_t *rows,
                                    const int32_t *cols, int64_t p, int64_t place[2])
{
    const int64_t a = p / g->window_w, b = p % g->window_w;

    if (g->positions == VMT_POSITIONS_RELEASED) {
        place[0] = p % 2 ? 0 : a;
        place[1] = p % 2 ? 0 : b;
    } else {
        place[0] = rows[a];
        place[1] = cols[b];
    }
}

#endif
