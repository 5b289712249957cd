/* SPDX-License-Identifier: MIT
 *
 * fastvmt - video motion transfer on Wan2.1 text-to-video models.
 *
 *     vmt_ctx *ctx = NULL;
 *     vmt_model *model = NULL;
 *     vmt_clip reference = {0}, result = {0};      // reference: RGB frames, filled by the caller
 *     vmt_settings settings;
 *
 *     if (vmt_ctx_open(&ctx, NULL) || vmt_model_open(ctx, &model, &(vmt_model_paths){.dir =
 * "Wan2.1-T2V-1.3B"})) die(vmt_message(ctx)); vmt_settings_init(ctx, &settings, model, NULL);
 *     settings.prompt = "a lion runs through snow";
 *     if (vmt_transfer(ctx, model, &settings, &(vmt_transfer_io){.reference = &reference, .result =
 * &result})) die(vmt_message(ctx)); vmt_clip_free(&result); vmt_model_close(ctx, model);
 *     vmt_ctx_close(ctx);
 *
 * One context is used by one thread at a time (vmt_cancel excepted); several contexts may live side
 * by side.  An opened model is read only: several runs of its context may use it one after another.
 * The library never prints and never exits.  Strings are UTF-8; paths are the system's.
 * Method: FastVMT, arXiv 2602.05551.  Model: Wan-Video/Wan2.1.
 */
#ifndef FASTVMT_H
#define FASTVMT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VMT_VERSION_MAJOR 0
#define VMT_VERSION_MINOR 1
#define VMT_VERSION_PATCH 0

#if defined(__GNUC__)
#define VMT_API __attribute__((visibility("default")))
#define VMT_MUST_CHECK __attribute__((warn_unused_result))
#else
#define VMT_API
#define VMT_MUST_CHECK
#endif

/* ---------------------------------------------------------------- status and context */

/* What a call came to.  The values are also the program's exit codes (CANCELLED: 130). */
enum vmt_status {
    VMT_OK = 0,
    VMT_E_INTERNAL = 1,    /* a fault of this library or of one below it */
    VMT_E_ARG = 2,         /* an argument or option is out of range, or two contradict */
    VMT_E_MEMORY = 3,      /* an allocation failed, or the plan is larger than what is free */
    VMT_E_IO = 4,          /* a file cannot be opened, read or written */
    VMT_E_FORMAT = 5,      /* a file is corrupt, truncated or of another kind than named */
    VMT_E_MODEL = 6,       /* well-formed files that do not make the model (names, shapes) */
    VMT_E_MISMATCH = 7,    /* a motion file or checkpoint made with other settings */
    VMT_E_NUMERIC = 8,     /* NaN or infinity appeared; the message names where */
    VMT_E_UNSUPPORTED = 9, /* this build or backend cannot do it */
    VMT_E_CANCELLED = 10   /* vmt_cancel, or a callback asked for it */
};

/* The last six are weights in few bits, in files only. */
enum vmt_dtype {
    VMT_F32 = 0,
    VMT_F16,
    VMT_BF16,
    VMT_F64,
    VMT_I32,
    VMT_I64,
    VMT_U8,
    VMT_F8_E4M3,
    VMT_Q8_0,
    VMT_Q4_0,
    VMT_Q4_K,
    VMT_Q5_K,
    VMT_Q6_K
};

enum vmt_log_level { VMT_LOG_ERROR = 0, VMT_LOG_WARNING, VMT_LOG_INFO, VMT_LOG_DEBUG };

typedef struct vmt_ctx vmt_ctx;
typedef struct vmt_model vmt_model;

/* One line without newline at its end. */
typedef void vmt_log_fn(void *user, enum vmt_log_level level, const char *line);

typedef struct vmt_config {
    const char *backend; /* "cuda", "cpu", "ref", "ref64"; NULL or "auto": the fastest that works */
    const char *dtype;   /* activations: "f32" or "bf16"; NULL or "auto": the backend's choice */
    int device;          /* of backend cuda, from 0; above 0 no other backend is taken */
    /* not 0, backend cuda: a faster backward of attention, whose sums are added in an order of
     * chance: two runs differ in their last bits */
    int nondeterministic;
    int threads; /* 0: every core this process may use */
    /* Bytes that this process may take; 0: what is free, less a margin.  max_vram: of the device of
     * backend cuda, context and libraries included; max_ram: of the host, files that are mapped not
     * included.  Runs keep to them (vmt_plan), as far as memory that was freed goes back to the
     * system: with glibc, mallopt(M_MMAP_THRESHOLD, …) sees to it. */
    uint64_t max_vram, max_ram;
    vmt_log_fn *log; /* may be NULL */
    void *log_user;
    /* folder in which encoded prompts are kept for later runs (docs/text.md), made when one is;
     * copied; NULL: they are not kept */
    const char *cache_dir;
    uint64_t cache_bytes; /* what it may hold; those used longest ago go first; 0: 512 MiB */
} vmt_config;

