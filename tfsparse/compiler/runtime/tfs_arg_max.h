/* Index of the largest element along an axis, the first of equals. */
#ifndef TFS_ARG_MAX_H
#define TFS_ARG_MAX_H

#include <stdint.h>
#include <string.h>

typedef struct {
    uint32_t outer, count, inner;
    uint8_t width; /* bytes of an index: 4 or 8 */
} tfs_arg_max;

static void tfs_arg_max_run(const tfs_arg_max *l, const int8_t *in, int8_t *out)
{
    for (uint32_t o = 0; o < l->outer; o++) {
        for (uint32_t i = 0; i < l->inner; i++) {
            uint32_t best = 0;
            for (uint32_t k = 1; k < l->count; k++) {
                if (in[k * l->inner + i] > in[best * l->inner + i]) {
                    best = k;
                }
            }
            if (l->width == 8) { /* copied, as the arena has no alignment */
                const int64_t index = best;
                memcpy(out, &index, 8);
            } else {
                const int32_t index = (int32_t)best;
                memcpy(out, &index, 4);
            }
            out += l->width;
        }
        in += l->count * l->inner;
    }
}

#endif
