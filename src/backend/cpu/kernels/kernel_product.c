/* SPDX-License-Identifier: MIT
 *
 * Matrix product on packed operands: tiles of six rows by a panel's vectors, whose sums stay in
 * registers over all steps.  Each step loads the panel's vectors once and multiplies them by one
 * unit of each row.
 */
#include "backend/cpu/kernels/kernel_vector.h"

/* ---------------------------------------------------------------- packing */

/* Element of a row as a float. */
INLINE float element(cpu_rows x, int64_t row, int64_t col)
{
    return x.is_bf16 ? float_of((uint32_t)((const uint16_t *)x.data)[row * x.row + col] << 16)
                     : ((const float *)x.data)[row * x.row + col];
}

/* Elements 2 col and 2 col + 1 of a bf16 row; zero behind `cols`. */
INLINE uint32_t pair_of(const uint16_t *row, int64_t col, int64_t cols)
{
    const uint32_t low = row[2 * col];
    return 2 * col + 1 < cols ? low | (uint32_t)row[2 * col + 1] << 16 : low;
}

/* Rows of a head lie apart, often in a page each: no hardware foresees the next one. */
enum { AHEAD = 8 };

INLINE void prefetch_row(cpu_rows x, int64_t row, int64_t rows, int64_t cols)
{
    const int64_t size = x.is_bf16 ? 2 : 4;

    if (row >= rows)
        return;
    for (int64_t at = 0; at < cols * size; at += 64)
        __builtin_prefetch((const char *)x.data + row * x.row * size + at);
}

void KERNEL(pack_rows)(uint32_t *units, int64_t unit_row, cpu_rows x, int64_t rows, int64_t cols,
                       bool pairs)
{
    const int64_t steps = pairs ? (cols + 1) / 2 : cols;

    for (int64_t r = 0; r < rows; r++, units += unit_row) {
        prefetch_row(x, r + AHEAD, rows, cols);
        if (pairs) {
            const uint16_t *from = (const uint16_t *)x.data + r * x.row;
            memcpy(units, from, (size_t)(cols / 2) * sizeof *units);
            if (cols % 2)
                units[cols / 2] = from[cols - 1];
        } else {
            for (int64_t c = 0; c < cols; c++)
                units[c] = bits_of(element(x, r, c));
        }
    }
    for (; rows % CPU_TILE_ROWS; rows++, units += unit_row)
        memset(units, 0, (size_t)steps * sizeof *units);
}

void KERNEL(pack_across)(uint32_t *units, cpu_rows x, int64_t rows, int64_t cols, bool pairs)
{
    const int64_t steps = pairs ? (cols + 1) / 2 : cols;

    for (int64_t first = 0; first < rows; first += PANEL, units += steps * PANEL) {
        const int64_t count = rows - first < PANEL ? rows - first : PANEL;
        if (count < PANEL)
            memset(units, 0, (size_t)(steps * PANEL) * sizeof *units);
        for (int64_t j = 0; j < count; j++) {
            prefetch_row(x, first + j + AHEAD, rows, cols);
            if (pairs) {
                const uint16_t *from = (const uint16_t *)x.data + (first + j) * x.row;
                for (int64_t s = 0; s < cols / 2; s++) {
                    uint32_t unit;
                    memcpy(&unit, from + 2 * s, sizeof unit);
                    units[s * PANEL + j] = unit;
                }
                if (cols % 2)
                    units[(steps - 1) * PANEL + j] = pair_of(from, steps - 1, cols);
            } else {
                for (int64_t s = 0; s < steps; s++)
                    units[s * PANEL + j] = bits_of(element(x, first + j, s));
            }
        }
    }
}

/* Columns first..first+count-1 of one panel. */
INLINE void along_panel(uint32_t *units, cpu_rows x, int64_t rows, int64_t first, int64_t count,
                        bool pairs)
{
    const int64_t steps = pairs ? (rows + 1) / 2 : rows;

    for (int64_t s = 0; s < steps; s++, units += PANEL) {
        if (pairs) {
            const uint16_t *low = (const uint16_t *)x.data + 2 * s * x.row + first;
            const uint16_t *high = low + x.row;
            if (2 * s + 1 < rows)
                for (int64_t c = 0; c < count; c++)
                    units[c] = low[c] | (uint32_t)high[c] << 16;
            else
                for (int64_t c = 0; c < count; c++)
                    units[c] = low[c];
        } else {
            for (int64_t c = 0; c < count; c++)
                units[c] = bits_of(element(x, s, first + c));
        }
        for (int64_t c = count; c < PANEL; c++)
            units[c] = 0;
    }
}