/**
 * Opens a context.  `config` may be NULL (all defaults).
 * On failure *ctx is a context that only vmt_message and vmt_ctx_close may be called on, or NULL
 * when not even that could be allocated.
 * Errors: VMT_E_ARG (unknown backend or dtype), VMT_E_UNSUPPORTED (not in this build, or not on
 * this CPU), VMT_E_MEMORY.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_ctx_open(vmt_ctx **ctx, const vmt_config *config);

/** Closes what vmt_ctx_open opened.  NULL is allowed.  Models must be closed before. */
VMT_API void vmt_ctx_close(vmt_ctx *ctx);

/** Text of the last failure: one line, owned by the context, "" when there was none.  NULL is
 * allowed. */
VMT_API const char *vmt_message(const vmt_ctx *ctx);

/** Name of the backend that computes, such as "cpu"; owned by the library. */
VMT_API const char *vmt_backend_name(const vmt_ctx *ctx);

/** Makes the running call return VMT_E_CANCELLED soon.  May be called from any thread or signal
 * handler. */
VMT_API void vmt_cancel(vmt_ctx *ctx);

/** Lines about the devices that backend cuda can use; allocated, freed with vmt_text_free.
 * Errors: VMT_E_UNSUPPORTED with the reason (no driver, no device, not in this build). */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_describe_devices(vmt_ctx *ctx, char **text);

/** Short English name of a status, such as "out of memory"; never NULL. */
VMT_API const char *vmt_status_name(enum vmt_status status);

/** "0.1.0" */
VMT_API const char *vmt_version(void);

/* ---------------------------------------------------------------- clips */

/* RGB frames, 8 bit, [frames, height, width, 3] without padding. */
typedef struct vmt_clip {
    uint8_t *pixels;
    int64_t frames, height, width;
    double fps; /* frames per second, > 0 */
} vmt_clip;

/** Allocates pixels of the stated size (zeroed).  Errors: VMT_E_ARG, VMT_E_MEMORY. */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_clip_new(vmt_ctx *ctx, vmt_clip *clip, int64_t frames,
                                                    int64_t height, int64_t width, double fps);

/** Frees the pixels and zeroes the struct. */
VMT_API void vmt_clip_free(vmt_clip *clip);

/* ---------------------------------------------------------------- models */

enum { VMT_MAX_LORAS = 16 };

/*
 * Where a model's parts lie.  `dir` is a folder with config.json of ours, or an official Wan2.1-T2V
 * folder (DiT safetensors, sharded or not; Wan2.1_VAE.pth; models_t5_umt5-xxl-enc-bf16.pth;
 * google/umt5-xxl/spiece.model).  A part that is named wins over the folder's, with the sizes in
 * the config.json beside it; the settings stay the folder's if it has any.  Any field may be NULL.
 */
typedef struct vmt_model_paths {
    const char *dir;
    const char *dit;     /* .safetensors, .safetensors.index.json or .pth */
    const char *dit_low; /* the transformer of the steps below settings.boundary, where a model has
                            two (Wan2.2 A14B); `dit` is that of the others then */
    const char *vae;     /* .pth or .safetensors */
    const char *text;    /* .pth or .safetensors */
    const char *tokenizer; /* spiece.model */
    /* LoRAs beside the transformer's weights, "FILE" or "FILE:WEIGHT" (weight 1: as it was
     * trained), up to the first NULL; keys as musubi-tuner, diffusers, PEFT or ComfyUI write them
     */
    const char *loras[VMT_MAX_LORAS];
    const char *loras_low[VMT_MAX_LORAS]; /* the same of dit_low */
} vmt_model_paths;

/**
 * Opens a model: maps its files, checks every tensor's name and shape, reads no weights yet.
 * Parts that no path names are absent; calls that need them fail with VMT_E_MODEL.
 * LoRAs are read, and how many of their keys matched is logged.
 * Errors: VMT_E_IO, VMT_E_FORMAT, VMT_E_MODEL (missing, surplus and misshapen tensors listed; a
 * LoRA of which no key matched), VMT_E_NUMERIC (NaN or infinity in a LoRA), VMT_E_UNSUPPORTED.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_model_open(vmt_ctx *ctx, vmt_model **model,
                                                      const vmt_model_paths *paths);

/** Frames, size and rate the model was made for, in *shape (no pixels); what config.json says, else
 * 832x480, 81 frames at 16 fps. */
VMT_API void vmt_model_native(const vmt_model *model, vmt_clip *shape);

/** Closes a model.  NULL is allowed. */
VMT_API void vmt_model_close(vmt_ctx *ctx, vmt_model *model);

