/* SPDX-License-Identifier: MIT
 *
 * Inside of the autoencoder: its parts with their weights (vae_open.c), and one network in action
 * on frames of one size (vae_layout.c, vae_net.c).
 */
#ifndef VMT_VAE_NET_H
#define VMT_VAE_NET_H

#include "vae/vae.h"

enum {
    VMT_VAE_MAX_BLOCKS = 8, /* residual blocks per level */
    VMT_VAE_MAX_PARTS = VMT_VAE_LEVELS * (VMT_VAE_MAX_BLOCKS + 2) + 6,
    VMT_VAE_MAX_HISTORIES = 4 * VMT_VAE_LEVELS,
    VMT_VAE_NAME_BYTES = 40,
    VMT_VAE_PART_WEIGHTS = 4
};

enum vmt_vae_kind {
    VMT_VAE_CONV,      /* causal 3x3x3                                        w: conv */
    VMT_VAE_RES,       /* norm, conv, norm, conv, plus (projected) input      w: conv, conv, 1x1 */
    VMT_VAE_ATTENTION, /* inside each frame, one head                         w: q, k, v, proj */
    VMT_VAE_DOWN,      /* half the rows and columns, maybe frames             w: 3x3, 3x1x1 */
    VMT_VAE_UP,        /* twice the rows and columns, maybe frames            w: 3x3, 3x1x1 */
    VMT_VAE_HEAD,      /* norm, causal 3x3x3                                  w: conv */
    VMT_VAE_POINT      /* 1x1x1                                               w: linear */
};

/* One part of a network, in running order. */
typedef struct vmt_vae_part {
    enum vmt_vae_kind kind;
    bool time; /* DOWN, UP: frames too */
    char name[VMT_VAE_NAME_BYTES];
    int64_t in, out;                         /* channels */
    vmt_tensor gamma[2];                     /* [C] R, of the norms */
    vmt_weight weight[VMT_VAE_PART_WEIGHTS]; /* in the order above; data NULL: absent */
} vmt_vae_part;

struct vmt_vae {
    vmt_vae_config config;
    const vmt_tensor_file *file; /* where the weights are mapped from */
    vmt_vae_part encoder[VMT_VAE_MAX_PARTS], decoder[VMT_VAE_MAX_PARTS];
    int64_t encoder_count, decoder_count;
    vmt_arena gammas;  /* memory of all gamma */
    unsigned prepared; /* directions whose weights are converted */
};

/*
 * The inputs that the causal convolutions of one resolution and width remember, two frames each,
 * side by side in one row of slots:
 *
 *     | conv 2    | conv 1    | conv 0    | new |        conv 0 runs first
 *
 * The new frame is written behind conv 0's two; its window is those three.  Then the oldest of
 * them is dead, which is just the slot behind conv 1's two, and so on.  After all have run, the row
 * has moved by one slot, and nothing was copied.  At the end of the slots it moves back.
 */
typedef struct vmt_vae_history {
    int64_t level, height, width, channels;
    bool own;          /* of a temporal resampler alone: it does not run at every frame */
    int64_t convs;     /* that share the row */
    int64_t slots;     /* of one frame; 2 convs + 1 at least */
    int64_t at;        /* first slot of the row now */
    int64_t next;      /* conv that runs next */
    vmt_tensor frames; /* [slots, height, width, channels] A */
} vmt_vae_history;

/* What a part has at this frame size. */
typedef struct vmt_vae_place {
    int64_t height, width; /* of its input */
    /* UP: those are cut out of the frame that comes in, from here on; else all of it. */
    int64_t in_height, in_width, top, left;
    int64_t out_height, out_width;
    int history[2];    /* of its causal convolutions, or -1 */
    int64_t seen;      /* frames that came in */
    vmt_tensor frames; /* time: DOWN [3, h, w, C], x[2k-2 .. 2k]; UP [2, h, w, C], both halves */
} vmt_vae_place;

enum {
    VMT_VAE_STREAM = 0, /* the frame on its way: each part's input and output */
    VMT_VAE_SCRATCH,    /* a part's intermediate */
    VMT_VAE_SIDE,       /* projected input of a residual block */
    VMT_VAE_REGIONS
};

/* Rows or columns first .. end - 1. */
typedef struct vmt_vae_range {
    int64_t first, end;
} vmt_vae_range;

/* What a stretch of parts without attention must see for a window of its output: rows and columns
 * of part i's input, of the frame at that resolution; [count]: of the output. */
typedef struct vmt_vae_window {
    vmt_vae_range need[VMT_VAE_MAX_PARTS + 1][2];
} vmt_vae_window;

/* One network, or a stretch of it, running on frames of one size. */
typedef struct vmt_vae_net {
    const vmt_vae_part *parts;
    int64_t count;
    vmt_vae_place place[VMT_VAE_MAX_PARTS];
    vmt_vae_history history[VMT_VAE_MAX_HISTORIES];
    int histories;
    vmt_tensor region[VMT_VAE_REGIONS];
    int64_t skip[2]; /* with a window: rows, columns of what comes out that lie before it */
    /* Receives what comes out: [1, h, w, C] A, valid during the call. */
    enum vmt_status (*emit)(vmt_ctx *ctx, void *user, const vmt_tensor *frame);
    /* Receives the output frames of every part; may be NULL. */
    enum vmt_status (*tap)(vmt_ctx *ctx, void *user, const char *part, const vmt_tensor *frame);
    void *user;
} vmt_vae_net;

/* Fills both part lists from vae->config, without weights: enough to measure. */
void vmt_vae_list_parts(vmt_vae *vae);

/* Takes all memory of a network for input frames of height x width (pixels, or latent cells). */
enum vmt_status vmt_vae_net_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_net *net,
                                   const vmt_vae *vae, enum vmt_vae_direction direction,
                                   int64_t height, int64_t width);

/* The same for `count` parts; with a window (else NULL) for its part of a height x width frame. */
enum vmt_status vmt_vae_stretch_layout(vmt_ctx *ctx, vmt_arena *arena, vmt_vae_net *net,
                                       const vmt_vae_part *parts, int64_t count, int64_t height,
                                       int64_t width, const vmt_vae_window *window);

/* Receptive field of rows and columns out[2] of what `count` parts make of a height x width frame;
 * its input begins and ends at multiples of `align` or at the frame's border. */
void vmt_vae_window_make(vmt_vae_window *window, const vmt_vae_part *parts, int64_t count,
                         int64_t height, int64_t width, const vmt_vae_range out[2], int64_t align);

/* Forgets every frame: the next one is the first of a clip. */
enum vmt_status vmt_vae_net_reset(vmt_ctx *ctx, vmt_vae_net *net);

/* Sends one host frame [1, h, w, C] through; emits 0 or more frames. */
enum vmt_status vmt_vae_net_push(vmt_ctx *ctx, vmt_vae_net *net, const vmt_tensor *frame);

/* Sends a frame of the backend's through, or a part of it from row `top` and column `left` on. */
enum vmt_status vmt_vae_net_pass(vmt_ctx *ctx, vmt_vae_net *net, const vmt_tensor *frame,
                                 int64_t top, int64_t left);

/* Copies rows x cols pixels between two frames [1, h, w, C], from and to these first ones. */
enum vmt_status vmt_vae_copy_box(vmt_ctx *ctx, const vmt_tensor *to, int64_t to_top,
                                 int64_t to_left, const vmt_tensor *from, int64_t from_top,
                                 int64_t from_left, int64_t rows, int64_t cols);

/* Rows of the upsampled frame that UP convolves at once; input height given. */
int64_t vmt_vae_up_rows(int64_t height);

#endif
