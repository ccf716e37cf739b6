/* Slices of an axis in the order of constant indices. */
#ifndef TFS_GATHER_H
#define TFS_GATHER_H

#include <stdint.h>
#include <string.h>

typedef struct {
    const uint16_t *indices;
    uint32_t outer, count;
    uint32_t inner; /* bytes of a slice */
    uint32_t pitch; /* bytes of the whole axis */
} tfs_gather;

static void tfs_gather_run(const tfs_gather *l, const int8_t *in, int8_t *out)
{
    for (uint32_t o = 0; o < l->outer; o++) {
        for (uint32_t i = 0; i < l->count; i++) {
            memcpy(out, in + l->indices[i] * l->inner, l->inner);
            out += l->inner;
        }
        in += l->pitch;
    }
}

#endif
