/* SPDX-License-Identifier: MIT
 *
 * Test data as JSON.
 */
#ifndef JSON_DATA_H
#define JSON_DATA_H

#include "cJSON.h"

/* Parses tests/data/NAME; the test fails when it cannot.  Free with cJSON_Delete. */
cJSON *test_json_load(const char *name);

#endif
