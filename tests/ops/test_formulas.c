/* SPDX-License-Identifier: MIT
 *
 * Ops that no golden of a single op covers, on ref64 against their formula written out once more,
 * index by index.
 */
#include "testing.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENTS = 8192, TENSORS = 9 };

struct formulas {
    vmt_ctx *ctx;
    test_rng rng;
    double memory[TENSORS][ELEMENTS];
    float weights[2][ELEMENTS];
    int used;
};

static struct formulas *begin(void **state, uint64_t seed)
{
    struct formulas *f = *state;
    f->rng.state = seed;
    f->used = 0;
    return f;
}

static vmt_tensor draw(struct formulas *f, int rank, const int64_t *shape)
{
    vmt_tensor t = vmt_tensor_over(f->memory[f->used++], VMT_F64, rank, shape);
    assert_true(f->used <= TENSORS && vmt_numel(&t) <= ELEMENTS);
    for (int64_t i = 0; i < vmt_numel(&t); i++)
        ((double *)t.data)[i] = 2 * test_uniform(&f->rng);
    return t;
}

/* F32 as a file would have it; slot 0 or 1. */
static vmt_tensor draw_weight(struct formulas *f, int slot, int rank, const int64_t *shape)
{
    vmt_tensor t = vmt_tensor_over(f->weights[slot], VMT_F32, rank, shape);
    assert_true(vmt_numel(&t) <= ELEMENTS);
    for (int64_t i = 0; i < vmt_numel(&t); i++)
        f->weights[slot][i] = (float)test_uniform(&f->rng);
    return t;
}

static double at(const vmt_tensor *t, int64_t i)
{
    return t->dtype == VMT_F32 ? (double)((const float *)t->data)[i] : ((const double *)t->data)[i];
}

static void expect(const vmt_tensor *t, int64_t i, double want)
{
    if (!(fabs(at(t, i) - want) <= 1e-13 * (1 + fabs(want))))
        fail_msg("[%" PRId64 "] is %.17g, wanted %.17g", i, at(t, i), want);
}

