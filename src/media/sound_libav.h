/* SPDX-License-Identifier: MIT
 *
 * The sound that goes along with a clip.
 */
#ifndef VMT_MEDIA_SOUND_LIBAV_H
#define VMT_MEDIA_SOUND_LIBAV_H

#include "media/libav.h"

typedef struct media_sound media_sound;

/* Adds a stream to `out`, before its head is written, for `duration` seconds of options->sound.
 * *sound: NULL when that has no sound, or none that can be decoded (a warning).  `lossless`: FLAC
 * where it must be encoded again.  Errors: VMT_E_MEMORY. */
enum vmt_status media_sound_open(vmt_ctx *ctx, media_sound **sound, AVFormatContext *out,
                                 const media_write_options *options, double duration,
                                 bool lossless);

/* Writes what lies before the time `until` of the clip.  `path` is the output's.  `sound` may be
 * NULL. */
enum vmt_status media_sound_write(vmt_ctx *ctx, media_sound *sound, const char *path, double until);

void media_sound_close(media_sound *sound); /* NULL is allowed */

#endif
