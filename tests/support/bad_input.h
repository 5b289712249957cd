/* SPDX-License-Identifier: MIT
 *
 * For tests that hand the program something wrong: it must refuse with one line and leave nothing.
 */
#ifndef BAD_INPUT_H
#define BAD_INPUT_H

#include "cli_run.h"

#define MODEL SOURCE_ROOT "/models/tiny"
#define REFERENCE "reference.y4m"

/* A short transfer of REFERENCE to out.y4m; options that follow win. */
#define TRANSFER                                                                                   \
    "transfer", "-m", MODEL, "-r", REFERENCE, "-p", "a red car on snow", "-o", "out.y4m", "-q",    \
        "--steps", "2", "--guided-steps", "1", "--inner-steps", "1", "--threads", "1"

/* Fails the test unless the program refuses these arguments with this status, one line on stderr
 * that holds `text`, and neither adds to the current folder nor takes from it. */
#define REFUSED(label, code, text, ...)                                                            \
    bad_input_check(label, code, text, (const char *const[]){__VA_ARGS__, NULL})
void bad_input_check(const char *label, int code, const char *text, const char *const *arguments);

/* Writes Y4M: `header` and a newline, then `frames` times FRAME and `frame_bytes` bytes of a moving
 * pattern. */
void write_y4m(const char *path, const char *header, int frames, size_t frame_bytes);

/* REFERENCE: 9 frames of 64x48. */
void write_reference(void);

/* A safetensors file with this header text and so many bytes of data. */
void write_safetensors(const char *path, const char *header, size_t data_bytes);

/* A folder with links to all files of MODEL; `but` (may be NULL) is left out. */
void link_model(const char *folder, const char *but);

/* The first `length` bytes of a file. */
void write_start(const char *path, const char *from, size_t length);

/* A copy of a safetensors file in which one element of a 2-byte tensor has these bits. */
void write_with_element(const char *path, const char *from, const char *tensor, unsigned bits);

#endif
