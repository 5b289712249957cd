/* SPDX-License-Identifier: MIT
 *
 * Sources: FastVMT flow_match.py (FlowMatchScheduler); Wan2.1 wan/utils/fm_solvers_unipc.py,
 * fm_solvers.py.  With alpha = 1 - sigma, lambda = log(alpha / sigma) and h the step in lambda, one
 * step of both multistep solvers is a linear combination of latents; its coefficients are formed
 * here, in double, from the float32 sigmas.
 */
#include "sampler/sampler.h"

#include <math.h>
#include <string.h>

enum { MAX_STEPS = 100000, TIMESTEPS = 1000 };

/* ---------------------------------------------------------------- schedules */

/* Element i of torch.linspace(first, 0, points) in float32, as PyTorch's AVX2 build rounds it:
 * counted from the start in the first half and from the end in the second; within the part that is
 * done 16 at a time, from each eighth element onwards. */
static float linspace(float first, float step, int64_t points, int64_t i)
{
    enum { LANES = 8 };
    const bool vector = i < points / (2 * LANES) * (2 * LANES);
    const int64_t base = vector ? i / LANES * LANES : i;
    const float at =
        base < points / 2 ? first + step * (float)base : 0.0f - step * (float)(points - 1 - base);

    return vector ? at + step * (float)(i - base) : at;
}

static void fill_euler(vmt_sampler_state *s, double shift, double strength)
{
    const float first = (float)strength, step = (0.0f - first) / (float)s->steps;
    const float scale = (float)shift, slope = (float)(shift - 1.0);

    for (int64_t i = 0; i < s->steps; i++) {
        const float line = linspace(first, step, s->steps + 1, i);
        s->sigmas[i] = scale * line / (1.0f + slope * line);
        s->timesteps[i] = s->sigmas[i] * (float)TIMESTEPS;
    }
}

/* numpy.linspace in float64, shift, then rounded; the network is handed whole timesteps. */
static void fill_multistep(vmt_sampler_state *s, double shift, double first)
{
    const double step = (0.0 - first) / (double)s->steps;

    for (int64_t i = 0; i < s->steps; i++) {
        const double line = (double)i * step + first;
        const double sigma = shift * line / (1.0 + (shift - 1.0) * line);
        s->sigmas[i] = (float)sigma;
        s->timesteps[i] = (float)trunc(sigma * TIMESTEPS);
    }
}

enum vmt_status vmt_sampler_open(vmt_ctx *ctx, vmt_sampler_state *s, enum vmt_sampler kind,
                                 int64_t steps, double shift, double strength)
{
    /* 1 - 1/1000 in float32: UniPC's training schedule never reaches sigma 1 */
    const double unipc_first = (double)(float)(1.0 - 1.0 / TIMESTEPS);
    void *sigmas, *timesteps;
    enum vmt_status status;

    memset(s, 0, sizeof(*s));
    if (steps < 1 || steps > MAX_STEPS)
        return vmt_fail(ctx, VMT_E_ARG, "steps: %lld, must be 1 to %d", (long long)steps,
                        MAX_STEPS);
    if (!(shift > 0.0) || !isfinite(shift))
        return vmt_fail(ctx, VMT_E_ARG, "shift: %g, must be above 0", shift);
    if (!(strength > 0.0 && strength <= 1.0))
        return vmt_fail(ctx, VMT_E_ARG, "strength: %g, must be above 0 and at most 1", strength);
    VMT_TRY(vmt_alloc(ctx, &sigmas, (size_t)steps + 1, sizeof(float)));
    status = vmt_alloc(ctx, &timesteps, (size_t)steps, sizeof(float));
    if (status != VMT_OK) {
        vmt_free(sigmas);
        return status;
    }
    s->kind = kind;
    s->steps = steps;
    s->sigmas = sigmas;
    s->timesteps = timesteps;
    if (kind == VMT_SAMPLER_EULER)
        fill_euler(s, shift, strength);
    else
        fill_multistep(s, shift,
                       kind == VMT_SAMPLER_UNIPC ? fmin(unipc_first, strength) : strength);
    for (int64_t i = 0; i < steps; i++) /* the last sigma is 0 already */
        if (!(s->sigmas[i] > s->sigmas[i + 1] && s->sigmas[i] <= 1.0f)) {
            vmt_sampler_close(s);
            return vmt_fail(ctx, VMT_E_ARG,
                            "%lld steps with shift %g: sigmas %lld and %lld are not distinct; "
                            "take fewer steps or a shift nearer to 1",
                            (long long)steps, shift, (long long)i, (long long)i + 1);
        }
    return VMT_OK;
}