void KERNEL(pack_along)(uint32_t *units, int64_t unit_panel, cpu_rows x, int64_t rows, int64_t cols,
                        bool pairs)
{
    for (int64_t first = 0; first < cols; first += PANEL, units += unit_panel)
        if (cols - first >= PANEL)
            along_panel(units, x, rows, first, PANEL, pairs);
        else
            along_panel(units, x, rows, first, cols - first, pairs);
}

/* ---------------------------------------------------------------- tiles */

/* sum + a b of a step: floats, or bf16 pairs whose two products are added. */
INLINE vec multiply_add(vec sum, uint32_t a, vec b, bool pairs)
{
#ifdef __AVX512BF16__
    if (pairs) {
        const __m512i units = _mm512_set1_epi32((int)a);
        __m512bh left, right;
        memcpy(&left, &units, sizeof left);
        memcpy(&right, &b, sizeof right);
        return _mm512_dpbf16_ps(sum, left, right);
    }
#endif
    (void)pairs;
    return sum + float_of(a) * b;
}

/* Sums stay in registers only if every loop over them is unrolled early. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 6")
#endif
#define EACH_SUM(r, v)                                                                             \
    UNROLLED for (int r = 0; r < CPU_TILE_ROWS; r++) UNROLLED for (int v = 0; v < vectors; v++)

/* One tile of `vectors` (a constant at each call) by six rows. */
INLINE void tile(float *c, const cpu_product *p, const uint32_t *a, const uint32_t *b,
                 const float *factor, int vectors, bool pairs)
{
    vec sum[CPU_TILE_ROWS][PANEL_VECTORS];
    const int64_t a_row = p->a_row, a_step = p->a_step, b_step = p->b_step;
    const int64_t c_row = p->c_row;

    EACH_SUM(r, v)
    sum[r][v] = (vec){0};
    for (int64_t s = 0; s < p->steps; s++, a += a_step, b += b_step) {
        vec right[PANEL_VECTORS];
        UNROLLED for (int v = 0; v < vectors; v++) right[v] = load(b + v * LANES);
        EACH_SUM(r, v)
        sum[r][v] = multiply_add(sum[r][v], a[r * a_row], right[v], pairs);
    }
    if (factor) {
        EACH_SUM(r, v)
        sum[r][v] += factor[r] * load(c + r * c_row + v * LANES);
    } else if (p->add) {
        EACH_SUM(r, v)
        sum[r][v] += load(c + r * c_row + v * LANES);
    }
    EACH_SUM(r, v)
    memcpy(c + r * c_row + v * LANES, &sum[r][v], sizeof(vec));
}

/* All rows of one panel. */
INLINE void panel(float *c, const cpu_product *p, const uint32_t *b, int vectors, bool pairs)
{
    for (int64_t r = 0; r < p->rows; r += CPU_TILE_ROWS)
        tile(c + r * p->c_row, p, p->a + r * p->a_row, b, p->factor ? p->factor + r : NULL, vectors,
             pairs);
}

INLINE void panels(float *c, const cpu_product *p, bool pairs)
{
    const uint32_t *b = p->b;

    for (int64_t first = 0; first < p->columns; first += PANEL, b += p->b_panel, c += PANEL) {
        const int64_t left = p->columns - first;
        if (left > (PANEL_VECTORS - 1) * LANES)
            panel(c, p, b, PANEL_VECTORS, pairs);
        else if (left > 2 * LANES)
            panel(c, p, b, PANEL_VECTORS < 3 ? PANEL_VECTORS : 3, pairs);
        else if (left > LANES)
            panel(c, p, b, 2, pairs);
        else
            panel(c, p, b, 1, pairs);
    }
}

void KERNEL(product)(float *c, const cpu_product *p)
{
#ifdef __AVX512BF16__
    if (p->pairs) {
        panels(c, p, true);
        return;
    }
#endif
    panels(c, p, false);
}
