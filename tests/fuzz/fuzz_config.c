/* SPDX-License-Identifier: MIT
 *
 * A model's config.json: every accepted value must keep its promises, whatever the file says.
 */
#include "input.h"

#include "model/model_config.h"

#include <string.h>

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void read_parts(vmt_ctx *ctx, const vmt_config_file *config, const vmt_tensor_file *weights)
{
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;
    vmt_model_defaults defaults;
    vmt_settings settings;

    if (vmt_dit_config_read(ctx, &dit, config, weights) == VMT_OK) {
        require(dit.dim > 0 && dit.heads > 0 && dit.dim % dit.heads == 0);
        require(dit.dim / dit.heads % 2 == 0 && dit.layers > 0 && dit.layers <= 1000);
        require(dit.patch[0] > 0 && dit.patch[1] > 0 && dit.patch[2] > 0 && dit.eps > 0);
    }
    if (vmt_vae_config_read(ctx, &vae, config, weights) == VMT_OK) {
        require(vae.z_dim > 0 && vae.z_dim <= VMT_VAE_MAX_Z && vae.dim > 0);
        for (int64_t i = 0; i < vae.z_dim; i++)
            require(vae.std[i] > 0 && vae.mean[i] == vae.mean[i]);
    }
    if (vmt_text_config_read(ctx, &text, config, weights) == VMT_OK)
        require(text.heads > 0 && text.dim_attn % text.heads == 0 && text.buckets >= 4);
    if (vmt_model_defaults_read(ctx, &defaults, config) == VMT_OK) {
        memset(&settings, 0, sizeof settings);
        vmt_model_defaults_apply(&defaults, &settings);
        require(!settings.negative || strlen(settings.negative) < VMT_NEGATIVE_BYTES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    /* nothing can be deduced from it: what the config does not say is missing */
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    unsigned char weights_bytes[8 + sizeof header - 1] = {sizeof header - 1};
    vmt_tensor_file *weights;
    vmt_config_file *config;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    memcpy(weights_bytes + 8, header, sizeof header - 1);
    if (vmt_tensor_file_open_bytes(&ctx, &weights, weights_bytes, sizeof weights_bytes,
                                   "weights") != VMT_OK)
        abort();
    if (vmt_config_file_parse(&ctx, &config, bytes, length, "input") == VMT_OK) {
        read_parts(&ctx, config, weights);
        vmt_config_file_close(config);
    } else {
        FUZZ_REFUSED(ctx);
    }
    vmt_tensor_file_close(weights);
    return 0;
}
