/* SPDX-License-Identifier: MIT */
#ifndef VMT_MEDIA_H
#define VMT_MEDIA_H

#include <stdbool.h>

/* True when this build reads what ffmpeg reads; else Y4M only. */
bool media_reads_video_files(void);

#endif
