/* SPDX-License-Identifier: MIT
 *
 * What LoRAs beside a DiT's matrices take.
 */
#ifndef VMT_DIT_DIT_LORA_H
#define VMT_DIT_DIT_LORA_H

#include "dit/dit.h"

/* Bytes of the host that LoRAs' matrices and the biases they change take as long as the DiT is
 * open, packed or not; dit NULL: 0. */
size_t vmt_dit_lora_host_bytes(const vmt_dit *dit);

#endif
