/* SPDX-License-Identifier: MIT
 *
 * Golden cases: run one as `fastvmt probe` would, compare every tensor with what the official
 * implementation gave.  Tolerances: tests/data/golden/tolerances.tsv.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "probe/probe.h"
#include "testing.h"

typedef enum vmt_status conformance_kind(vmt_ctx *ctx, vmt_probe_case *c);

/* Runs tests/data/golden/NAME.safetensors and fails the test unless every expected tensor that
 * starts with `prefix` ("out." = all) is there, of the same shape and within `factor` times its
 * tolerance.  Prints the largest share of a tolerance that was used, and where. */
void conformance_check(vmt_ctx *ctx, const char *name, conformance_kind *run, const char *prefix,
                       double factor);

/* A guided run: AdamW turns the sign of a gradient at rounding level into a step of the learning
 * rate, so latents inside a guided step are compared by their share of elements within 2e-5 or the
 * tolerance, whichever is more (99.9 %), and by their mean difference (1e-5 or a tenth of the
 * tolerance), and later latents by their mean difference only. */
void conformance_check_guided(vmt_ctx *ctx, const char *name, conformance_kind *run,
                              const char *prefix, double factor);

/* The tolerance recorded with a golden case for one of its tensors; negative: none is. */
double conformance_tolerance(const char *name, const char *tensor);

#endif
