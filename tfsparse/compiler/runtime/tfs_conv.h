/* 2-D convolution, plain, grouped or depthwise, straight on compressed weights.
 *
 * Outermost the output rows, so that nothing behind the current window is read again; then the output channels; then the
 * stored weights, each of which adds its share to a block of neighbouring pixels. A zero weight costs one look at its bit.
 */
#ifndef TFS_CONV_H
#define TFS_CONV_H

#include "tfs_weights.h"

typedef struct {
    tfs_weights w;
    uint16_t in_height, in_width, in_channels;
    uint16_t out_height, out_width, out_channels;
    uint16_t run;       /* input channels that an output channel sees */
    uint16_t per_group; /* output channels that see the same input channels */
    uint8_t kernel_height, kernel_width;
    uint8_t stride_height, stride_width;
    uint8_t dilation_height, dilation_width;
    uint8_t pad_top, pad_left;
    uint8_t block; /* pixels of a row computed together, at most TFS_CONV_BLOCK */
} tfs_conv;

static void tfs_conv_run(const tfs_conv *l, const int8_t *in, int8_t *out)
{
    const int step = l->stride_width * l->in_channels;
    const int zero = l->w.input_zero;
    int32_t sums[TFS_CONV_BLOCK];
    for (int row = 0; row < l->out_height; row++) {
        for (int column = 0; column < l->out_width; column += l->block) {
            const int pixels = l->out_width - column < l->block ? l->out_width - column : l->block;
            int first_channel = 0;
            int left_in_group = l->per_group;
            tfs_stream stream;
            tfs_stream_open(&stream, &l->w);
            for (int channel = 0; channel < l->out_channels; channel++) {
                const int32_t bias = tfs_bias(&l->w, channel);
                int y = row * l->stride_height - l->pad_top;
                for (int p = 0; p < pixels; p++) {
                    sums[p] = bias;
                }
                for (int ky = 0; ky < l->kernel_height; ky++, y += l->dilation_height) {
                    int x = column * l->stride_width - l->pad_left;
                    for (int kx = 0; kx < l->kernel_width; kx++, x += l->dilation_width) {
                        int begin = -1, end = 0; /* pixels whose tap lies inside the map; found when first needed */
                        for (int c = 0; c < l->run; c++) {
                            int weight;
                            const int8_t *source;
                            if (!tfs_stream_next(&stream)) {
                                continue;
                            }
                            weight = *stream.value++;
                            if (begin < 0) {
                                int at = x;
                                for (begin = 0; at < 0; at += l->stride_width) {
                                    begin++;
                                }
                                if (y >= 0 && y < l->in_height) {
                                    for (end = begin; end < pixels && at < l->in_width; at += l->stride_width) {
                                        end++;
                                    }
                                }
                            }
                            if (begin >= end) {
                                continue;
                            }
                            source = in + ((y * l->in_width + x + begin * l->stride_width) * l->in_channels +
                                           first_channel + c);
                            for (int32_t *sum = sums + begin; sum < sums + end; sum++) {
                                *sum += (*source - zero) * weight;
                                source += step;
                            }
                        }
                    }
                }
                {
                    const int32_t multiplier = l->w.multiplier[channel];
                    const int shift = l->w.shift[channel];
                    int8_t *to = out + ((row * l->out_width + column) * l->out_channels + channel);
                    for (int p = 0; p < pixels; p++) {
                        const int32_t x = tfs_scale(sums[p], multiplier, shift) + l->w.output_zero;
                        *to = tfs_clamp(x, l->w.lowest, l->w.highest);
                        to += l->out_channels;
                    }
                }
                if (--left_in_group == 0) {
                    left_in_group = l->per_group;
                    first_channel += l->run;
                }
            }
        }
    }
}

#endif