void vmt_sampler_close(vmt_sampler_state *s)
{
    vmt_free(s->sigmas);
    vmt_free(s->timesteps);
    memset(s, 0, sizeof(*s));
}

enum vmt_status vmt_sampler_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_sampler_state *s, int rank,
                                   const int64_t *shape)
{
    const int kept[] = {[VMT_SAMPLER_EULER] = 0, [VMT_SAMPLER_UNIPC] = 3, [VMT_SAMPLER_DPMPP] = 2};

    if (s->kind == VMT_SAMPLER_UNIPC)
        VMT_TRY(vmt_take(ctx, arena, &s->last, ctx->real, rank, shape));
    for (int i = 0; i < kept[s->kind]; i++)
        VMT_TRY(vmt_take(ctx, arena, &s->history[i], ctx->real, rank, shape));
    return VMT_OK;
}

/* ---------------------------------------------------------------- steps */

/* lambda; -inf at sigma 1 and +inf at sigma 0, from which all formulas below take their limits. */
static double lambda(const vmt_sampler_state *s, int64_t i)
{
    return log1p(-(double)s->sigmas[i]) - log((double)s->sigmas[i]);
}

/* One step from sigmas[i - 1] to sigmas[i] that trusts one estimate m of the clean latent:
 * x' = keep x + move m.   h: its length in lambda. */
typedef struct first_order {
    double keep, move, h;
} first_order;

static first_order first_order_to(const vmt_sampler_state *s, int64_t i)
{
    const double h = lambda(s, i) - lambda(s, i - 1);

    return (first_order){.keep = (double)s->sigmas[i] / (double)s->sigmas[i - 1],
                         .move = -(1.0 - (double)s->sigmas[i]) * expm1(-h),
                         .h = h};
}

/* The order of UniPC's prediction out of step i: it warms up at 1 and ends at 1. */
static int unipc_order(const vmt_sampler_state *s, int64_t i)
{
    return i >= 1 && i + 1 < s->steps ? 2 : 1;
}

/* Makes room for the newest estimate: the oldest one's memory comes to the front. */
static void rotate(vmt_sampler_state *s, int kept)
{
    const vmt_tensor oldest = s->history[kept - 1];

    memmove(&s->history[1], &s->history[0], (size_t)(kept - 1) * sizeof(oldest));
    s->history[0] = oldest;
}

/* history[0] = clean latent that x and velocity point at. */
static enum vmt_status estimate_clean(vmt_ctx *ctx, vmt_sampler_state *s, const vmt_tensor *x,
                                      const vmt_tensor *velocity)
{
    return vmt_lincomb(ctx, &s->history[0], x, velocity, 1.0, -(double)s->sigmas[s->step]);
}

/* x, predicted at sigmas[step] from `last`, is made anew with the estimate history[0] seen there:
 *   x = keep last + move (m0 + rho0 (m1 - m0) / r + rho1 (m - m0)),  m0, m1 the estimates before.
 */
static enum vmt_status unipc_correct(vmt_ctx *ctx, const vmt_sampler_state *s, vmt_tensor *x)
{
    const int64_t i = s->step;
    const first_order to = first_order_to(s, i);
    double of_m = 0.5, of_m1 = 0.0;

