/* Sum or difference of two tensors with scales of their own; works in place. */
#ifndef TFS_ADD_H
#define TFS_ADD_H

#include "tfs_fixed.h"
#include "tfs_grid.h"

#ifdef TFS_SHORT_ADD
#define TFS_SCALE_ADD tfs_scale_short
#else
#define TFS_SCALE_ADD tfs_scale
#endif

typedef struct {
    tfs_operands over;
    int32_t multiplier_a, multiplier_b, multiplier_out;
    int16_t zero_a, zero_b;
    int8_t shift_a, shift_b, shift_out, zero_out, lowest, highest;
#ifdef TFS_SUBTRACT
    int8_t subtract;
#endif
} tfs_add;

TFS_FAST static void tfs_add_run(const tfs_add *l, const int8_t *a, const int8_t *b, int8_t *out)
{
#ifdef TFS_SPEED /* a copy, as *out might be any of it for all C knows */
    const tfs_add copy = *l;
    l = &copy;
#endif
    tfs_walk at = {0};
    do {
        const int8_t *p = a + at.a, *q = b + at.b;
        for (uint32_t i = 0; i < l->over.length; i++) { /* 20 more bits keep the rounding of the inputs small */
            const int32_t x = TFS_SCALE_ADD((*p - l->zero_a) * (1 << 20), l->multiplier_a, l->shift_a);
            int32_t y = TFS_SCALE_ADD((*q - l->zero_b) * (1 << 20), l->multiplier_b, l->shift_b);
#ifdef TFS_SUBTRACT
            y = l->subtract ? -y : y;
#endif
            y = TFS_SCALE_ADD(x + y, l->multiplier_out, l->shift_out);
            *out++ = tfs_clamp(y + l->zero_out, l->lowest, l->highest);
            p += TFS_STEP(l->over, a);
            q += TFS_STEP(l->over, b);
        }
    } while (TFS_MORE(l->over, &at));
}

#endif
