/* SPDX-License-Identifier: MIT
 *
 * LoRAs beside the DiT's matrices: the results of a model whose matrices were changed by hand, the
 * gradient of finite differences, the same bits whatever the keys are called, and what is refused.
 */
#include "golden.h"

#include "dit/dit_internal.h"
#include "model/tensor_names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WEIGHTS TEST_DATA "/golden/dit_b.weights.safetensors"
#define LORA_PATH "dit_lora.safetensors"
#define MERGED "dit_lora.merged.safetensors"

enum { RANK = 3, MOST = 512 };

/* Tensors of a file to be written, with their memory. */
typedef struct set {
    vmt_named_tensor tensors[MOST];
    char names[MOST][VMT_TENSOR_NAME_BYTES];
    int64_t count;
} set;

static float *add(set *s, int rank, const int64_t *shape, const char *format, ...)
{
    int64_t elements = 1;
    va_list args;

    for (int i = 0; i < rank; i++)
        elements *= shape[i];
    float *values = test_calloc((size_t)elements, sizeof *values);
    assert_true(s->count < MOST);
    va_start(args, format);
    vsnprintf(s->names[s->count], VMT_TENSOR_NAME_BYTES, format, args);
    va_end(args);
    s->tensors[s->count] =
        (vmt_named_tensor){s->names[s->count], vmt_tensor_over(values, VMT_F32, rank, shape)};
    s->count++;
    return values;
}

static void set_free(set *s)
{
    for (int64_t i = 0; i < s->count; i++)
        test_free(s->tensors[i].tensor.data);
    test_free(s);
}

static void randomise(float *values, int64_t count, uint64_t seed, double size)
{
    test_rng rng = {seed};

    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(size * test_uniform(&rng));
}

/* ---- LoRAs */

enum style { MUSUBI, COMFY, DIFFUSERS, PEFT, STYLES };

/* The module of "MODULE.weight" as each style names it. */
static void module_name(enum style style, const char *official, char name[VMT_TENSOR_NAME_BYTES])
{
    static const char *const prefixes[STYLES] = {"lora_unet_", "diffusion_model.", "transformer.",
                                                 "base_model.model."};
    char theirs[VMT_TENSOR_NAME_BYTES];

    if (style != DIFFUSERS || !vmt_name_to_diffusers(official, theirs))
        snprintf(theirs, sizeof theirs, "%s", official);
    *strstr(theirs, ".weight") = '\0';
    snprintf(name, VMT_TENSOR_NAME_BYTES, "%s%.90s", prefixes[style], theirs);
    for (char *c = name; style == MUSUBI && *c; c++)
        *c = *c == '.' ? '_' : *c;
}

/* Every matrix of the DiT has a pair, of a rank from 1 to RANK and alpha 2. */
static set *make_lora(const vmt_dit *dit, enum style style, uint64_t seed)
{
    static const char *const ends[STYLES][2] = {{"lora_down.weight", "lora_up.weight"},
                                                {"lora_down.weight", "lora_up.weight"},
                                                {"lora_A.weight", "lora_B.weight"},
                                                {"lora_A.default.weight", "lora_B.default.weight"}};
    set *s = test_calloc(1, sizeof *s);

    for (int64_t i = 0; i < dit->needs.count; i++) {
        const vmt_need *need = &dit->needs.items[i];
        char name[VMT_TENSOR_NAME_BYTES];
        const int64_t rank = 1 + i % RANK;
        int64_t in = 1;
        if (need->rank < 2 || !strstr(need->name, ".weight"))
            continue;
        for (int k = 1; k < need->rank; k++)
            in *= need->shape[k];
        module_name(style, need->name, name);
        float *a = add(s, 2, (int64_t[]){rank, in}, "%s.%s", name, ends[style][0]);
        float *b = add(s, 2, (int64_t[]){need->shape[0], rank}, "%s.%s", name, ends[style][1]);
        randomise(a, rank * in, seed + 2 * (uint64_t)i, 0.3);
        randomise(b, need->shape[0] * rank, seed + 2 * (uint64_t)i + 1, 0.3);
        if (style == MUSUBI || style == COMFY)
            *add(s, 0, NULL, "%s.alpha", name) = 2.0F;
    }
    return s;
}