static double gelu(double x)
{
    return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static void linear_with_bias_and_epilogue(void **state)
{
    const int64_t rows = 3, in = 37, out = 35;
    for (int epilogue = 0; epilogue < 3; epilogue++) {
        struct formulas *f = begin(state, 31);
        const vmt_tensor x = draw(f, VMT_SHAPE(rows, in));
        vmt_tensor y = draw(f, VMT_SHAPE(rows, out));
        const vmt_weight w = {.w = draw_weight(f, 0, VMT_SHAPE(out, in)),
                              .bias = draw_weight(f, 1, VMT_SHAPE(out))};
        CHECK_OK(f->ctx, vmt_linear(f->ctx, &y, &x, &w, (enum vmt_epilogue)epilogue));
        for (int64_t i = 0; i < rows * out; i++) {
            double sum = at(&w.bias, i % out);
            for (int64_t c = 0; c < in; c++)
                sum += at(&x, i / out * in + c) * at(&w.w, i % out * in + c);
            expect(&y, i,
                   epilogue == VMT_EPILOGUE_GELU   ? gelu(sum)
                   : epilogue == VMT_EPILOGUE_SILU ? sum / (1 + exp(-sum))
                                                   : sum);
        }
    }
}

/* The nearest of the 253 numbers of e4m3 (twice 126, and 0), found by trying all; of two equally
 * near the one with an even last bit. */
static double nearest_e4m3(double x)
{
    double best = 0, distance = fabs(x);

    for (int h = 1; h < 127; h++) {
        const int exponent = h >> 3, fraction = h & 7;
        const double value = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
        const double off = fabs(fabs(x) - value);
        if (off < distance || (off == distance && h % 2 == 0)) {
            best = value;
            distance = off;
        }
    }
    return x < 0 ? -best : best;
}

static double row_scale(const vmt_tensor *t, int64_t first, int64_t count)
{
    float most = 0;

    for (int64_t i = 0; i < count; i++)
        most = fmaxf(most, fabsf((float)at(t, first + i)));
    return (double)(most / 448.0F);
}

static void linear_of_eight_bits(void **state)
{
    const int64_t rows = 3, in = 37, out = 35;
    struct formulas *f = begin(state, 32);
    const vmt_tensor x = draw(f, VMT_SHAPE(rows, in));
    vmt_tensor y = draw(f, VMT_SHAPE(rows, out));
    const vmt_weight w = {.w = draw_weight(f, 0, VMT_SHAPE(out, in)),
                          .bias = draw_weight(f, 1, VMT_SHAPE(out))};

    CHECK_OK(f->ctx, vmt_linear_fp8(f->ctx, &y, &x, &w, VMT_EPILOGUE_NONE));
    for (int64_t i = 0; i < rows * out; i++) {
        const int64_t t = i / out * in, o = i % out * in;
        const double sx = row_scale(&x, t, in), sw = row_scale(&w.w, o, in);
        double sum = 0;
        for (int64_t c = 0; c < in; c++)
            sum += nearest_e4m3((double)((float)at(&x, t + c) / (float)sx)) *
                   nearest_e4m3((double)((float)at(&w.w, o + c) / (float)sw));
        expect(&y, i, sum * sx * sw + at(&w.bias, i % out));
    }
}

static void elementwise(void **state)
{
    const int64_t count = 777;
    struct formulas *f = begin(state, 32);
    const vmt_tensor x = draw(f, VMT_SHAPE(count)), z = draw(f, VMT_SHAPE(count));
    vmt_tensor y = draw(f, VMT_SHAPE(count));

    CHECK_OK(f->ctx, vmt_lincomb(f->ctx, &y, &x, &z, 0.3, -1.7));
    for (int64_t i = 0; i < count; i++)
        expect(&y, i, 0.3 * at(&x, i) - 1.7 * at(&z, i));
    CHECK_OK(f->ctx, vmt_add(f->ctx, &y, &x, &z));
    for (int64_t i = 0; i < count; i++)
        expect(&y, i, at(&x, i) + at(&z, i));
    CHECK_OK(f->ctx, vmt_gelu_gate(f->ctx, &y, &x, &z));
    for (int64_t i = 0; i < count; i++)
        expect(&y, i, at(&x, i) * gelu(at(&z, i)));
}

static void attention_with_positions(void **state)
{
    const int64_t nq = 5, nk = 7, heads = 3, d = 4;
    struct formulas *f = begin(state, 33);
    const vmt_tensor q = draw(f, VMT_SHAPE(nq, heads, d)), k = draw(f, VMT_SHAPE(nk, heads, d));
    const vmt_tensor v = draw(f, VMT_SHAPE(nk, heads, d));
    const vmt_tensor bias = draw(f, VMT_SHAPE(heads, nq + nk - 1));
    vmt_tensor o = draw(f, VMT_SHAPE(nq, heads, d)), lse = draw(f, VMT_SHAPE(heads, nq));

    CHECK_OK(f->ctx, vmt_attention(f->ctx, &o, &lse, &q, &k, &v, &bias, 0.6));
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < nq; i++) {
            double sum = 0, value[4] = {0};
            for (int64_t j = 0; j < nk; j++) {
                double z = at(&bias, h * (nq + nk - 1) + j - i + nq - 1);
                for (int64_t c = 0; c < d; c++)
                    z += 0.6 * at(&q, (i * heads + h) * d + c) * at(&k, (j * heads + h) * d + c);
                sum += exp(z);
                for (int64_t c = 0; c < d; c++)
                    value[c] += exp(z) * at(&v, (j * heads + h) * d + c);
            }
            expect(&lse, h * nq + i, log(sum));
            for (int64_t c = 0; c < d; c++)
                expect(&o, (i * heads + h) * d + c, value[c] / sum);
        }
}

static void patches(void **state)
{
    const int64_t C = 3, F = 4, H = 6, W = 4, patch[3] = {2, 3, 2}, cells = 12, tokens = 8;
    struct formulas *f = begin(state, 34);
    const vmt_tensor latent = draw(f, VMT_SHAPE(C, F, H, W)),
                     rows = draw(f, VMT_SHAPE(tokens, C * cells));
    vmt_tensor y = draw(f, VMT_SHAPE(tokens, C * cells)), z = draw(f, VMT_SHAPE(C, F, H, W));

    CHECK_OK(f->ctx, vmt_patchify(f->ctx, &y, &latent, patch));
    CHECK_OK(f->ctx, vmt_unpatchify(f->ctx, &z, &rows, patch));
    for (int64_t token = 0; token < tokens; token++) {
        const int64_t t = token / 4, row = token / 2 % 2, col = token % 2; /* grid 2x2x2 */
        for (int64_t c = 0; c < C; c++)
            for (int64_t cell = 0; cell < cells; cell++) {
                const int64_t dt = cell / 6, dh = cell / 2 % 3, dw = cell % 2;
                const int64_t at_latent =
                    ((c * F + t * 2 + dt) * H + row * 3 + dh) * W + col * 2 + dw;
                expect(&y, token * C * cells + c * cells + cell, at(&latent, at_latent));
                expect(&z, at_latent, at(&rows, token * C * cells + cell * C + c));
            }
    }
}