/* ---------------------------------------------------------------- settings */

enum vmt_variant {
    VMT_VARIANT_PAPER = 0, /* the method with true token positions (default) */
    VMT_VARIANT_RELEASED   /* the released code's arithmetic, quirks included; docs/released-code.md
                            */
};

/* How the motion of the reference is measured and imposed; docs/methods.md. */
enum vmt_method {
    VMT_METHOD_FASTVMT =
        0,              /* attention motion flow in sliding windows, gradients reused (default) */
    VMT_METHOD_DITFLOW, /* dense flow of all frame pairs, in its published form */
    VMT_METHOD_DITFLOW_10,  /* FastVMT's flow without its reductions: dense, all pairs, no reuse */
    VMT_METHOD_MOFT,        /* spatial means of hidden states, from frame to frame */
    VMT_METHOD_SMM,         /* the same of a few cells of the frame */
    VMT_METHOD_MOTIONCLONE, /* flow of the largest attention weights alone */
    VMT_METHOD_FLOWMOTION,  /* clean estimates; no gradient through the network */
    VMT_METHOD_NONE,        /* no guidance: the noised reference is denoised */
    VMT_METHOD_NOISE,       /* no guidance, from pure noise: plain text-to-video */
    VMT_METHOD_COUNT
};

enum vmt_ref_time {
    VMT_REF_STEP =
        0,        /* the reference's flow from its latent noised to the step's sigma, each step */
    VMT_REF_CLEAN /* from the clean latent at timestep 0, once */
};

/* Approximations beside the method's own. */
enum vmt_mode {
    VMT_MODE_EXACT = 0, /* none */
    VMT_MODE_FAST       /* those measured to be worth it, each as chosen (docs/method.md) */
};

/* What a step that is not computed takes (settings.cache). */
enum vmt_cache_from {
    VMT_CACHE_VELOCITY = 0, /* the line through the last two computed velocities */
    VMT_CACHE_RESIDUAL      /* what the blocks added at the last computed step, of each pass */
};

/* What the change from step to step is estimated by (settings.cache). */
enum vmt_cache_scale {
    VMT_CACHE_AUTO = 0,  /* published where there is one for the model's shape, else measured */
    VMT_CACHE_PUBLISHED, /* TeaCache's polynomial for Wan2.1 1.3B or 14B */
    VMT_CACHE_MEASURED   /* the change of the velocity between the run's last computed steps */
};

/* Which computed gradients are taken again; docs/method.md. */
enum vmt_reuse {
    VMT_REUSE_INNER = 0, /* within their guided step, as released (default) */
    VMT_REUSE_NONE,      /* none: each inner step computes its own */
    VMT_REUSE_STEPS,     /* in the guided steps that follow, too, at the same inner step */
    VMT_REUSE_ADAPTIVE   /* the same, until the gradient is expected to have turned */
};

/* AdamW's moments at a guided step's beginning. */
enum vmt_adamw_state {
    VMT_ADAMW_RESET = 0, /* zero, as released (default) */
    VMT_ADAMW_CARRY      /* those of the guided step before */
};

enum vmt_init {
    VMT_INIT_REFERENCE = 0, /* start: the reference noised to the first sigma */
    VMT_INIT_NOISE          /* start: noise */
};

/* Self-attention of the transformer: every token sees all, or a box around it. */
enum vmt_attention_kind { VMT_ATTENTION_FULL = 0, VMT_ATTENTION_LOCAL };

/* Local attention: the grid of tokens (frames, rows, columns) is cut into tiles, and the tokens of
 * a tile see one box of keys around it, moved into the grid.  Attention to the text stays full. */
typedef struct vmt_attention_settings {
    int32_t kind;      /* enum vmt_attention_kind */
    int32_t window[3]; /* size of a box: tokens; below 0: percent of the grid's axis */
    int32_t tile[3];   /* of a tile, likewise; 0: derived from the window */
    int32_t phases;    /* bits: 0 reference's features, 1 gradients, 2 sampling */
    int32_t blocks[2]; /* first and last block that it is for; from 0 */
} vmt_attention_settings;

enum vmt_sampler { VMT_SAMPLER_EULER = 0, VMT_SAMPLER_UNIPC, VMT_SAMPLER_DPMPP };

/* How tiles make up a frame: EXACT gives what the whole frame gives (up to rounding where a
 * backend's sums depend on a frame's size), BLEND overlaps and weights them as the released code
 * does. */
enum vmt_vae_tiling { VMT_VAE_TILING_EXACT = 0, VMT_VAE_TILING_BLEND };

enum { VMT_OPTION_NAME_BYTES = 32 };

/*
 * Constants of the motion guidance.  Symbols in brackets are those of the paper or its code.
 * Source: FastVMT, section "method", and the constants of its released code.
 */
