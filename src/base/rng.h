/* SPDX-License-Identifier: MIT
 *
 * Normal noise, bit for bit what torch.randn(count,
 * generator=torch.Generator("cpu").manual_seed(seed)) gives in float32 on x86-64 with AVX2:
 * MT19937, then Box-Muller with Cephes' polynomials in fused multiply-adds.  The same bits come out
 * on any processor.
 */
#ifndef VMT_BASE_RNG_H
#define VMT_BASE_RNG_H

#include "base/ctx.h"

enum { VMT_MT_WORDS = 624 };

typedef struct vmt_rng {
    uint32_t words[VMT_MT_WORDS];
    uint32_t next;   /* words already drawn of this round, 0..VMT_MT_WORDS */
    bool has_cached; /* a small draw (count < 16) left its second value for the next one */
    double cached;
} vmt_rng;

/* Only the low 32 bits of the seed count, as in PyTorch. */
void vmt_rng_seed(vmt_rng *rng, uint64_t seed);

/* The engine's next 32 bits. */
uint32_t vmt_rng_bits(vmt_rng *rng);

/* The next `count` normal values.  One call of n values differs from two calls of n/2: values are
 * made in groups of 16 per call, and calls of less than 16 use another formula. */
void vmt_rng_normal(vmt_rng *rng, float *values, int64_t count);

#endif
