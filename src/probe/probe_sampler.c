/* SPDX-License-Identifier: MIT
 *
 * Case kinds "samplers" and "rng".
 *   samplers  metadata flowN, unipcN, dpmppN: "steps 50, shift 7.0, strength 0.75" (strength 1 if
 *             left out); in.x and in.a [c, c] make the toy velocity tanh(x a) + x t / 1000
 *   rng       no inputs: the tensors present say what is asked for.  randn.SEED.COUNT, raw.SEED
 *             (32-bit outputs of the engine), "sequence" (draws of these sizes from one generator,
 *             seed 0) and "big" (seed 2^32 - 1)
 */
#include "probe/probe.h"

#include "base/rng.h"
#include "sampler/sampler.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- samplers */

typedef struct sampler_case {
    vmt_probe_case *c;
    char name[32]; /* "unipc0" */
    vmt_sampler_state sampler;
    const vmt_tensor *x, *a; /* mapped, F32 */
    vmt_arena arena;
    vmt_tensor sample, velocity, all; /* all: [steps, …] R, the sample after each step */
    vmt_tensor schedule;              /* [steps + 1] R */
    double *host_x, *host_v;
} sampler_case;

/* The number after `word` in "steps 50, shift 7.0", or `fallback`. */
static double named_number(const char *text, const char *word, double fallback)
{
    const char *at = strstr(text, word);

    return at ? strtod(at + strlen(word), NULL) : fallback;
}

/* v = tanh(x a) + x t / 1000, on the host in double. */
static enum vmt_status toy_velocity(vmt_ctx *ctx, sampler_case *s, double timestep)
{
    const int64_t count = vmt_numel(s->x), width = s->a->shape[0];
    const float *a = s->a->data;
    vmt_tensor x = vmt_tensor_over(s->host_x, VMT_F64, s->x->rank, s->x->shape);
    vmt_tensor v = vmt_tensor_over(s->host_v, VMT_F64, s->x->rank, s->x->shape);

    VMT_TRY(vmt_download(ctx, &x, &s->sample));
    for (int64_t i = 0; i < count; i++) {
        const double *row = s->host_x + i / width * width;
        double sum = 0.0;
        for (int64_t c = 0; c < width; c++)
            sum += row[c] * (double)a[c * width + i % width];
        s->host_v[i] = tanh(sum) + s->host_x[i] * timestep / 1000.0;
    }
    return vmt_upload(ctx, &s->velocity, &v);
}

static enum vmt_status emit_schedule(vmt_ctx *ctx, sampler_case *s)
{
    const bool euler = s->sampler.kind == VMT_SAMPLER_EULER;
    const int64_t steps = s->sampler.steps, points = euler ? steps : steps + 1;
    vmt_tensor host = vmt_tensor_over(s->sampler.sigmas, VMT_F32, VMT_SHAPE(points));
    vmt_tensor part = vmt_slice(&s->schedule, 0, points);
    void *memory;

    VMT_TRY(vmt_upload(ctx, &part, &host));
    VMT_TRY(vmt_probe_emit(ctx, s->c, &part, VMT_SHAPE(points), "out.%s.sigmas", s->name));
    if (euler) {
        host = vmt_tensor_over(s->sampler.timesteps, VMT_F32, VMT_SHAPE(steps));
        part = vmt_slice(&s->schedule, 0, steps);
        VMT_TRY(vmt_upload(ctx, &part, &host));
        return vmt_probe_emit(ctx, s->c, &part, VMT_SHAPE(steps), "out.%s.timesteps", s->name);
    }
    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)steps, sizeof(int64_t)));
    for (int64_t i = 0; i < steps; i++)
        ((int64_t *)memory)[i] = (int64_t)s->sampler.timesteps[i];
    host = vmt_tensor_over(memory, VMT_I64, VMT_SHAPE(steps));
    const enum vmt_status status =
        vmt_probe_emit(ctx, s->c, &host, VMT_SHAPE(steps), "out.%s.timesteps", s->name);
    vmt_free(memory);
    return status;
}