static void write_lora(vmt_ctx *ctx, const set *s, enum style style)
{
    static const char *const meta[] = {
        "lora_adapter_metadata", "{\"transformer.lora_alpha\": 2, \"transformer.r\": 3}", NULL};

    CHECK_OK(ctx, vmt_safetensors_write(ctx, LORA_PATH, s->tensors, s->count,
                                        style == DIFFUSERS || style == PEFT ? meta : NULL));
}

static enum vmt_status add_lora(vmt_ctx *ctx, vmt_dit *dit, double weight)
{
    vmt_tensor_file *file;

    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &file, LORA_PATH));
    const enum vmt_status status = vmt_dit_add_lora(ctx, dit, file, weight);
    vmt_tensor_file_close(file);
    unlink(LORA_PATH);
    return status;
}

/* ---- the model */

struct model {
    vmt_ctx *ctx;
    golden *g;
    vmt_tensor_file *file;
    vmt_dit *dit;
    vmt_tensor latent, dvelocity, dq, dk;
    int64_t tokens[3];
    float timestep;
    int block;
};

static vmt_dit *open_dit(vmt_ctx *ctx, vmt_tensor_file **file, const char *path)
{
    vmt_tensor_file *original;
    vmt_dit_config config;
    vmt_dit *dit;

    CHECK_OK(ctx, vmt_tensor_file_open(ctx, &original, WEIGHTS)); /* its metadata has the heads */
    CHECK_OK(ctx, vmt_dit_config_read(ctx, &config, NULL, original));
    vmt_tensor_file_close(original);
    CHECK_OK(ctx, vmt_tensor_file_open(ctx, file, path));
    CHECK_OK(ctx, vmt_dit_open(ctx, &dit, *file, &config));
    return dit;
}

static void open_model(struct model *m, void **state)
{
    vmt_ctx *ctx = golden_ctx(state);

    memset(m, 0, sizeof *m);
    m->ctx = ctx;
    m->g = golden_open(ctx, "dit_b");
    m->dit = open_dit(ctx, &m->file, WEIGHTS);
    const vmt_tensor *x = vmt_tensor_file_find(golden_file(m->g), "in.x");
    const vmt_tensor *t = vmt_tensor_file_find(golden_file(m->g), "in.t");
    const vmt_tensor *q = vmt_tensor_file_find(golden_file(m->g), "in.r_q");
    assert_true(x && t && q);
    for (int i = 0; i < 3; i++)
        m->tokens[i] = x->shape[2 + i] / m->dit->config.patch[i];
    m->timestep = *(const float *)t->data;
    m->block = (int)golden_int(m->g, "block");
    m->latent = golden_real(m->g, "in.x", 4, x->shape + 1);
    m->dvelocity = golden_real(m->g, "in.r_out", 4, x->shape + 1);
    m->dq = golden_act(m->g, "in.r_q", 3, q->shape + 1);
    m->dk = golden_act(m->g, "in.r_k", 3, q->shape + 1);
}

static void close_model(struct model *m)
{
    vmt_dit_close(m->ctx, m->dit);
    vmt_tensor_file_close(m->file);
    golden_close(m->g);
    test_ctx_close(m->ctx);
}

/* Velocity and both gradients, one latent after another. */
enum { RESULTS = 3 };

static double *run_all(struct model *m, vmt_dit *dit, int resident, int recompute)
{
    const vmt_dit_plan plan = {.grid_f = m->tokens[0],
                               .grid_h = m->tokens[1],
                               .grid_w = m->tokens[2],
                               .timesteps = &m->timestep,
                               .timestep_count = 1,
                               .keep_blocks = (int)dit->config.layers,
                               .recompute = recompute};
    const vmt_tensor *rows = vmt_tensor_file_find(golden_file(m->g), "in.text");
    const int64_t *shape = m->latent.shape, count = vmt_numel(&m->latent);
    double *results = test_calloc((size_t)(RESULTS * count), sizeof *results);
    vmt_ctx *ctx = m->ctx;
    vmt_tensor y = golden_new(m->g, ctx->real, 4, shape), got;
    const vmt_tensor *q, *k;
    vmt_dit_text *text;
    vmt_dit_run *run;

    CHECK_OK(ctx, vmt_dit_prepare_blocks(ctx, dit, resident));
    assert_true(vmt_dit_held_now(dit) <= vmt_dit_held_bytes(ctx, dit, resident, false));
    CHECK_OK(ctx, vmt_dit_text_open(ctx, &text, dit, rows->data, rows->shape[1]));
    CHECK_OK(ctx, vmt_dit_run_open(ctx, &run, dit, &plan));
    for (int i = 0; i < RESULTS; i++) {
        if (i < 2)
            CHECK_OK(ctx, vmt_dit_forward(ctx, run, &y, &m->latent, m->timestep, text, i == 1));
        if (i == 1)
            CHECK_OK(ctx, vmt_dit_backward(ctx, run, &y, &m->dvelocity));
        if (i == 2) {
            CHECK_OK(ctx, vmt_dit_tap_qk(ctx, run, &q, &k, &m->latent, m->timestep, text, m->block,
                                         true));
            CHECK_OK(ctx, vmt_dit_tap_qk_bwd(ctx, run, &y, &m->dq, &m->dk));
        }
        got = vmt_tensor_over(results + i * count, VMT_F64, 4, shape);
        CHECK_OK(ctx, vmt_download(ctx, &got, &y));
    }
    vmt_dit_run_close(ctx, run);
    vmt_dit_text_close(ctx, text);
    return results;
}

