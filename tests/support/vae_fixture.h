/* SPDX-License-Identifier: MIT
 *
 * The tiny random autoencoder of the golden data, opened on a backend.
 */
#ifndef VAE_FIXTURE_H
#define VAE_FIXTURE_H

#include "testing.h"
#include "vae/vae.h"

typedef struct vae_fixture {
    vmt_ctx *ctx;
    vmt_tensor_file *weights;
    vmt_vae *vae;
} vae_fixture;

/* `stem` of a weight file in the golden folder, with its extension. */
void vae_fixture_open(vae_fixture *fixture, const char *backend, const char *dtype,
                      const char *weights);
void vae_fixture_close(vae_fixture *fixture);

/* True when the backend is in this build. */
bool vae_backend_exists(const char *backend);

/* Constants of the official autoencoder with another width. */
vmt_vae_config vae_official_config(int64_t dim);

/* Opens a golden case file. */
vmt_tensor_file *vae_golden(vmt_ctx *ctx, const char *name);

/* F32 tensor of a case, or failure of the test. */
const vmt_tensor *vae_tensor(const vmt_tensor_file *file, const char *name);

/* in.NAME [1, 3, T, H, W] encoded, [z, F, h, w]; freed by the caller. */
float *vae_encode(const vae_fixture *fixture, const vmt_tensor *video,
                  const vmt_vae_options *options);
/* in.NAME [1, z, F, h, w] decoded, [3, T, H, W], not clamped; freed by the caller. */
float *vae_decode(const vae_fixture *fixture, const vmt_tensor *latent,
                  const vmt_vae_options *options);

/* Largest |a - b|. */
double vae_distance(const float *a, const float *b, int64_t count);

/* Fails unless `actual` is within `tolerance` of the tensor everywhere. */
void vae_expect(const float *actual, const vmt_tensor *expected, double tolerance,
                const char *what);

#endif
