/* Sum or mean over any axes: sums whose scaling and zero points are a product, an addition and a shift. */
#ifndef TFS_REDUCE_H
#define TFS_REDUCE_H

#include "tfs_fixed.h"
#include "tfs_grid.h"

typedef struct {
    int64_t below, above; /* addends: rounding differs for sums that stand for less than zero, that is below turn */
    int32_t factor, turn;
    uint8_t shift;
    uint8_t kept_loops, reduced_loops;
    tfs_loop kept[TFS_LOOPS], reduced[TFS_LOOPS];
} tfs_reduce;

static void tfs_reduce_run(const tfs_reduce *l, const int8_t *in, int8_t *out)
{
    tfs_walk at = {0};
    do {
        tfs_walk inner = {0};
        int32_t sum = 0;
        do {
            sum += in[at.a + inner.a];
        } while (tfs_walk_on(&inner, l->reduced, l->reduced_loops));
        *out++ = tfs_clamp((int32_t)(((int64_t)sum * l->factor + (sum < l->turn ? l->below : l->above)) >> l->shift),
                           -128, 127);
    } while (tfs_walk_on(&at, l->kept, l->kept_loops));
}

#endif