typedef struct vmt_motion_settings {
    int32_t method;       /* enum vmt_method; vmt_settings_set gives its schedule, too */
    int32_t variant;      /* enum vmt_variant */
    int32_t ref_time;     /* enum vmt_ref_time */
    int32_t block;        /* tapped DiT block, counted from 0 */
    int32_t guided_steps; /* denoising steps that are guided, from the first on */
    float guide_until;    /* guide while sigma >= this instead of counting steps; 0: count steps */
    int32_t inner_steps;  /* AdamW steps per guided step */
    float lr_first, lr_last; /* rate of inner step j: first - (first - last) * j / inner_steps */
    int32_t grad_reuse_interval; /* inner steps of a guided step served by one computed gradient
                                    [interval]; 1: no reuse */
    int32_t reuse;               /* enum vmt_reuse */
    int32_t reuse_steps;         /* steps: guided steps served by one's gradients; adaptive: at
                                    most */
    float reuse_cosine; /* adaptive: compute anew when the cosine with the last gradient is expected
                           to fall below this, 0 < reuse_cosine < 1 */
    int32_t adamw_state;    /* enum vmt_adamw_state */
    int32_t ref_interval;   /* guided steps served by one pass of the reference, at least 1 */
    int32_t amf_window;     /* side of the key window, tokens, odd or even [l]; 0: no windows,
                               every token looks at the whole frame */
    int32_t amf_tile[2];    /* query tile, tokens: rows, columns */
    int32_t max_frame_gap;  /* frames i..i+max_frame_gap-1 are compared with frame i [sf, span] */
    float logit_scale;      /* factor on q.k/sqrt(head_dim) [tau] */
    float amf_weight;       /* weight of the flow distance */
    float track_weight;     /* weight of the corresponding-window loss */
    float last_pair_weight; /* weight of the farthest frame pair; nearer ones linearly up to 1 */
    float weight_decay, beta1, beta2, adam_eps;
    int32_t top_k;       /* motionclone: attention weights a token keeps, at least 2 */
    int32_t smm_pool;    /* smm: cells of a frame's side */
    float moft_channels; /* moft: share of the channels kept, those that change most */
} vmt_motion_settings;

/* What setting the method changes. */
typedef struct vmt_schedule {
    int32_t guided_steps, inner_steps, grad_reuse_interval, init;
    float guide_until, lr_first, lr_last, logit_scale, strength;
} vmt_schedule;

/*
 * Everything that decides a result.  Fill with vmt_settings_init, then change fields, or set them
 * by name with vmt_settings_set.  Strings are borrowed until the run ends.
 */
typedef struct vmt_settings {
    const char *prompt;    /* UTF-8; NULL = "" */
    const char *negative;  /* negative prompt; NULL = "" */
    int64_t width, height; /* pixels of the result; 0: the reference's, or the model's default */
    int64_t frames;        /* frames of the result; 0: the reference's, or the model's default */
    double fps;            /* of the result; 0: the reference's, or the model's default */
    uint64_t seed;         /* start noise */
    uint64_t ref_seed;     /* noise of the reference's features; independent of `seed` */
    int32_t ref_seed_set;  /* 0: ref_seed = seed */
    int32_t steps;         /* denoising steps */
    float shift;           /* sigma shift of the schedule */
    float strength;        /* start of the schedule's line before the shift, 0 < strength <= 1 */
    float cfg_scale;       /* classifier-free guidance; 1: one pass, no negative prompt */
    float cfg_low;         /* the same of the steps below `boundary`, where the model has two
                              transformers; 0: as cfg_scale */
    float boundary;        /* of a model of two transformers: the low-noise one computes the steps
                              below this sigma */
    float cfg_until;       /* both passes while sigma >= this, below the prompt's alone */
    float cache;           /* a step is not computed while the estimated relative change since the
                              last computed one is below this; 0: every step is computed */
    int32_t cache_from;    /* enum vmt_cache_from: what it takes instead */
    int32_t cache_scale;   /* enum vmt_cache_scale: what the change is estimated by */
    int32_t sampler;       /* enum vmt_sampler; transfer always uses Euler */
    int32_t init;          /* enum vmt_init */
    int32_t recompute;   /* gradient: 0 all kept, 1 block inputs and attention kept, 2 inputs only,
                            -1 the fastest that fits vmt_config's limits, else half of the host's
                            free memory, or all of a device's */
    int32_t vae_tile[2]; /* latent rows, columns of a VAE tile; 0: untiled */
    int32_t vae_tiling;  /* enum vmt_vae_tiling */
    int32_t vae_tile_stride[2]; /* blend: from tile to tile; 0: half a tile */
    vmt_attention_settings attention;
    int32_t fp8;  /* 1: matrix products of sampling on numbers of 8 bits (e4m3); 0: as dtype */
    int32_t mode; /* enum vmt_mode; vmt_settings_set sets the approximations, too */
    vmt_motion_settings motion;
    vmt_schedule fastvmt; /* the preset's, of method fastvmt, from which the others' follow */
    char preset[VMT_OPTION_NAME_BYTES]; /* name of the preset these came from */
} vmt_settings;

