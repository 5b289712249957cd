/* SPDX-License-Identifier: MIT
 *
 * config.json: the parts and the defaults of video, sampling and motion.
 */
#include "input.h"

#include "model/model_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    vmt_config_file *config = NULL;
    vmt_model_defaults defaults;
    vmt_ctx ctx;

    vmt_ctx_init(&ctx);
    if (vmt_config_file_parse(&ctx, &config, bytes, length, "input") != VMT_OK) {
        FUZZ_REFUSED(ctx);
        return 0;
    }
    (void)vmt_config_file_part(config, "dit");
    if (vmt_model_defaults_read(&ctx, &defaults, config) == VMT_OK) {
        vmt_settings settings = {0};
        vmt_model_defaults_apply(&defaults, &settings);
    } else {
        FUZZ_REFUSED(ctx);
    }
    vmt_config_file_close(config);
    return 0;
}
