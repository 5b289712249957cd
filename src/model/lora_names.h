/* SPDX-License-Identifier: MIT
 *
 * Names in LoRA files: what a tensor is, and of which matrix.  Programs put different things before
 * and behind a module's name, and some write its dots as underscores; without the one and with the
 * other, all are alike.
 */
#ifndef VMT_MODEL_LORA_NAMES_H
#define VMT_MODEL_LORA_NAMES_H

#include "model/tensor_file.h"

/* y += alpha / r (x Aᵀ Bᵀ + b) of a low-rank pair; y += x Dᵀ + d of a difference. */
enum vmt_lora_part {
    VMT_LORA_DOWN = 0,  /* A, [r, in] */
    VMT_LORA_UP,        /* B, [out, r] */
    VMT_LORA_UP_BIAS,   /* b, [out] */
    VMT_LORA_ALPHA,     /* one number */
    VMT_LORA_DIFF,      /* D, [out, in]; of a vector, [n] */
    VMT_LORA_DIFF_BIAS, /* d, [out] */
    VMT_LORA_PARTS
};

/* The part, and the module's name with underscores for its dots: "blocks_0_self_attn_q".  false: no
 * name of a LoRA's. */
bool vmt_lora_name(const char *name, enum vmt_lora_part *part, char module[VMT_TENSOR_NAME_BYTES]);

/* Whether the name is of a kind of adapter that computes something else: DoRA, LoHa, LoKr, a LoRA
 * with a matrix in the middle. */
bool vmt_lora_name_of_others(const char *name);

/* FILE or FILE:WEIGHT, the weight 1 where no number stands behind a last colon; path: of the caller
 * (vmt_free). */
enum vmt_status vmt_lora_split(vmt_ctx *ctx, const char *text, char **path, double *weight);

/* Underscores for the dots of a model's tensor name. */
void vmt_lora_plain(const char *name, char plain[VMT_TENSOR_NAME_BYTES]);

/* What diffusers and PEFT say of a file as a whole, in its metadata. */
typedef struct vmt_lora_scaling {
    double alpha; /* 0: not said; then each module's own, else its rank */
    bool by_root; /* alpha / √r in place of alpha / r */
} vmt_lora_scaling;

/* Errors: VMT_E_FORMAT, VMT_E_UNSUPPORTED (alphas module by module, DoRA). */
enum vmt_status vmt_lora_scaling_read(vmt_ctx *ctx, const vmt_tensor_file *file,
                                      vmt_lora_scaling *scaling);

/* What a file holds: `pairs` 0: no LoRA. */
typedef struct vmt_lora_summary {
    int64_t pairs, differences; /* A with its shape [r, in]; D and d */
    int64_t least_rank, most_rank;
    bool has_alpha;
} vmt_lora_summary;

vmt_lora_summary vmt_lora_summarise(const vmt_tensor_file *file);

#endif