/**
 * Fills all fields from a preset: "paper", "released", "tiny", "wan" (official text-to-video), or
 * NULL = the model's own section "motion" in config.json if it has one, else "paper".  `model` may
 * be NULL; otherwise it must outlive the settings (texts may point into it).
 * Errors: VMT_E_ARG (unknown preset).
 */
VMT_API VMT_MUST_CHECK enum vmt_status
vmt_settings_init(vmt_ctx *ctx, vmt_settings *settings, const vmt_model *model, const char *preset);

/**
 * Sets one field by its option name ("steps", "amf-tile", …) from text ("50", "3x4", …).  "method"
 * sets the method's schedule, too (vmt_schedule; docs/methods.md), and "mode" every approximation:
 * set these two before the others.
 * Errors: VMT_E_ARG with the accepted range.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_settings_set(vmt_ctx *ctx, vmt_settings *settings,
                                                        const char *name, const char *value);

/* One row of the option table: what --help prints and vmt_settings_set accepts. */
typedef struct vmt_option {
    const char *name;    /* "amf-window" */
    const char *value;   /* placeholder: "N", "H,W", "paper|released" */
    const char *help;    /* one line */
    const char *section; /* "Sampling", "Motion", … */
} vmt_option;

/** Row `index` of the option table, NULL past its end.  Static memory. */
VMT_API const vmt_option *vmt_option_at(size_t index);

/**
 * Writes the value of an option as text that vmt_settings_set accepts again.
 * Errors: VMT_E_ARG (unknown name, or `size` too small).
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_settings_get(vmt_ctx *ctx, const vmt_settings *settings,
                                                        const char *name, char *text, size_t size);

/* What is known of a method. */
typedef struct vmt_method_row {
    const char *name;  /* as vmt_settings_set takes it */
    const char *about; /* one line */
    const char *paper; /* where it was published; "" for none and noise */
    const char *taps;  /* what it reads of the network: "q, k", "hidden", "velocity"; "" */
    int32_t flow;      /* 1: it measures a flow, which a motion field shows; else 0 */
} vmt_method_row;

/** Row `index` of the methods, in the order of enum vmt_method; NULL past its end.  Static memory.
 */
VMT_API const vmt_method_row *vmt_method_at(size_t index);

/* ---------------------------------------------------------------- runs */

enum vmt_phase {
    VMT_PHASE_LOAD = 0,
    VMT_PHASE_TEXT,
    VMT_PHASE_ENCODE,
    VMT_PHASE_EXTRACT,
    VMT_PHASE_SAMPLE,
    VMT_PHASE_DECODE,
    VMT_PHASE_COUNT
};

/** "text", "encode", … */
VMT_API const char *vmt_phase_name(enum vmt_phase phase);

typedef struct vmt_progress {
    enum vmt_phase phase;
    int64_t step, steps;               /* within the phase; finished of all */
    int64_t inner_step, inner_steps;   /* guidance within the step; 0 of 0 where there is none */
    double loss, amf_loss, track_loss; /* of the last computed gradient; NaN before the first */
    int64_t forwards;                  /* of sampling: whole passes of the network so far, */
    int64_t reused_forwards;           /* and those spared: they took over what another computed */
    int64_t gradients, guided; /* gradients computed for how many inner steps so far, those before a
                                  stop and resume too */
    double seconds;            /* since the run began */
    double seconds_left;       /* estimate; NaN when unknown */
    uint64_t memory;           /* bytes of this run's arenas and converted weights now */
    uint64_t memory_peak;
    uint64_t memory_planned; /* of the phases so far that were planned, what memory_taken may be */
    /* most that was seen taken when progress was told: of a device, context included, with what
     * other programs took there since; else the process's anonymous memory; 0: not known */
    uint64_t memory_taken;
} vmt_progress;

/** Called often; returns 0 to go on, anything else to stop with VMT_E_CANCELLED. */
typedef int vmt_progress_fn(void *user, const vmt_progress *progress);

/**
 * What a run is coming to, small: the clip that the last denoising step predicts, one frame for
 * each latent frame, one pixel for each latent cell (1/8 of the size asked for, rounded up), in
 * colours that a linear map makes of the latent.  It changes nothing in the run. steps   denoising
 * steps done, the one at hand included frames  the library's, valid during the call Called from the
 * run's thread; returns 0 to go on, anything else to stop with VMT_E_CANCELLED.
 */
