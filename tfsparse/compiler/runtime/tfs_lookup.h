/* Any function of one number, from a table that ends where the function is constant; works in place. */
#ifndef TFS_LOOKUP_H
#define TFS_LOOKUP_H

#include <stdint.h>

typedef struct {
    const int8_t *table; /* outputs for the inputs first ... last */
    uint32_t size;
    int8_t first, last;
} tfs_lookup;

static void tfs_lookup_run(const tfs_lookup *l, const int8_t *in, int8_t *out)
{
    for (uint32_t i = 0; i < l->size; i++) {
        const int x = in[i];
        out[i] = l->table[(x < l->first ? l->first : x > l->last ? l->last : x) - l->first];
    }
}

#endif
