/* A map with a border of one value around it. */
#ifndef TFS_PAD_H
#define TFS_PAD_H

#include <stdint.h>
#include <string.h>

typedef struct {
    uint32_t before, row_size, between, after; /* bytes: fill, input row, fill between two rows, fill */
    uint16_t rows;
    int8_t fill;
} tfs_pad;

static void tfs_pad_run(const tfs_pad *l, const int8_t *in, int8_t *out)
{
    uint32_t fill = l->before;
    for (int row = 0; row < l->rows; row++) {
        memset(out, l->fill, fill);
        memcpy(out + fill, in, l->row_size);
        out += fill + l->row_size;
        in += l->row_size;
        fill = l->between;
    }
    memset(out, l->fill, l->after);
}

#endif