typedef int vmt_preview_fn(void *user, int64_t steps, const vmt_clip *frames);

/**
 * A gradient as it was computed, before the optimiser sees it: of the latent, [channels, frames,
 * rows, columns], on the host, valid during the call.  Returns 0 to go on, anything else to stop
 * with VMT_E_CANCELLED.
 */
typedef int vmt_gradient_fn(void *user, int64_t step, int64_t inner_step, const float *gradient,
                            int64_t count);

/* What a run would need. */
typedef struct vmt_plan {
    int64_t width, height, frames;                   /* as asked */
    int64_t model_width, model_height, model_frames; /* padded to what the model needs */
    int64_t grid_f, grid_h, grid_w;                  /* tokens */
    int32_t steps, guided_steps;
    int32_t gradients;       /* computed, of guided_steps * inner_steps; adaptive: at most */
    int32_t forwards;        /* whole ones, of the steps; with settings.cache the most */
    int32_t forward_blocks;  /* blocks of the network that one gradient's forwards go through */
    int32_t backward_blocks; /* and its backward; 0: the method needs none */
    int32_t recompute;       /* level chosen */
    int32_t blocks, resident_blocks; /* of the network; the rest is copied each time it is used */
    int32_t spills;          /* 1: what a gradient keeps of its blocks goes to memory of the host */
    int64_t ffn_tokens;      /* tokens that a feed-forward holds in its middle at a time */
    int32_t vae_tile[2][2];  /* of encode, of decode: latent rows, columns; 0: whole frames */
    uint64_t streamed_bytes; /* copied for one forward; 0: every block stays */
    double slowdown;         /* estimated time of the steps over that of a run which has all the
                                memory it wants */
    int64_t local_tile[3], local_box[3]; /* of local attention, tokens; 0: full attention */
    /* arenas, clips, converted weights of each phase; of a device those in its memory */
    uint64_t phase_bytes[VMT_PHASE_COUNT];
    uint64_t mapped_bytes; /* weights used where they lie in the files */
    uint64_t peak_bytes;   /* largest phase */
    uint64_t fixed_bytes; /* beside it: of a device context, libraries and workspaces; else what the
                             process took when the context was opened, and its threads */
    uint64_t host_bytes;  /* of a run on a device: memory of the host, what the process takes in any
                             case included; else 0 */
    uint64_t free_bytes;  /* what this machine has free now */
    uint64_t limit_bytes; /* vmt_config.max_vram, or max_ram where the host computes; 0: none */
    uint64_t host_limit_bytes;  /* of a device: max_ram */
    int32_t fits;               /* 1: within usable_bytes, free_bytes and host_limit_bytes */
    uint64_t usable_bytes;      /* what peak_bytes may be: what the limit leaves beside fixed_bytes;
                                   without one, free_bytes less a margin */
    uint64_t least_bytes;       /* the least limit_bytes that this size needs */
    enum vmt_phase least_phase; /* which of the phases needs them */
    int64_t fitting_frames; /* where it does not fit: frames that would; 0: none, or not asked */
    int64_t fitting_width, fitting_height; /* and the size that would with all frames; the same */
} vmt_plan;

/* The reference's motion as the guidance saw it: where each token of a latent frame goes in the
 * next one. */
typedef struct vmt_motion_field {
    float *flow;       /* [frames, grid_h, grid_w, 2]: rows, then columns, in pixels; NULL: none */
    float *confidence; /* [frames, grid_h, grid_w], 0..1: how well attention told each token's place
                          within its own frame; owned with flow */
    int64_t frames, grid_h, grid_w;
    double cell_h, cell_w;     /* pixels of a token; the last ones may reach beyond the frame */
    int64_t frames_per_latent; /* video frames from one latent frame to the next */
} vmt_motion_field;

/** Frees its memory and zeroes the struct. */
VMT_API void vmt_motion_field_free(vmt_motion_field *field);

typedef struct vmt_transfer_io {
    const vmt_clip *reference; /* or NULL when `motion` is given */
    const char *motion;        /* motion file (extract), or NULL */
    vmt_clip *result;          /* filled; freed by the caller with vmt_clip_free */
    vmt_motion_field
        *field; /* filled with the motion of the reference if not NULL; freed by the caller */
    const char
        *embeddings; /* file of encoded prompts (vmt_embed_prompts) in place of text, or NULL */
    const char *latent_path; /* the final latent is written here before the decode; may be NULL */
    /* run state; written every checkpoint_steps, when cancelled, and when a device fails after a
     * whole step */
    const char *checkpoint_path;
    int64_t checkpoint_steps; /* 0: only when cancelled (if a path is given) */
    const char *resume;       /* run state to go on from, or NULL */
    vmt_progress_fn *progress;
    void *progress_user;
    vmt_preview_fn *preview; /* called every preview_steps denoising steps; NULL: never */
    void *preview_user;
    int64_t preview_steps;     /* 1 or more where preview is given */
    vmt_gradient_fn *gradient; /* called with each computed gradient; NULL: never */
    void *gradient_user;
} vmt_transfer_io;

