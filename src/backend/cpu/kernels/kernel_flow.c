/* SPDX-License-Identifier: MIT
 *
 * Attention motion flow: softmax over keys and expected place, one query per lane.
 */
#include "backend/cpu/kernels/kernel_vector.h"

/* Largest scale · z of each lane. */
INLINE vec largest(const float *z, int64_t row, float scale, int64_t count)
{
    vec most = scale * load(z);

    for (int64_t p = 1; p < count; p++)
        most = larger(scale * load(z + p * row), most);
    return most;
}

void KERNEL(flow_mean)(float *mean, const float *z, int64_t row, float scale, const float *u,
                       const float *v, int64_t count, int64_t queries)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        const vec own_u = load(mean + i), own_v = load(mean + row + i);
        const vec most = largest(z + i, row, scale, count);
        vec sum = {0}, rows = {0}, cols = {0};

        for (int64_t p = 0; p < count; p++) {
            const vec a = exp2_vec(scale * load(z + i + p * row) - most, false);
            sum += a;
            rows += a * (u[p] - own_u);
            cols += a * (v[p] - own_v);
        }
        store(mean + i, rows / sum);
        store(mean + row + i, cols / sum);
    }
}

void KERNEL(flow_grad)(float *z, int64_t row, float scale, float factor, const float *from,
                       const float *u, const float *v, int64_t count, int64_t queries)
{
    for (int64_t i = 0; i < queries; i += LANES) {
        const vec most = largest(z + i, row, scale, count);
        const vec g_u = load(from + i), g_v = load(from + row + i);
        const vec mean_u = load(from + 2 * row + i), mean_v = load(from + 3 * row + i);
        vec sum = {0};

        for (int64_t p = 0; p < count; p++) {
            const vec a = exp2_vec(scale * load(z + i + p * row) - most, false);
            sum += a;
            store(z + i + p * row, a);
        }
        const vec share = factor / sum;
        for (int64_t p = 0; p < count; p++) {
            const vec along = g_u * (u[p] - mean_u) + g_v * (v[p] - mean_v);
            store(z + i + p * row, load(z + i + p * row) * share * along);
        }
    }
}