/* Largest difference of each result, in units of its largest value. */
static double difference(const struct model *m, const double *a, const double *b)
{
    const int64_t count = vmt_numel(&m->latent);
    double worst = 0;

    for (int r = 0; r < RESULTS; r++) {
        double gap = 0, largest = 0;
        for (int64_t i = r * count; i < (r + 1) * count; i++) {
            gap = fabs(a[i] - b[i]) > gap || isnan(a[i]) ? fabs(a[i] - b[i]) : gap;
            largest = fmax(largest, fabs(b[i]));
        }
        worst = fmax(worst, gap / largest);
        assert_false(isnan(gap));
    }
    return worst;
}

/* W += weight · alpha / r · B A, of official names, on the set's own copies of all tensors. */
static set *copy_weights(const vmt_tensor_file *file)
{
    set *s = test_calloc(1, sizeof *s);

    for (int64_t i = 0; i < vmt_tensor_file_count(file); i++) {
        const char *name = vmt_tensor_file_name(file, i);
        const vmt_tensor *t = vmt_tensor_file_find(file, name);
        assert_int_equal(t->dtype, VMT_F32);
        memcpy(add(s, t->rank, t->shape, "%s", name), t->data, vmt_tensor_bytes(t));
    }
    return s;
}

static float *find(const set *s, const char *name)
{
    for (int64_t i = 0; i < s->count; i++)
        if (!strcmp(s->names[i], name))
            return s->tensors[i].tensor.data;
    fail_msg("no tensor %s", name);
    return NULL;
}

static void merge(set *weights, const vmt_dit *dit, uint64_t seed, double weight)
{
    set *lora = make_lora(dit, PEFT, seed);

    for (int64_t i = 0; i < lora->count; i += 2) {
        const vmt_tensor *a = &lora->tensors[i].tensor, *b = &lora->tensors[i + 1].tensor;
        const int64_t rank = a->shape[0], in = a->shape[1], out = b->shape[0];
        const char *start = lora->names[i] + strlen("base_model.model.");
        char name[VMT_TENSOR_NAME_BYTES];
        snprintf(name, sizeof name, "%.*s.weight", (int)(strstr(start, ".lora_A") - start), start);
        float *w = find(weights, name);
        for (int64_t o = 0; o < out; o++)
            for (int64_t k = 0; k < in; k++) {
                double sum = 0;
                for (int64_t r = 0; r < rank; r++)
                    sum += (double)((float *)b->data)[o * rank + r] *
                           (double)((float *)a->data)[r * in + k];
                w[o * in + k] = (float)((double)w[o * in + k] + weight * 2.0 / (double)rank * sum);
            }
    }
    set_free(lora);
}

static void expect_merged(struct model *m, const set *weights, double tolerance, double changes)
{
    vmt_tensor_file *file;
    const int layers = (int)m->dit->config.layers;

    CHECK_OK(m->ctx, vmt_safetensors_write(m->ctx, MERGED, weights->tensors, weights->count, NULL));
    vmt_dit *dit = open_dit(m->ctx, &file, MERGED);
    unlink(MERGED);
    double *merged = run_all(m, dit, layers, 0), *beside = run_all(m, m->dit, layers, 0);
    vmt_dit_close(m->ctx, dit);
    vmt_tensor_file_close(file);
    dit = open_dit(m->ctx, &file, WEIGHTS);
    double *plain = run_all(m, dit, layers, 0);
    const double off = difference(m, beside, merged), change = difference(m, plain, merged);
    print_message("%s: off by %.3g, LoRA changes %.3g\n", m->ctx->ops->name, off, change);
    assert_true(change > changes);
    if (!(off <= tolerance))
        fail_msg("off by %.3g, allowed %.3g", off, tolerance);
    vmt_dit_close(m->ctx, dit);
    vmt_tensor_file_close(file);
    test_free(merged);
    test_free(beside);
    test_free(plain);
}