/**
 * Motion transfer: a clip that shows settings->prompt and moves like the reference.
 * The size asked for comes out, whatever it is; inside, frames are repeated and edges replicated up
 * to what the model needs (4k + 1 frames, multiples of 16 pixels) and cut back at the end.
 * Bit-equal for equal input, settings, backend and machine; also through a motion file or a resume.
 * Errors: any; the result is empty unless VMT_OK is returned.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_transfer(vmt_ctx *ctx, const vmt_model *model,
                                                    const vmt_settings *settings,
                                                    const vmt_transfer_io *io);

/** Plain text-to-video: as vmt_transfer without reference, motion and guidance. */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_generate(vmt_ctx *ctx, const vmt_model *model,
                                                    const vmt_settings *settings,
                                                    const vmt_transfer_io *io);

/**
 * Writes what a reference contributes to a transfer (docs/formats.md, "motion file"), and fills
 * io->field if that is not NULL.  `path` may be NULL: no file.
 * Errors: any; the file appears whole or not at all.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_extract(vmt_ctx *ctx, const vmt_model *model,
                                                   const vmt_settings *settings,
                                                   const vmt_transfer_io *io, const char *path);

/**
 * The motion field of a motion file; needs no model.
 *   field      out  freed by the caller
 *   reference  out  size, frames and, if it was resampled, rate (else 0) of the clip that the file
 * was made from; no pixels Errors: VMT_E_IO, VMT_E_FORMAT, VMT_E_MISMATCH (another method's),
 * VMT_E_NUMERIC, VMT_E_MEMORY; VMT_E_UNSUPPORTED when it holds no flow from frame to frame.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_motion_field_read(vmt_ctx *ctx, vmt_motion_field *field,
                                                             vmt_clip *reference, const char *path);

/** What a run with this `io` (its reference, motion and resume; NULL: none, vmt_generate) would
 * need.  Errors: as the run's own for sizes and files. */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_plan_make(vmt_ctx *ctx, const vmt_model *model,
                                                     const vmt_settings *settings,
                                                     const vmt_transfer_io *io, vmt_plan *plan);

/**
 * Encodes settings->prompt, settings->negative and the empty prompt into a file (docs/formats.md,
 * "embeddings file") for machines that hold no text encoder.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_embed_prompts(vmt_ctx *ctx, const vmt_model *model,
                                                         const vmt_settings *settings,
                                                         const vmt_transfer_io *io,
                                                         const char *path);

/** Clip to latent file (docs/formats.md, "latent file"). */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_encode(vmt_ctx *ctx, const vmt_model *model,
                                                  const vmt_settings *settings,
                                                  const vmt_transfer_io *io, const char *path);

/** Latent file to clip. */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_decode(vmt_ctx *ctx, const vmt_model *model,
                                                  const vmt_settings *settings, const char *path,
                                                  const vmt_transfer_io *io);

/**
 * Human-readable description of a model folder or file, motion file, latent file or checkpoint:
 * lines separated by newlines, allocated, freed with vmt_text_free. Errors: VMT_E_IO, VMT_E_FORMAT.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_describe(vmt_ctx *ctx, const char *path, char **text);
VMT_API void vmt_text_free(char *text);

/**
 * Reads a model folder, or a file of tensors, whole: that the checksums of .pth files are right and
 * every value is finite.  No run does this: it takes as long as reading the files.
 * Errors: VMT_E_IO, VMT_E_MODEL, VMT_E_FORMAT (a checksum differs, or the file is none),
 * VMT_E_NUMERIC (NaN or infinity, with tensor and place), VMT_E_CANCELLED.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_check_files(vmt_ctx *ctx, const char *path);

/**
 * Settings, seeds, version and model hashes of a run as one JSON object; allocated, freed with
 * vmt_text_free.  This is what lies beside a result and in its container's metadata.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_settings_json(vmt_ctx *ctx, const vmt_model *model,
                                                         const vmt_settings *settings, char **text);

/**
 * Runs one conformance case (docs/formats.md, "case file") and writes what was computed.
 * Errors: any; VMT_E_UNSUPPORTED for a kind this version does not know.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_probe(vmt_ctx *ctx, const char *case_path,
                                                 const char *out_path);

/* ---------------------------------------------------------------- measuring */