static enum vmt_status run_toy(vmt_ctx *ctx, sampler_case *s)
{
    int64_t shape[VMT_MAX_RANK] = {s->sampler.steps};

    VMT_TRY(vmt_upload(ctx, &s->sample, s->x));
    for (int64_t i = 0; i < s->sampler.steps; i++) {
        vmt_tensor out = vmt_index(&s->all, i);

        VMT_TRY(toy_velocity(ctx, s, (double)s->sampler.timesteps[i]));
        VMT_TRY(vmt_sampler_step(ctx, &s->sampler, &s->sample, &s->velocity));
        VMT_TRY(vmt_copy(ctx, &out, &s->sample));
    }
    memcpy(shape + 1, s->x->shape, (size_t)s->x->rank * sizeof(*shape));
    return vmt_probe_emit(ctx, s->c, &s->all, s->x->rank + 1, shape, "out.%s.x", s->name);
}

static enum vmt_status sampler_layout(vmt_ctx *ctx, sampler_case *s)
{
    const vmt_tensor *x = s->x;
    int64_t shape[VMT_MAX_RANK] = {s->sampler.steps};

    memcpy(shape + 1, x->shape, (size_t)x->rank * sizeof(*shape));
    VMT_TRY(vmt_take(ctx, &s->arena, &s->sample, ctx->real, x->rank, x->shape));
    VMT_TRY(vmt_take(ctx, &s->arena, &s->velocity, ctx->real, x->rank, x->shape));
    VMT_TRY(vmt_take(ctx, &s->arena, &s->all, ctx->real, x->rank + 1, shape));
    VMT_TRY(vmt_take(ctx, &s->arena, &s->schedule, ctx->real, VMT_SHAPE(s->sampler.steps + 1)));
    return vmt_sampler_layout(ctx, &s->arena, &s->sampler, x->rank, x->shape);
}

static enum vmt_status run_sampler(vmt_ctx *ctx, sampler_case *s, enum vmt_sampler kind,
                                   const char *text)
{
    const size_t count = (size_t)vmt_numel(s->x);

    VMT_TRY(vmt_sampler_open(ctx, &s->sampler, kind, (int64_t)named_number(text, "steps", 0.0),
                             named_number(text, "shift", 0.0),
                             named_number(text, "strength", 1.0)));
    s->arena = vmt_arena_measure();
    VMT_TRY(sampler_layout(ctx, s));
    VMT_TRY(vmt_arena_open(ctx, &s->arena, s->arena.peak));
    VMT_TRY(sampler_layout(ctx, s));
    VMT_TRY(vmt_alloc(ctx, (void **)&s->host_x, count, sizeof(double)));
    VMT_TRY(vmt_alloc(ctx, (void **)&s->host_v, count, sizeof(double)));
    VMT_TRY(emit_schedule(ctx, s));
    return kind == VMT_SAMPLER_EULER ? VMT_OK : run_toy(ctx, s);
}

enum vmt_status vmt_probe_samplers(vmt_ctx *ctx, vmt_probe_case *c)
{
    static const struct {
        const char *name;
        enum vmt_sampler kind;
    } kinds[] = {
        {"flow", VMT_SAMPLER_EULER}, {"unipc", VMT_SAMPLER_UNIPC}, {"dpmpp", VMT_SAMPLER_DPMPP}};
    const vmt_tensor *x, *a;