static void embedding(void **state)
{
    const int64_t dim = 5;
    struct formulas *f = begin(state, 35);
    int32_t ids[] = {6, 0, 3, 6};
    const vmt_tensor id = vmt_tensor_over(ids, VMT_I32, VMT_SHAPE(4));
    const vmt_weight table = {.w = draw_weight(f, 0, VMT_SHAPE(7, dim))};
    vmt_tensor y = draw(f, VMT_SHAPE(4, dim));

    CHECK_OK(f->ctx, vmt_embed(f->ctx, &y, &id, &table));
    for (int64_t i = 0; i < 4 * dim; i++)
        expect(&y, i, at(&table.w, ids[i / dim] * dim + i % dim));
}

static void frames_and_pixels(void **state)
{
    const int64_t T = 2, H = 3, W = 4, C = 5;
    struct formulas *f = begin(state, 36);
    const vmt_tensor x = draw(f, VMT_SHAPE(T, H, W, C)), two = draw(f, VMT_SHAPE(T, H, W, 2 * C));
    vmt_tensor large = draw(f, VMT_SHAPE(T, 2 * H, 2 * W, C)),
               doubled = draw(f, VMT_SHAPE(2 * T, H, W, C));

    CHECK_OK(f->ctx, vmt_upsample2(f->ctx, &large, &x));
    CHECK_OK(f->ctx, vmt_split_frames(f->ctx, &doubled, &two));
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < 2 * H; i++)
            for (int64_t j = 0; j < 2 * W; j++)
                for (int64_t c = 0; c < C; c++)
                    expect(&large, ((t * 2 * H + i) * 2 * W + j) * C + c,
                           at(&x, ((t * H + i / 2) * W + j / 2) * C + c));
    for (int64_t t = 0; t < 2 * T; t++)
        for (int64_t cell = 0; cell < H * W; cell++)
            for (int64_t c = 0; c < C; c++)
                expect(&doubled, (t * H * W + cell) * C + c,
                       at(&two, (t / 2 * H * W + cell) * 2 * C + t % 2 * C + c));
}

/* One output of the convolution: the sum over the filter, cells outside the frame are 0. */
static double convolved(const vmt_tensor *x, const vmt_weight *w, const vmt_conv_geometry *g,
                        int64_t t, int64_t i, int64_t j, int64_t o)
{
    const int64_t *xs = x->shape, *ws = w->w.shape;
    double sum = at(&w->bias, o);

    for (int64_t c = 0; c < ws[1]; c++)
        for (int64_t dt = 0; dt < ws[2]; dt++)
            for (int64_t di = 0; di < ws[3]; di++)
                for (int64_t dj = 0; dj < ws[4]; dj++) {
                    const int64_t row = i * g->stride_h + di - g->pad_top;
                    const int64_t col = j * g->stride_w + dj - g->pad_left;
                    const int64_t frame = t * g->stride_t + dt;
                    if (row >= 0 && row < xs[1] && col >= 0 && col < xs[2])
                        sum +=
                            at(x, ((frame * xs[1] + row) * xs[2] + col) * xs[3] + c) *
                            at(&w->w, (((o * ws[1] + c) * ws[2] + dt) * ws[3] + di) * ws[4] + dj);
                }
    return sum;
}

static void convolution(void **state)
{
    /* kernel, output, geometry; input [5, 6, 7, 3] */
    static const struct {
        int64_t k[3], out[3];
        vmt_conv_geometry g;
    } cases[] = {{{3, 3, 3}, {3, 6, 7}, {1, 1, 1, 1, 1, 1, 1}},
                 {{1, 3, 3}, {5, 3, 3}, {1, 2, 2, 0, 1, 0, 1}},
                 {{3, 1, 1}, {2, 6, 7}, {2, 1, 1, 0, 0, 0, 0}},
                 {{2, 3, 2}, {4, 4, 4}, {1, 2, 3, 2, 1, 3, 2}}};

    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct formulas *f = begin(state, 37);
        const int64_t *k = cases[n].k, *out = cases[n].out, channels = 4;
        const vmt_tensor x = draw(f, VMT_SHAPE(5, 6, 7, 3));
        vmt_tensor y = draw(f, VMT_SHAPE(out[0], out[1], out[2], channels));
        const vmt_weight w = {.w = draw_weight(f, 0, VMT_SHAPE(channels, 3, k[0], k[1], k[2])),
                              .bias = draw_weight(f, 1, VMT_SHAPE(channels))};
        CHECK_OK(f->ctx, vmt_conv3d(f->ctx, &y, &x, &w, &cases[n].g));
        for (int64_t i = 0; i < vmt_numel(&y); i++) {
            const int64_t cell = i / channels;
            expect(&y, i,
                   convolved(&x, &w, &cases[n].g, cell / (out[1] * out[2]), cell / out[2] % out[1],
                             cell % out[2], i % channels));
        }
    }
}