/* How wide a run of the bench is; the same in all its rows. */
typedef struct vmt_bench_head {
    const char *backend, *dtype, *shape;
    int32_t threads, runs;
    int64_t width, height, frames; /* pixels, as the model needs them */
    int64_t tokens;                /* of the transformer */
    double ceiling;                /* best product of oneDNN, operations per second; 0: not known */
} vmt_bench_head;

/* One line of the bench.  Times are seconds of one call; 0 stands for "not measured". */
typedef struct vmt_bench_row {
    const char *part;               /* one of vmt_bench_part, or "ops", "transfer" */
    const char *what;               /* "block forward", … */
    const char *detail;             /* sizes: "4 of 30 blocks, 1950 tokens" */
    double median, least, most;     /* by the clock on the wall */
    double processor;               /* median, of all threads together */
    double flop;                    /* of its products: two for each multiplication and addition */
    double linear, attention, conv; /* share of the median call's time in these ops */
    double elements;                /* an op without products: what it writes */
    double bytes;                   /* read from files */
    double ratio;                   /* median over that of the row `ratio_to` of this part */
    const char *ratio_to;           /* its `what`; NULL: no ratio */
    uint64_t planned, taken;        /* bytes: by the layout code; as the process really grew */
    uint64_t converted, mapped;     /* weights: copies, a part of both; used where they lie */
} vmt_bench_row;

/** Called after each row; anything but 0 stops with VMT_E_CANCELLED. */
typedef int vmt_bench_fn(void *user, const vmt_bench_head *head, const vmt_bench_row *row);

typedef struct vmt_bench_options {
    const char *shape;             /* "tiny", "1.3b" (NULL) or "14b": weights are random */
    int64_t width, height, frames; /* 0: 416, 240, 17 */
    int32_t runs;                  /* measured calls of each row, after one that is not; 0: 5 */
    int32_t full;                  /* every block, layer and frame in place of a few */
    const char *parts;             /* names with commas between; NULL: all but "ops" */
    const char *op;                /* of part "ops", names with commas between; NULL: all */
    const vmt_attention_settings *attention; /* of parts "dit", "block", "attention"; NULL: full */
    const vmt_model_paths *paths; /* part "load": the transformer of this model; NULL: a file made
                                     for the purpose and deleted */
    vmt_bench_fn *row;
    void *user;
} vmt_bench_options;

/** Name of part `index` of the bench, NULL past the last.  Static memory. */
VMT_API const char *vmt_bench_part(size_t index);

/**
 * Measures the parts of a run on random weights: rates, beside the best product of oneDNN in the
 * same run, and memory.  Errors: VMT_E_ARG (unknown part, shape or op; sizes), VMT_E_MEMORY,
 * VMT_E_IO.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_bench(vmt_ctx *ctx, const vmt_bench_options *options);

/**
 * Measures whole transfers of a made clip (a square that circles), `runs` of them (0: 1), phase by
 * phase: one row for each and one for all.  Size and frames are those of the settings; 0: what the
 * model was made for.  Errors: as vmt_transfer.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_bench_transfer(vmt_ctx *ctx, const vmt_model *model,
                                                          const vmt_settings *settings,
                                                          int32_t runs, vmt_bench_fn *row,
                                                          void *user);

/* What one method costs.  Seconds by the clock on the wall; 0: there is no such part. */
typedef struct vmt_method_cost {
    int64_t tokens;                         /* of the transformer */
    int32_t steps, guided_steps, gradients; /* of the whole schedule */
    double reference;                       /* a pass over the reference, median */
    double computed, reused;      /* inner step with a new gradient, with an old; medians */
    double plain;                 /* denoising step with its two forwards, median */
    double encode, decode;        /* autoencoder, one call each */
    double guided_step;           /* reference and inner steps, summed from the above */
    double guidance, loop, whole; /* of the whole schedule, summed: guided steps; they and
                                     all denoising steps; that, encode and decode */
    double loop_ran;         /* the loop of the run that was made, guided and denoising steps */
    uint64_t planned, taken; /* bytes: by the plan; as the process or device grew */
} vmt_method_cost;

/**
 * Measures the method of the settings with a run of `guided` (1 to 64) guided steps and as many
 * plain ones, on a made clip, and sums the settings' whole schedule from its parts; with 0 the
 * whole schedule is run.
 *   embeddings  as in vmt_transfer_io
 *   warm        1: what is loaded or compiled at first use is so by an earlier call of the same
 *               sizes; 0: a short run comes first
 * Errors: as vmt_transfer.
 */
VMT_API VMT_MUST_CHECK enum vmt_status vmt_bench_method(vmt_ctx *ctx, const vmt_model *model,
                                                        const vmt_settings *settings,
                                                        const char *embeddings, int32_t guided,
                                                        int32_t warm, vmt_method_cost *cost);

#ifdef __cplusplus
}
#endif

#endif
