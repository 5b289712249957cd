/* SPDX-License-Identifier: MIT
 *
 * Settings of several numbers or words as text: of options and of config.json.
 */
#ifndef VMT_MODEL_SETTING_TEXT_H
#define VMT_MODEL_SETTING_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words of --local-phases, in the order of enum vmt_dit_pass. */
#define VMT_LOCAL_PHASES "reference,guidance,sampling"

/* "3,50%,8": tokens, or (kept negative) percent of the grid's axis; each number from `low` on. */
bool vmt_extent_parse(const char *text, int32_t low, int32_t extent[3]);
int vmt_extent_print(char *text, size_t size, const int32_t extent[3]);

/* "reference,sampling": bits in the order of the words of `all`; none of them is no value. */
bool vmt_words_parse(const char *text, const char *all, int32_t *bits);
int vmt_words_print(char *text, size_t size, const char *all, int32_t bits);

/* "3-9", or "3": from and to. */
bool vmt_range_parse(const char *text, int32_t low, int32_t high, int32_t range[2]);

#endif
