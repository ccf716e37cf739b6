/* Copies elements from places to places: transpositions, slices, borders. */
#ifndef TFS_MOVE_H
#define TFS_MOVE_H

#include <string.h>

#include "tfs_grid.h"

typedef struct {
    uint32_t length;            /* of the innermost loop */
    uint32_t filled;            /* bytes of the output that are filled first */
    int32_t step_in, step_out;  /* of the innermost loop */
    uint32_t start_in, start_out;
    int8_t fill;
    uint8_t loops;
    tfs_loop loop[TFS_LOOPS];
} tfs_move;

static void tfs_move_run(const tfs_move *l, const int8_t *in, int8_t *out)
{
    tfs_walk at = {0};
    memset(out, l->fill, l->filled);
    in += l->start_in;
    out += l->start_out;
    do {
        int32_t from = at.a, to = at.b;
        for (uint32_t i = 0; i < l->length; i++) {
            out[to] = in[from];
            from += l->step_in;
            to += l->step_out;
        }
    } while (tfs_walk_on(&at, l->loop, l->loops));
}

#endif