static void channel_norm_with_silu(void **state)
{
    const int64_t cells = 6, C = 7;
    struct formulas *f = begin(state, 38);
    const vmt_tensor x = draw(f, VMT_SHAPE(1, 2, 3, C)), gamma = draw(f, VMT_SHAPE(C));
    vmt_tensor y = draw(f, VMT_SHAPE(1, 2, 3, C));

    memset(x.data, 0, (size_t)C * sizeof(double)); /* a zero cell stays zero */
    CHECK_OK(f->ctx, vmt_rms_norm_channel(f->ctx, &y, &x, &gamma, true));
    for (int64_t i = 0; i < cells * C; i++) {
        double squares = 0;
        for (int64_t c = 0; c < C; c++)
            squares += at(&x, i / C * C + c) * at(&x, i / C * C + c);
        const double z = i < C ? 0 : at(&x, i) / sqrt(squares / (double)C) * at(&gamma, i % C);
        expect(&y, i, z / (1 + exp(-z)));
    }
}

static void weighted_losses(void **state)
{
    const int64_t tiles = 4, C = 5;
    struct formulas *f = begin(state, 39);
    const vmt_tensor a = draw(f, VMT_SHAPE(tiles, C)), b = draw(f, VMT_SHAPE(tiles, C));
    const vmt_tensor m = draw(f, VMT_SHAPE(tiles));
    vmt_tensor loss = draw(f, VMT_SHAPE(1)), da = draw(f, VMT_SHAPE(tiles, C));
    vmt_tensor db = draw(f, VMT_SHAPE(tiles, C)), dflow = draw(f, VMT_SHAPE(10, 2));
    const vmt_tensor flow = vmt_tensor_over(a.data, VMT_F64, VMT_SHAPE(10, 2));
    const vmt_tensor ref = vmt_tensor_over(b.data, VMT_F64, VMT_SHAPE(10, 2));
    const vmt_tensor token_m = draw(f, VMT_SHAPE(10));
    double want = at(&loss, 0);

    for (int64_t i = 0; i < 20; i++)
        want += 0.7 * at(&token_m, i / 2) * pow(at(&flow, i) - at(&ref, i), 2);
    CHECK_OK(f->ctx, vmt_flow_loss(f->ctx, &loss, &dflow, &flow, &ref, &token_m, 0.7, 3));
    expect(&loss, 0, want);
    for (int64_t i = 0; i < 20; i++)
        expect(&dflow, i, 2 * 3 * 0.7 * at(&token_m, i / 2) * (at(&flow, i) - at(&ref, i)));

    /* Equal rows: distance 0, gradient 0. */
    memcpy(b.data, a.data, (size_t)C * sizeof(double));
    CHECK_OK(f->ctx, vmt_zero(f->ctx, &da));
    CHECK_OK(f->ctx, vmt_zero(f->ctx, &db));
    CHECK_OK(f->ctx, vmt_track_loss(f->ctx, &loss, &da, &db, &a, &b, &m, 0.7, 3));
    for (int64_t t = 0; t < tiles; t++) {
        double squares = 0;
        for (int64_t c = t * C; c < t * C + C; c++)
            squares += pow(at(&b, c) - at(&a, c), 2);
        want += 0.7 * at(&m, t) * sqrt(squares);
        for (int64_t c = t * C; c < t * C + C; c++) {
            const double unit =
                t ? 3 * 0.7 * at(&m, t) * (at(&b, c) - at(&a, c)) / sqrt(squares) : 0;
            expect(&db, c, unit);
            expect(&da, c, -unit);
        }
    }
    expect(&loss, 0, want);
}

static int setup(void **state)
{
    struct formulas *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->ctx = test_ctx_open("ref64", NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    test_ctx_close(((struct formulas *)*state)->ctx);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_with_bias_and_epilogue),
        cmocka_unit_test(linear_of_eight_bits),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(attention_with_positions),
        cmocka_unit_test(patches),
        cmocka_unit_test(embedding),
        cmocka_unit_test(frames_and_pixels),
        cmocka_unit_test(convolution),
        cmocka_unit_test(channel_norm_with_silu),
        cmocka_unit_test(weighted_losses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