    VMT_TRY(vmt_probe_input(ctx, c, "x", VMT_F32, -1, &x));
    VMT_TRY(vmt_probe_input(ctx, c, "a", VMT_F32, 2, &a));
    if (x->rank < 1 || x->rank >= VMT_MAX_RANK || a->shape[0] != a->shape[1] ||
        a->shape[0] != x->shape[x->rank - 1])
        return vmt_fail(ctx, VMT_E_FORMAT, "in.x must have rows as long as in.a is wide");
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (int n = 0;; n++) {
            sampler_case s = {.c = c, .x = x, .a = a};
            enum vmt_status status;

            snprintf(s.name, sizeof(s.name), "%s%d", kinds[k].name, n);
            const char *text = vmt_tensor_file_meta(c->file, s.name);
            if (!text)
                break;
            status = run_sampler(ctx, &s, kinds[k].kind, text);
            vmt_free(s.host_x);
            vmt_free(s.host_v);
            vmt_arena_close(ctx, &s.arena);
            vmt_sampler_close(&s.sampler);
            VMT_TRY(vmt_prefix(ctx, status, "%s", s.name));
        }
    return VMT_OK;
}

/* ---------------------------------------------------------------- noise */

/* Emits `count` normal values, drawn in pieces of the given sizes (one piece: pieces NULL). */
static enum vmt_status emit_normal(vmt_ctx *ctx, vmt_probe_case *c, const char *name, uint64_t seed,
                                   int64_t count, const int64_t *pieces)
{
    vmt_rng rng;
    void *memory;
    int64_t done = 0;

    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)count, sizeof(float)));
    vmt_rng_seed(&rng, seed);
    while (done < count) {
        const int64_t piece = pieces ? *pieces++ : count;
        vmt_rng_normal(&rng, (float *)memory + done, piece);
        done += piece;
    }
    const vmt_tensor values = vmt_tensor_over(memory, VMT_F32, VMT_SHAPE(count));
    const enum vmt_status status = vmt_probe_emit(ctx, c, &values, VMT_SHAPE(count), "%s", name);
    vmt_free(memory);
    return status;
}

static enum vmt_status emit_raw(vmt_ctx *ctx, vmt_probe_case *c, const char *name, uint64_t seed,
                                int64_t count)
{
    vmt_rng rng;
    void *memory;

    VMT_TRY(vmt_alloc(ctx, &memory, (size_t)count, sizeof(int64_t)));
    vmt_rng_seed(&rng, seed);
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)memory)[i] = vmt_rng_bits(&rng);
    const vmt_tensor values = vmt_tensor_over(memory, VMT_I64, VMT_SHAPE(count));
    const enum vmt_status status = vmt_probe_emit(ctx, c, &values, VMT_SHAPE(count), "%s", name);
    vmt_free(memory);
    return status;
}

enum vmt_status vmt_probe_rng(vmt_ctx *ctx, vmt_probe_case *c)
{
    static const int64_t sequence[] = {3, 3, 20, 5, 16, 7, 33, 1, 1, 1};

    for (int64_t i = 0; i < vmt_tensor_file_count(c->file); i++) {
        const char *name = vmt_tensor_file_name(c->file, i);
        const int64_t count = vmt_numel(vmt_tensor_file_find(c->file, name));
        uint64_t seed;
        int64_t asked;

        if (sscanf(name, "randn.%" SCNu64 ".%" SCNd64, &seed, &asked) == 2) {
            if (asked != count)
                return vmt_fail(ctx, VMT_E_FORMAT, "%s has %" PRId64 " elements", name, count);
            VMT_TRY(emit_normal(ctx, c, name, seed, count, NULL));
        } else if (sscanf(name, "raw.%" SCNu64, &seed) == 1) {
            VMT_TRY(emit_raw(ctx, c, name, seed, count));
        } else if (!strcmp(name, "sequence") && count == 90) {
            VMT_TRY(emit_normal(ctx, c, name, 0, count, sequence));
        } else if (!strcmp(name, "big")) {
            VMT_TRY(emit_normal(ctx, c, name, UINT32_MAX, count, NULL));
        } else {
            return vmt_fail(ctx, VMT_E_FORMAT, "tensor %s: not a name of this kind of case", name);
        }
    }
    return VMT_OK;
}