    if (unipc_order(s, i - 1) == 2) {
        /* rho solves [[1, 1], [r, 1]] rho = [b1, b2] */
        const double r = (lambda(s, i - 2) - lambda(s, i - 1)) / to.h;
        const double phi = expm1(-to.h), phi1 = phi / -to.h - 1.0;
        const double b1 = phi1 / phi, b2 = (phi1 / -to.h - 0.5) * 2.0 / phi;
        const double rho0 = (b2 - b1) / (r - 1.0);
        of_m = b1 - rho0;
        of_m1 = rho0 / r;
    }
    VMT_TRY(vmt_lincomb(ctx, x, &s->last, &s->history[1], to.keep, to.move * (1.0 - of_m - of_m1)));
    VMT_TRY(vmt_lincomb(ctx, x, x, &s->history[0], 1.0, to.move * of_m));
    if (of_m1 != 0.0)
        VMT_TRY(vmt_lincomb(ctx, x, x, &s->history[2], 1.0, to.move * of_m1));
    return VMT_OK;
}

/* From sigmas[step] to the next: x = keep x + move (m + c (m1 - m)), c = 1 / 2r at order 2. */
static enum vmt_status predict(vmt_ctx *ctx, const vmt_sampler_state *s, vmt_tensor *x, int order)
{
    const int64_t i = s->step;
    const first_order to = first_order_to(s, i + 1);
    const double c = order == 2 ? 0.5 * to.h / (lambda(s, i - 1) - lambda(s, i)) : 0.0;

    VMT_TRY(vmt_lincomb(ctx, x, x, &s->history[0], to.keep, to.move * (1.0 - c)));
    if (c != 0.0)
        VMT_TRY(vmt_lincomb(ctx, x, x, &s->history[1], 1.0, to.move * c));
    return VMT_OK;
}

enum vmt_status vmt_sampler_step(vmt_ctx *ctx, vmt_sampler_state *s, vmt_tensor *x,
                                 const vmt_tensor *velocity)
{
    const int64_t i = s->step;

    if (i >= s->steps)
        return vmt_fail(ctx, VMT_E_INTERNAL, "sampler: step %lld of %lld", (long long)i,
                        (long long)s->steps);
    switch (s->kind) {
    case VMT_SAMPLER_EULER:
        VMT_TRY(vmt_lincomb(ctx, x, x, velocity, 1.0, (double)(s->sigmas[i + 1] - s->sigmas[i])));
        break;
    case VMT_SAMPLER_UNIPC:
        rotate(s, 3);
        VMT_TRY(estimate_clean(ctx, s, x, velocity));
        if (i > 0)
            VMT_TRY(unipc_correct(ctx, s, x));
        VMT_TRY(vmt_copy(ctx, &s->last, x));
        VMT_TRY(predict(ctx, s, x, unipc_order(s, i)));
        break;
    case VMT_SAMPLER_DPMPP: /* the last step is first order; so, by sigma 1, are the first two */
        rotate(s, 2);
        VMT_TRY(estimate_clean(ctx, s, x, velocity));
        VMT_TRY(predict(ctx, s, x, i > 0 && i + 1 < s->steps ? 2 : 1));
        break;
    }
    s->step++;
    return VMT_OK;
}

int64_t vmt_sampler_latents(const vmt_sampler_state *s, vmt_named_tensor *latents)
{
    int64_t count = 0;

    if (s->kind == VMT_SAMPLER_EULER || s->step == 0)
        return 0;
    latents[count++] = (vmt_named_tensor){"sampler.clean0", s->history[0]};
    if (s->kind == VMT_SAMPLER_UNIPC) {
        latents[count++] = (vmt_named_tensor){"sampler.last", s->last};
        if (s->step > 1)
            latents[count++] = (vmt_named_tensor){"sampler.clean1", s->history[1]};
    }
    return count;
}
