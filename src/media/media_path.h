/* SPDX-License-Identifier: MIT
 *
 * What the name of an input or output says.
 */
#ifndef VMT_MEDIA_PATH_H
#define VMT_MEDIA_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Case does not matter; `ending` with its dot. */
bool media_ends_with(const char *path, const char *ending);

/* An existing folder, or a name that ends in '/'. */
bool media_is_folder_name(const char *path);

/* One "%d" or "%0Nd" (N a digit) in the last part of the path, and no other '%'. */
bool media_is_pattern(const char *path);

/* The pattern's path for a number; allocated with malloc, NULL without memory. */
char *media_pattern_path(const char *pattern, int64_t number);

/* A folder's own pattern: "FOLDER/%05d.png"; allocated likewise. */
char *media_folder_pattern(const char *folder);

/* "-": standard input or output. */
bool media_is_standard(const char *path);

#endif
