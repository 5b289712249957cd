/* SPDX-License-Identifier: MIT
 *
 * Named tensors out of files: safetensors (single, or sharded by an index), torch .pth, GGUF.  The
 * kind is told by content, not by name.  Files are memory-mapped; tensors are views into the
 * mapping, valid until close. Files are untrusted: every length is checked before it is used.
 * Formats: safetensors README; PyTorch serialization (zip of stored entries, pickle protocol 2).
 */
#ifndef VMT_MODEL_TENSOR_FILE_H
#define VMT_MODEL_TENSOR_FILE_H

#include "tensor/tensor.h"

typedef struct vmt_tensor_file vmt_tensor_file;

/* Opens one file: .safetensors, .safetensors.index.json (then its shards too), .pth or .gguf.
 * Errors: VMT_E_IO; VMT_E_FORMAT with file, what is wrong, actual and expected value. */
enum vmt_status vmt_tensor_file_open(vmt_ctx *ctx, vmt_tensor_file **file, const char *path);

/* The same from memory that outlives the file; `label` takes the place of the path. */
enum vmt_status vmt_tensor_file_open_bytes(vmt_ctx *ctx, vmt_tensor_file **file,
                                           unsigned char *bytes, size_t length, const char *label);

/* NULL is allowed. */
void vmt_tensor_file_close(vmt_tensor_file *file);

const char *vmt_tensor_file_path(const vmt_tensor_file *file);
/* Whose tensor names the file had: "official", "diffusers", "transformers", "llama.cpp"; NULL: it
 * is not told to be a model's.  Names below are the official ones all the same. */
const char *vmt_tensor_file_scheme(const vmt_tensor_file *file);
int64_t vmt_tensor_file_count(const vmt_tensor_file *file);

/* Name of tensor i, in file order; owned by the file. */
const char *vmt_tensor_file_name(const vmt_tensor_file *file, int64_t i);

/* The mapped tensor of that name, or NULL.  Rank up to VMT_MAX_RANK. */
const vmt_tensor *vmt_tensor_file_find(const vmt_tensor_file *file, const char *name);

/* A tensor of the file that is not read for now need not stay in this process: its pages are let go
 * and come back when it is.  Nothing happens to one that was copied. */
void vmt_tensor_file_leave(const vmt_tensor_file *file, const vmt_tensor *tensor);

/* Bytes of tensors that lie unaligned in the file and were copied when it was opened: a part of the
 * plan.  0 for files that follow their format's advice. */
size_t vmt_tensor_file_copied_bytes(const vmt_tensor_file *file);

/* Value of a key of safetensors' __metadata__ (strings only), or NULL. */
const char *vmt_tensor_file_meta(const vmt_tensor_file *file, const char *key);

/* The same as a number; VMT_E_FORMAT if it is absent (unless `fallback` is not NULL) or no number.
 */
enum vmt_status vmt_tensor_file_meta_int(vmt_ctx *ctx, const vmt_tensor_file *file, const char *key,
                                         const int64_t *fallback, int64_t *value);
enum vmt_status vmt_tensor_file_meta_real(vmt_ctx *ctx, const vmt_tensor_file *file,
                                          const char *key, const double *fallback, double *value);

/* Hash of the file's contents as far as it names the model: SHA-256 over name, dtype, shape and the
 * first and last 4 KiB of every tensor, sorted by name; 64 hex digits and a NUL.  The same tensors
 * give the same text, whatever the container. */
void vmt_tensor_file_hash(const vmt_tensor_file *file, char text[65]);

/* When and how large the files under it were last written, as 64 hex digits and a NUL: what a hash
 * of samples does not see, a weight that was mended in the middle, changes this. */
void vmt_tensor_file_stamp(const vmt_tensor_file *file, char text[65]);

/* Reads all of the file, which opening does not: checksums where the container has them (.pth), and
 * that every value is finite.  Errors: VMT_E_FORMAT (a checksum differs), VMT_E_NUMERIC. */
enum vmt_status vmt_tensor_file_check(vmt_ctx *ctx, const vmt_tensor_file *file);

enum { VMT_TENSOR_NAME_BYTES = 128 };

/* One tensor that a model needs, and where its view goes. */
typedef struct vmt_need {
    char name[VMT_TENSOR_NAME_BYTES];
    int rank;
    int64_t shape[VMT_MAX_RANK];
    vmt_tensor *view; /* receives the mapped tensor, as stored: F32, F16 or BF16 */
    bool packs;       /* a matrix that may also be in few bits */
} vmt_need;

/* A growing list of needs. */
typedef struct vmt_needs {
    vmt_need *items;
    int64_t count, capacity;
} vmt_needs;

/* Adds one; the name is made printf-like. */
enum vmt_status vmt_needs_add(vmt_ctx *ctx, vmt_needs *needs, vmt_tensor *view, int rank,
                              const int64_t *shape, const char *name, ...) VMT_PRINTF(6, 7);
/* The one added last is a matrix that its user takes in few bits, too. */
void vmt_needs_packs(vmt_needs *needs);
void vmt_needs_free(vmt_needs *needs);

/* Binds all of them.  Missing, surplus and misshapen tensors, and dtypes that are not floating, are
 * listed in one VMT_E_MODEL message (the first few of each, and how many more).  `what` names the
 * model part ("DiT"). */
enum vmt_status vmt_needs_bind(vmt_ctx *ctx, const vmt_needs *needs, const vmt_tensor_file *file,
                               const char *what);

/* Writes a safetensors file whole or not at all (a temporary beside it, fsync, rename).
 * Host tensors; wide dtypes first, else in the given order, so that all are aligned in the file.
 * meta: pairs key, value, NULL-terminated; may be NULL.  Errors: VMT_E_IO, VMT_E_MEMORY. */
typedef struct vmt_named_tensor {
    const char *name;
    vmt_tensor tensor;
} vmt_named_tensor;

enum vmt_status vmt_safetensors_write(vmt_ctx *ctx, const char *path,
                                      const vmt_named_tensor *tensors, int64_t count,
                                      const char *const *meta);

#endif