/* That of the merged weights' rounding: to floats, or to what the backend computes with. */
static double tolerance_of(const vmt_ctx *ctx)
{
    return ctx->act == VMT_BF16 ? 0.1 : ctx->real == VMT_F64 ? 2e-6 : 5e-5;
}

/* Wrong if a matrix's branch is left out in either direction, its factor is wrong, the activation
 * comes before it, or one file's ranks overwrite another's. */
static void like_merged(void **state)
{
    struct model m;

    open_model(&m, state);
    set *weights = copy_weights(m.file);
    for (int i = 0; i < 2; i++) {
        set *lora = make_lora(m.dit, i ? MUSUBI : COMFY, 100 + 1000 * (uint64_t)i);
        write_lora(m.ctx, lora, i ? MUSUBI : COMFY);
        CHECK_OK(m.ctx, add_lora(m.ctx, m.dit, i ? -0.5 : 0.8));
        merge(weights, m.dit, 100 + 1000 * (uint64_t)i, i ? -0.5 : 0.8);
        set_free(lora);
    }
    expect_merged(&m, weights, tolerance_of(m.ctx), 0.1);
    set_free(weights);
    close_model(&m);
}

/* The same of differences: of a whole matrix, of biases, of norms and modulations. */
static void like_merged_differences(void **state)
{
    static const struct {
        const char *key, *name;
    } changed[] = {
        {"diffusion_model.head.head.diff", "head.head.weight"},
        {"diffusion_model.head.head.diff_b", "head.head.bias"},
        {"diffusion_model.blocks.0.self_attn.q.diff_b", "blocks.0.self_attn.q.bias"},
        {"diffusion_model.blocks.1.ffn.0.diff_b", "blocks.1.ffn.0.bias"},
        {"diffusion_model.blocks.1.norm3.diff", "blocks.1.norm3.weight"},
        {"diffusion_model.blocks.1.norm3.diff_b", "blocks.1.norm3.bias"},
        {"diffusion_model.blocks.0.self_attn.norm_k.diff", "blocks.0.self_attn.norm_k.weight"},
        {"diffusion_model.blocks.0.modulation.diff", "blocks.0.modulation"},
        {"diffusion_model.blocks.1.diff_m", "blocks.1.modulation"},
        {"diffusion_model.head.diff_m", "head.modulation"},
        {"transformer.blocks.1.attn1.to_q.lora_A.weight", NULL},
        {"transformer.blocks.1.attn1.to_q.lora_B.weight", NULL},
        {"transformer.blocks.1.attn1.to_q.lora_B.bias", "blocks.1.self_attn.q.bias"},
        {"transformer.blocks.1.attn1.to_q.alpha", NULL}};
    struct model m;

    open_model(&m, state);
    const int64_t dim = m.dit->config.dim;
    set *weights = copy_weights(m.file), *lora = test_calloc(1, sizeof *lora);
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        if (!changed[i].name) { /* a pair that adds nothing; its bias alone counts */
            const bool up = strstr(changed[i].key, "lora_B"), pair = strstr(changed[i].key, "lora");
            float *values = add(lora, pair ? 2 : 0, up ? (int64_t[]){dim, 1} : (int64_t[]){1, dim},
                                "%s", changed[i].key);
            values[0] = pair ? 0.0F : 0.5F;
            continue;
        }
        const vmt_tensor *t = vmt_tensor_file_find(m.file, changed[i].name);
        const double factor = strstr(changed[i].key, "lora_B") ? 0.4 : 0.8;
        assert_non_null(t);
        float *d = add(lora, t->rank, t->shape, "%s", changed[i].key);
        float *w = find(weights, changed[i].name);
        randomise(d, vmt_numel(t), 7 + i, 0.3);
        for (int64_t k = 0; k < vmt_numel(t); k++)
            w[k] = (float)((double)w[k] + factor * (double)d[k]);
    }
    write_lora(m.ctx, lora, COMFY);
    CHECK_OK(m.ctx, add_lora(m.ctx, m.dit, 0.8));
    expect_merged(&m, weights, tolerance_of(m.ctx), 0.05);
    set_free(lora);
    set_free(weights);
    close_model(&m);
}

