/* SPDX-License-Identifier: MIT
 *
 * Every tensor of an official checkpoint, made from its configuration: name and shape in the order
 * of the file, and how random weights for it are drawn.
 * Source: Wan-Video/Wan2.1 wan/modules/{model,vae,t5}.py, order of their state dicts.
 */
#ifndef VMT_MODEL_TENSOR_LIST_H
#define VMT_MODEL_TENSOR_LIST_H

#include "model/model_config.h"

typedef struct vmt_tensor_spec {
    char name[VMT_TENSOR_NAME_BYTES];
    int rank;
    int64_t shape[VMT_MAX_RANK];
    float mean, scale; /* weight = mean + scale * normal */
    bool gates;        /* [1, 6, dim]: rows 2 and 5 gate a branch and lie around 0.5 */
} vmt_tensor_spec;

typedef struct vmt_tensor_list {
    vmt_tensor_spec *items;
    int64_t count, capacity;
} vmt_tensor_list;

/* Append to a list (zeroed at first).  Errors: VMT_E_MEMORY. */
enum vmt_status vmt_tensor_list_dit(vmt_ctx *ctx, vmt_tensor_list *list, const vmt_dit_config *c);
enum vmt_status vmt_tensor_list_vae(vmt_ctx *ctx, vmt_tensor_list *list, const vmt_vae_config *c);
enum vmt_status vmt_tensor_list_text(vmt_ctx *ctx, vmt_tensor_list *list, const vmt_text_config *c);
void vmt_tensor_list_free(vmt_tensor_list *list);

#endif
