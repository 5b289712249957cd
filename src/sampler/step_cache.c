/* SPDX-License-Identifier: MIT */
#include "sampler/step_cache.h"

#include <math.h>

/* Of text-to-video, for the change of the embedding e (not e0); TeaCache4Wan2.1. */
static const struct {
    int64_t dim, layers;
    double polynomial[VMT_STEP_CACHE_TERMS];
} published[] = {
    {1536, 30, {2.39676752e+03, -1.31110545e+03, 2.01331979e+02, -8.29855975e+00, 1.37887774e-01}},
    {5120, 40, {-5784.54975374, 5449.50911966, -1811.16591783, 256.27178429, -13.02252404}},
};

const double *vmt_step_cache_published(int64_t dim, int64_t layers, int64_t in_dim)
{
    for (size_t i = 0; i < sizeof published / sizeof *published; i++)
        if (published[i].dim == dim && published[i].layers == layers && in_dim == 16)
            return published[i].polynomial;
    return NULL;
}

void vmt_step_cache_begin(vmt_step_cache *c, int64_t guided, int64_t steps, int64_t fewer,
                          int64_t other)
{
    c->guided = guided;
    c->steps = steps;
    c->turns[0] = fewer;
    c->turns[1] = other;
    c->computed = c->before = -1;
    c->drift = c->rate = 0;
}

/* The answer's relative change that step i is expected to bring.  Where the polynomial falls below
 * zero, outside of what it was fitted to, it says nothing. */
static double expected(const vmt_step_cache *c, int64_t i)
{
    double sum = 0;

    if (!c->polynomial)
        return c->rate * c->changes[i];
    for (int k = 0; k < VMT_STEP_CACHE_TERMS; k++)
        sum = sum * c->changes[i] + c->polynomial[k];
    return sum > 0 ? sum : 0;
}

bool vmt_step_cache_may_serve(const vmt_step_cache *c, int64_t i)
{
    return c->threshold > 0 && i + 1 >= c->guided && i + 1 != c->turns[0] && i + 1 != c->turns[1] &&
           i + 1 < c->steps - 1;
}

bool vmt_step_cache_reuses(const vmt_step_cache *c, int64_t i)
{
    if (c->computed < 0 || !vmt_step_cache_may_serve(c, i - 1) ||
        i - c->computed > VMT_STEP_CACHE_IN_A_ROW || (!c->polynomial && !(c->rate > 0)))
        return false;
    return c->drift + expected(c, i) < c->threshold;
}

bool vmt_step_cache_in_line(const vmt_step_cache *c, int64_t j, int64_t i)
{
    bool one = j >= 0 && j >= c->guided - 1;

    for (int k = 0; k < 2; k++)
        one = one && (j >= c->turns[k] || i < c->turns[k]);
    return one;
}

void vmt_step_cache_reused(vmt_step_cache *c, int64_t i)
{
    c->drift += expected(c, i);
}

void vmt_step_cache_computed(vmt_step_cache *c, int64_t i, double change)
{
    if (change > 0 && vmt_step_cache_in_line(c, c->computed, i)) { /* false for NaN */
        double moved = 0;
        for (int64_t k = c->computed + 1; k <= i; k++)
            moved += c->changes[k];
        c->rate = moved > 0 ? change / moved : c->rate;
    }
    c->before = c->computed;
    c->computed = i;
    c->drift = 0;
}
