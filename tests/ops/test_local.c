/* SPDX-License-Identifier: MIT
 *
 * Local attention of ref64 against attention among all tokens with a mask, written out index by
 * index, on every geometry that small grids have; and what a box of the whole grid comes to.
 */
#include "testing.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { HEADS = 2, DIM = 3, MOST = 64, ROW = HEADS * DIM };

static const double SCALE = 0.7;

struct tokens {
    vmt_ctx *ctx;
    int64_t count;
    double q[MOST * ROW], k[MOST * ROW], v[MOST * ROW], dout[MOST * ROW];
    double o[MOST * ROW], dq[MOST * ROW], dk[MOST * ROW], dv[MOST * ROW], lse[HEADS * MOST];
    /* by the mask */
    double want_o[MOST * ROW], want_dq[MOST * ROW], want_dk[MOST * ROW], want_dv[MOST * ROW];
    double want_lse[HEADS * MOST];
};

static vmt_tensor rows(const struct tokens *x, double *data)
{
    return vmt_tensor_over(data, VMT_F64, VMT_SHAPE(x->count, HEADS, DIM));
}

/* Whether the query at place i of an axis sees the key at j. */
static bool sees(const vmt_local_geometry *g, int a, int64_t i, int64_t j)
{
    int64_t begin = i / g->tile[a] * g->tile[a]; /* of the tile */

    begin -= (g->box[a] - g->tile[a]) / 2; /* what is over goes behind */
    if (begin + g->box[a] > g->grid[a])
        begin = g->grid[a] - g->box[a];
    if (begin < 0)
        begin = 0;
    return j >= begin && j < begin + g->box[a];
}

static bool visible(const vmt_local_geometry *g, int64_t i, int64_t j)
{
    const int64_t *n = g->grid;

    return sees(g, 2, i % n[2], j % n[2]) && sees(g, 1, i / n[2] % n[1], j / n[2] % n[1]) &&
           sees(g, 0, i / n[2] / n[1], j / n[2] / n[1]);
}

static double dot(const double *a, const double *b)
{
    double sum = 0;

    for (int c = 0; c < DIM; c++)
        sum += a[c] * b[c];
    return sum;
}

static void add(double *y, double factor, const double *x)
{
    for (int c = 0; c < DIM; c++)
        y[c] += factor * x[c];
}

static void by_mask(struct tokens *x, const vmt_local_geometry *g)
{
    memset(x->want_o, 0, sizeof x->want_o);
    memset(x->want_dq, 0, sizeof x->want_dq);
    memset(x->want_dk, 0, sizeof x->want_dk);
    memset(x->want_dv, 0, sizeof x->want_dv);
    for (int64_t h = 0; h < HEADS; h++)
        for (int64_t i = 0; i < x->count; i++) {
            const int64_t at = i * ROW + h * DIM;
            double sum = 0;
            for (int64_t j = 0; j < x->count; j++)
                if (visible(g, i, j))
                    sum += exp(SCALE * dot(x->q + at, x->k + j * ROW + h * DIM));
            x->want_lse[h * x->count + i] = log(sum);
            for (int64_t j = 0; j < x->count; j++)
                if (visible(g, i, j))
                    add(x->want_o + at, exp(SCALE * dot(x->q + at, x->k + j * ROW + h * DIM)) / sum,
                        x->v + j * ROW + h * DIM);
            const double delta = dot(x->dout + at, x->want_o + at);
            for (int64_t j = 0; j < x->count; j++) {
                const int64_t key = j * ROW + h * DIM;
                if (!visible(g, i, j))
                    continue;
                const double p = exp(SCALE * dot(x->q + at, x->k + key)) / sum;
                const double ds = SCALE * p * (dot(x->dout + at, x->v + key) - delta);
                add(x->want_dv + key, p, x->dout + at);
                add(x->want_dq + at, ds, x->k + key);
                add(x->want_dk + key, ds, x->q + at);
            }
        }
}

