/* SPDX-License-Identifier: MIT
 *
 * Tiles of queries and boxes of keys of local attention; vmt_op_attention_local in tensor/tensor.h
 * says what they are.
 */
#ifndef VMT_LOCAL_TILES_H
#define VMT_LOCAL_TILES_H

#include "tensor/tensor.h"

/* A box of the grid: tokens first[a] .. first[a] + count[a] - 1 of each axis. */
typedef struct local_span {
    int64_t first[3], count[3];
} local_span;

static inline int64_t local_box_tokens(const vmt_local_geometry *g)
{
    return g->box[0] * g->box[1] * g->box[2];
}

/* First key of the boxes of tiles t of one axis. */
static inline int64_t local_box_first(const vmt_local_geometry *g, int a, int64_t t)
{
    const int64_t first = t * g->tile[a] - (g->box[a] - g->tile[a]) / 2;
    const int64_t last = g->grid[a] - g->box[a];

    return first < 0 ? 0 : first < last ? first : last;
}

/* Tiles of one size: along[a] of them from tile first[a] of axis a on, of queries[a] tokens each.
 * Bits of a class's index: 2 ragged in time, 1 rows, 0 columns; some have no tiles. */
enum { LOCAL_CLASSES = 8 };

typedef struct local_class {
    int64_t first[3], along[3], queries[3];
    int64_t tiles, size; /* product of along, of queries */
} local_class;

static inline local_class local_class_at(const vmt_local_geometry *g, int index)
{
    local_class c = {.tiles = 1, .size = 1};

    for (int a = 0; a < 3; a++) {
        const bool ragged = index >> (2 - a) & 1;
        const int64_t whole = g->grid[a] / g->tile[a], rest = g->grid[a] % g->tile[a];
        c.first[a] = ragged ? whole : 0;
        c.along[a] = ragged ? rest > 0 : whole;
        c.queries[a] = ragged ? rest : g->tile[a];
        c.tiles *= c.along[a];
        c.size *= c.queries[a];
    }
    return c;
}

/* Queries and keys of tile `index` of a class; tiles are counted as tokens are, columns fastest. */
static inline void local_tile_at(const vmt_local_geometry *g, const local_class *c, int64_t index,
                                 local_span *queries, local_span *keys)
{
    for (int a = 2; a >= 0; a--) {
        const int64_t t = c->first[a] + index % c->along[a];
        index /= c->along[a];
        queries->first[a] = t * g->tile[a];
        queries->count[a] = c->queries[a];
        keys->first[a] = local_box_first(g, a, t);
        keys->count[a] = g->box[a];
    }
}

/* Runs of neighbouring tokens: a span has count[0] · count[1] of them, of count[2] tokens each. */
static inline int64_t local_run_token(const vmt_local_geometry *g, const local_span *s, int64_t run)
{
    const int64_t frame = s->first[0] + run / s->count[1], row = s->first[1] + run % s->count[1];

    return (frame * g->grid[1] + row) * g->grid[2] + s->first[2];
}

static inline int64_t local_runs(const local_span *s)
{
    return s->count[0] * s->count[1];
}

#endif
