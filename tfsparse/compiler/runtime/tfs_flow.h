/* Streaming: who can make the next row. */
#ifndef TFS_FLOW_H
#define TFS_FLOW_H

#include <stdint.h>

/* A layer makes its row r once its source has made r * stride + first rows, or all of its in_rows. */
typedef struct {
    uint8_t source; /* 0: the network's input, i + 1: layer i */
    uint8_t rows, in_rows, stride;
    int16_t first;
} tfs_flow;

/* The last layer that can make a row: so the fewest rows wait. -1: none can. */
static inline int tfs_flow_ready(const tfs_flow *flow, int layers, const uint8_t *made)
{
    int i = layers;
    while (--i >= 0) {
        const tfs_flow *f = &flow[i];
        const int need = made[i + 1] * f->stride + f->first;
        if (made[i + 1] < f->rows && made[f->source] >= (need < f->in_rows ? need : f->in_rows)) {
            break;
        }
    }
    return i;
}

#endif