/* Wrong if a style's names lead to another matrix, or its alpha is not taken; if a LoRA's matrices
 * go with a block that comes and goes; if recomputation leaves them out. */
static void same_bits(void **state)
{
    struct model m;
    double *first = NULL;

    open_model(&m, state);
    const int layers = (int)m.dit->config.layers;
    for (enum style style = MUSUBI; style < STYLES; style++) {
        vmt_tensor_file *file;
        vmt_dit *dit = open_dit(m.ctx, &file, WEIGHTS);
        set *lora = make_lora(dit, style, 5);
        write_lora(m.ctx, lora, style);
        CHECK_OK(m.ctx, add_lora(m.ctx, dit, 1.0));
        for (int way = 0; way < 3; way++) {
            double *got = run_all(&m, dit, way ? 0 : layers, way);
            if (first)
                assert_memory_equal(got, first,
                                    RESULTS * (size_t)vmt_numel(&m.latent) * sizeof *got);
            if (first)
                test_free(got);
            first = first ? first : got;
        }
        set_free(lora);
        vmt_dit_close(m.ctx, dit);
        vmt_tensor_file_close(file);
    }
    test_free(first);
    close_model(&m);
}

/* Central differences of velocity · r along a random direction, in doubles. */
static void finite_differences(void **state)
{
    const double step = 1e-5;
    struct model m;

    open_model(&m, state);
    if (m.ctx->real != VMT_F64) {
        close_model(&m);
        return;
    }
    const int64_t count = vmt_numel(&m.latent);
    set *lora = make_lora(m.dit, MUSUBI, 9);
    write_lora(m.ctx, lora, MUSUBI);
    CHECK_OK(m.ctx, add_lora(m.ctx, m.dit, 0.7));
    double *x = m.latent.data, *r = m.dvelocity.data;
    double *way = test_calloc((size_t)count, sizeof *way);
    double *here = run_all(&m, m.dit, 1, 2), expected = 0, got = 0;
    test_rng rng = {77};
    for (int64_t i = 0; i < count; i++) {
        way[i] = test_uniform(&rng);
        got += way[i] * here[count + i];
    }
    for (int side = 1; side >= -1; side -= 2) {
        for (int64_t i = 0; i < count; i++)
            x[i] += side * step * way[i];
        double *there = run_all(&m, m.dit, 1, 0);
        for (int64_t i = 0; i < count; i++) {
            expected += side * there[i] * r[i] / (2 * step);
            x[i] -= side * step * way[i];
        }
        test_free(there);
    }
    print_message("gradient along a line %.12g, by differences %.12g\n", got, expected);
    assert_true(fabs(got - expected) < 1e-7 * fabs(expected));
    test_free(way);
    test_free(here);
    set_free(lora);
    close_model(&m);
}

/* ---- what is refused */

typedef void change_fn(set *lora);

static void rename_all(set *lora)
{
    for (int64_t i = 0; i < lora->count; i++)
        memcpy(lora->names[i], "other_unet", 10);
}

static void lose_half(set *lora)
{
    strcpy(lora->names[1], "lora_unet_nothing.lora_up.weight");
}

static void name_twice(set *lora)
{
    char copy[VMT_TENSOR_NAME_BYTES];
    strcpy(copy, lora->names[0] + strlen("lora_unet_"));
    snprintf(lora->names[3], VMT_TENSOR_NAME_BYTES, "diffusion_model.%s", copy);
}

/* Added twice, the vector would change twice. */
static void name_vector_twice(set *lora)
{
    int64_t i = 0;

    while (!strstr(lora->names[i], "self_attn_q.lora_down"))
        i++;
    const int64_t shape[3] = {1, 6, lora->tensors[i].tensor.shape[1]};
    add(lora, 3, shape, "diffusion_model.blocks.0.diff_m");
    add(lora, 3, shape, "lora_unet_blocks_0_modulation.diff");
}

static void break_number(set *lora)
{
    ((float *)lora->tensors[1].tensor.data)[1] = NAN;
}

static void break_a(set *lora)
{
    ((float *)lora->tensors[0].tensor.data)[0] = INFINITY;
}