static void expect(const vmt_local_geometry *g, const char *what, const double *have,
                   const double *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(have[i] - want[i]) <= 1e-12))
            fail_msg("grid %d %d %d, tile %d %d %d, box %d %d %d: %s[%" PRId64 "] is %.17g, "
                     "wanted %.17g",
                     (int)g->grid[0], (int)g->grid[1], (int)g->grid[2], (int)g->tile[0],
                     (int)g->tile[1], (int)g->tile[2], (int)g->box[0], (int)g->box[1],
                     (int)g->box[2], what, i, have[i], want[i]);
}

static void compute(struct tokens *x, const vmt_local_geometry *g)
{
    const vmt_tensor q = rows(x, x->q), k = rows(x, x->k), v = rows(x, x->v),
                     dout = rows(x, x->dout);
    vmt_tensor o = rows(x, x->o), dq = rows(x, x->dq), dk = rows(x, x->dk), dv = rows(x, x->dv);
    vmt_tensor lse = vmt_tensor_over(x->lse, VMT_F64, VMT_SHAPE(HEADS, x->count));

    CHECK_OK(x->ctx, vmt_attention_local(x->ctx, &o, &lse, &q, &k, &v, g, SCALE));
    CHECK_OK(x->ctx,
             vmt_attention_local_bwd(x->ctx, &dq, &dk, &dv, &dout, &q, &k, &v, &o, &lse, g, SCALE));
}

static void draw(struct tokens *x, const vmt_local_geometry *g, uint64_t seed)
{
    test_rng rng = {seed};
    double *const inputs[] = {x->q, x->k, x->v, x->dout};

    x->count = g->grid[0] * g->grid[1] * g->grid[2];
    assert_true(x->count <= MOST);
    for (int t = 0; t < 4; t++)
        for (int64_t i = 0; i < x->count * ROW; i++)
            inputs[t][i] = test_uniform(&rng);
}

static void check(struct tokens *x, const vmt_local_geometry *g)
{
    compute(x, g);
    by_mask(x, g);
    expect(g, "o", x->o, x->want_o, x->count * ROW);
    expect(g, "lse", x->lse, x->want_lse, x->count * HEADS);
    expect(g, "dq", x->dq, x->want_dq, x->count * ROW);
    expect(g, "dk", x->dk, x->want_dk, x->count * ROW);
    expect(g, "dv", x->dv, x->want_dv, x->count * ROW);
}

/* Every tile and box of one axis, the others whole or in one way ragged. */
static void all_geometries(void **state)
{
    static struct tokens x;
    int count = 0;

    (void)state;
    x.ctx = test_ctx_open("ref64", NULL);
    for (int a = 0; a < 3; a++)
        for (int64_t grid = 1; grid <= 6; grid++)
            for (int64_t box = 1; box <= grid; box++)
                for (int64_t tile = 1; tile <= box; tile++) {
                    vmt_local_geometry g = {{3, 3, 3}, {2, 2, 2}, {2, 2, 2}};
                    g.grid[a] = grid;
                    g.tile[a] = tile;
                    g.box[a] = box;
                    draw(&x, &g, (uint64_t)(100 + count++));
                    check(&x, &g);
                }
    print_message("%d geometries\n", count);
    test_ctx_close(x.ctx);
}

static void whole_grid_is_attention(void **state)
{
    static struct tokens x;
    static double o[MOST * ROW], lse[HEADS * MOST];
    const vmt_local_geometry g = {{2, 3, 5}, {1, 2, 3}, {2, 3, 5}};

    (void)state;
    x.ctx = test_ctx_open("ref64", NULL);
    draw(&x, &g, 7);
    check(&x, &g);
    const vmt_tensor q = rows(&x, x.q), k = rows(&x, x.k), v = rows(&x, x.v);
    vmt_tensor full = rows(&x, o),
               full_lse = vmt_tensor_over(lse, VMT_F64, VMT_SHAPE(HEADS, x.count));
    CHECK_OK(x.ctx, vmt_attention(x.ctx, &full, &full_lse, &q, &k, &v, NULL, SCALE));
    assert_memory_equal(o, x.o, (size_t)(x.count * ROW) * sizeof *o);
    assert_memory_equal(lse, x.lse, (size_t)(x.count * HEADS) * sizeof *lse);
    test_ctx_close(x.ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_geometries),
        cmocka_unit_test(whole_grid_is_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