static void break_alpha(set *lora)
{
    *(float *)lora->tensors[2].tensor.data = NAN;
}

static void another_size(set *lora)
{
    lora->tensors[0].tensor.shape[1]--;
}

static void another_rank(set *lora)
{
    int64_t up = 1;

    while (lora->tensors[up].tensor.shape[1] == 1)
        up += 3;
    lora->tensors[up].tensor.shape[1]--;
}

/* A whole difference of half the matrix's rows; wrong if only its columns are compared. */
static void another_difference(set *lora)
{
    int64_t i = 0;

    while (!strstr(lora->names[i], "self_attn_q.lora_down"))
        i++;
    const int64_t dim = lora->tensors[i].tensor.shape[1];
    add(lora, 2, (int64_t[]){dim / 2, dim}, "diffusion_model.blocks.0.self_attn.q.diff");
}

static void integers(set *lora)
{
    lora->tensors[0].tensor.dtype = VMT_I32;
}

static void is_dora(set *lora)
{
    strcpy(lora->names[2], "lora_unet_blocks_0_self_attn_q.dora_scale");
}

static void refused(void **state)
{
    static const struct {
        change_fn *change;
        enum vmt_status status;
        const char *says;
    } cases[] = {{rename_all, VMT_E_MODEL, "none of its"},
                 {lose_half, VMT_E_FORMAT, "one matrix of the pair is missing"},
                 {name_twice, VMT_E_FORMAT, "was named before"},
                 {name_vector_twice, VMT_E_FORMAT, "was named before"},
                 {break_number, VMT_E_NUMERIC, "NaN or infinity"},
                 {break_a, VMT_E_NUMERIC, "NaN or infinity"},
                 {break_alpha, VMT_E_FORMAT, "alpha"},
                 {another_size, VMT_E_MODEL, "do not fit"},
                 {another_rank, VMT_E_MODEL, "do not fit"},
                 {another_difference, VMT_E_MODEL, "do not fit"},
                 {integers, VMT_E_FORMAT, "no floating-point values"},
                 {is_dora, VMT_E_UNSUPPORTED, "DoRA"}};
    struct model m;

    open_model(&m, state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vmt_tensor_file *file;
        vmt_dit *dit = open_dit(m.ctx, &file, WEIGHTS);
        set *lora = make_lora(dit, MUSUBI, 3);
        cases[i].change(lora);
        write_lora(m.ctx, lora, MUSUBI);
        assert_int_equal(add_lora(m.ctx, dit, 1.0), cases[i].status);
        if (!strstr(m.ctx->message, cases[i].says))
            fail_msg("case %zu says: %s", i, m.ctx->message);
        set_free(lora);
        vmt_dit_close(m.ctx, dit);
        vmt_tensor_file_close(file);
    }
    close_model(&m);
}

/* The sum of ranks beside one matrix has a limit; weights too. */
static void limits(void **state)
{
    struct model m;
    enum vmt_status status = VMT_OK;

    open_model(&m, state);
    set *lora = test_calloc(1, sizeof *lora);
    const int64_t dim = m.dit->config.dim, rank = 400;
    add(lora, 2, (int64_t[]){rank, dim}, "blocks.0.self_attn.q.lora_A.weight");
    add(lora, 2, (int64_t[]){dim, rank}, "blocks.0.self_attn.q.lora_B.weight");
    for (int i = 0; i < 3; i++) {
        write_lora(m.ctx, lora, MUSUBI);
        assert_int_equal(status, VMT_OK);
        status = add_lora(m.ctx, m.dit, 1.0);
    }
    assert_int_equal(status, VMT_E_UNSUPPORTED);
    write_lora(m.ctx, lora, MUSUBI);
    assert_int_equal(add_lora(m.ctx, m.dit, NAN), VMT_E_ARG);
    write_lora(m.ctx, lora, MUSUBI);
    assert_int_equal(add_lora(m.ctx, m.dit, 1e6), VMT_E_ARG);
    set_free(lora);
    close_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_merged), cmocka_unit_test(like_merged_differences),
        cmocka_unit_test(same_bits),   cmocka_unit_test(finite_differences),
        cmocka_unit_test(refused),     cmocka_unit_test(limits),
    };
    return golden_backends_main(tests, sizeof tests / sizeof *tests) ||
           golden_dtypes_main(tests, sizeof tests / sizeof *tests);
}
