/* The end of a pipeline on a CPU: decoded 8-bit RGB images -> resized, cut, flipped, normalised, erased float planes;
 * or resized and cut alone, for a policy that takes 8-bit images.
 *
 * Resizing has the bits of DALI's on a CPU, which resample.py checks before it uses this: float sums in the order of
 * the taps without fused multiply-add (-ffp-contract=off), the axis first that DALI holds for cheaper, one rounding at
 * the end.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Red, green, blue and a float of another pixel. */
typedef float pixel __attribute__((vector_size(16), aligned(4), may_alias));

/* resample.py fills these two in: keep their fields in step. */
struct image {
    const uint8_t *pixels; /* red, green, blue; row by row without gaps */
    int32_t height, width;
};

struct job {
    int32_t tall, wide;                                    /* resized to this, */
    int32_t top, left;                                     /* then a square is cut from this corner, */
    int32_t flip;                                          /* mirrored from left to right unless 0, */
    int32_t erase_top, erase_left, erase_tall, erase_wide; /* normalised, and this box in it made 0; */
    int32_t down, right; /* before it is mirrored the square is moved by so many pixels to top and left; behind it is black */
};

/* Weights of one axis: output x is the sum over k of weight[x * support + k] * input[first[x] + k], edges repeated. */
struct taps {
    int support;
    int *first;
    float *weight;
};

static int at_least(int a, int b) { return a > b ? a : b; }
static int at_most(int a, int b) { return a < b ? a : b; }
static int within(int i, int count) { return at_least(0, at_most(i, count - 1)); }

/* The filter, given by points that lines join: a triangle by 3, the Keys cubic with a = -1/2 by 129. */
static float point(int cubic, int i) {
    if (!cubic) return i == 1;
    float x = fabsf((i - 64) / 32.0f);
    return x <= 1 ? (1.5f * x - 2.5f) * x * x + 1 : x <= 2 ? ((-0.5f * x + 2.5f) * x - 4) * x + 2 : 0;
}

/* Filter points per input pixel. A filter reaches 1 pixel (cubic: 2) of the coarser grid to both sides. */
static float density(int cubic, int from, int to) {
    float step = from > to ? (float)from / to : 1;
    return (cubic ? 128 : 2) / (2 * (cubic ? 2 * step : step));
}

static int support(int cubic, int from, int to) {
    return (int)ceilf((cubic ? 128 : 2) / density(cubic, from, to));
}

static void weigh(struct taps *taps, int cubic, int from, int to) {
    float step = (float)from / to, dense = density(cubic, from, to), half = (cubic ? 64 : 1) / dense;
    float start = 0.5f * step - 0.5f - half;
    for (int x = 0; x < to; x++) {
        float place = x * step + start, sum = 0, *weight = taps->weight + (size_t)x * taps->support;
        taps->first[x] = (int)ceilf(place);
        float offset = taps->first[x] - place;
        for (int k = 0; k < taps->support; k++) {
            float at = (offset + k) * dense;
            int i = (int)floorf(at);
            float low = point(cubic, i), high = point(cubic, i + 1);
            weight[k] = low + (at - i) * (high - low);
            sum += weight[k];
        }
        for (int k = 0; k < taps->support; k++) weight[k] /= sum;
    }
}

/* DALI's estimate, times 5: a float of the middle image costs 3, a tap along a row 1.4, a tap down a column 1. */
static int down_is_first(const struct image *image, const struct job *job, const struct taps *y, const struct taps *x) {
    int64_t area = (int64_t)job->tall * job->wide;
    int64_t down = (int64_t)image->width * job->tall, along = (int64_t)job->wide * image->height;
    return (15 + 5 * y->support) * down + 7 * x->support * area < (15 + 7 * x->support) * along + 5 * y->support * area;
}

/* 1 in each float of an output row whose halves DALI rounds away from zero: what is left beside its blocks of 16, which
 * round to even. Along a row the blocks are of pixels, and those that reach over an edge have blocks of their own. */
static void mark_halves(float *away, int from, int to, const struct taps *x, int down_first) {
    memset(away, 0, 3 * (size_t)to * sizeof(float));
    if (!down_first) {
        for (int begin = 0, count; begin < 3 * to; begin += count) {
            count = at_most(256, 3 * to - begin);
            for (int i = count / 16 * 16; i < count; i++) away[begin + i] = 1;
        }
        return;
    }
    int left = 0, right = to;
    while (left < to && x->first[left] < 0) left++;
    while (right > 0 && x->first[right - 1] + x->support > from) right--;
    int begin = 0, ends[] = {at_most(left, right), left, right, to};
    for (int e = 0; e < 4; begin = at_least(begin, ends[e++]))
        for (int i = 3 * (begin + (ends[e] - begin) / 16 * 16); i < 3 * ends[e]; i++) away[i] = 1;
}

/* One output row from rows of bytes or floats, `stride` apart; four taps in a pass. */
static inline __attribute__((always_inline)) void down(const void *image, int bytes, int height, size_t stride,
                                                       const struct taps *y, int at, int count, float *restrict out) {
    memset(out, 0, count * sizeof(float));
    for (int k = 0; k < y->support; k += 4) {
        const uint8_t *byte[4];
        const float *number[4];
        float weight[4];
        for (int n = 0; n < 4; n++) { /* what is missing of the last four: its last row, 0 times */
            int tap = at_most(k + n, y->support - 1);
            size_t from = within(y->first[at] + tap, height) * stride;
            byte[n] = (const uint8_t *)image + from;
            number[n] = (const float *)image + from;
            weight[n] = tap == k + n ? y->weight[(size_t)at * y->support + tap] : 0;
        }
        for (int i = 0; i < count; i++)
            for (int n = 0; n < 4; n++) out[i] += weight[n] * (bytes ? byte[n][i] : number[n][i]);
    }
}

/* `count` pixels from `begin` on of an output row, and a float more. The input row has room for x->support pixels on
 * either side. */
static void along(float *row, int width, const struct taps *x, int begin, int count, float *out) {
    for (int i = 1; i <= x->support; i++) {
        memcpy(row - 3 * i, row, 3 * sizeof(float));
        memcpy(row + 3 * (width - 1 + i), row + 3 * (width - 1), 3 * sizeof(float));
    }
    for (int i = 0; i < count; i++) {
        const float *from = row + 3 * x->first[begin + i], *weight = x->weight + (size_t)(begin + i) * x->support;
        pixel sum = {0};
        for (int k = 0; k < x->support; k++) sum += weight[k] * *(const pixel *)(from + 3 * k);
        *(pixel *)(out + 3 * i) = sum;
    }
}

static void round_off(float *row, const float *away, int count) {
    const float whole = 3 << 22; /* a float of this size has no fraction: adding it rounds, halves to even */
    for (int i = 0; i < count; i++) {
        float value = row[i] > 0 ? row[i] : 0;
        value = value < 255 ? value : 255;
        float even = (value + whole) - whole;
        row[i] = even + (value - even == 0.5f ? away[i] : 0);
    }
}

/* Pixel x of the row becomes pixel x + by, black where there is none. */
static void move(float *row, int by, int size) {
    size_t moved = 3 * (size_t)at_least(0, size - abs(by)), away = 3 * (size_t)size - moved;
    memmove(by < 0 ? row + away : row, by < 0 ? row : row + away, moved * sizeof(float));
    memset(by < 0 ? row : row + moved, 0, away * sizeof(float));
}

static void write_out(const float *row, const struct job *job, int y, int size, const float *mean, const float *scale,
                      float *out) {
    for (int c = 0; c < 3; c++) {
        float *line = out + ((size_t)c * size + y) * size;
        if (job->flip)
            for (int x = 0; x < size; x++) line[x] = (row[3 * (size - 1 - x) + c] - mean[c]) * scale[c];
        else
            for (int x = 0; x < size; x++) line[x] = (row[3 * x + c] - mean[c]) * scale[c];
        if (y >= job->erase_top && y < job->erase_top + job->erase_tall)
            memset(line + job->erase_left, 0, job->erase_wide * sizeof(float));
    }
}

static int one(const struct image *image, const struct job *job, int size, int cubic, const float *mean,
               const float *scale, void *out) {
    int height = image->height, width = image->width;
    struct taps y = {.support = support(cubic, height, job->tall)}, x = {.support = support(cubic, width, job->wide)};
    int down_first = down_is_first(image, job, &y, &x);

    /* One piece of memory: weights and places of both axes; `away` of an output row; an input row with room beside it
     * and an output row, each with the float that `along` reads or writes more; the rows between the passes. */
    size_t down_weights = (size_t)job->tall * y.support, along_weights = (size_t)job->wide * x.support;
    size_t whole_row = 3 * (size_t)job->wide, beside = 3 * (size_t)x.support, stride = 3 * (size_t)size;
    size_t in_row = 3 * (size_t)width + 2 * beside + 1, between = down_first ? 0 : height * stride + 1;
    size_t rest = job->tall + job->wide + whole_row + in_row + stride + 1 + between;
    float *held = malloc((down_weights + along_weights + rest) * sizeof(float));
    if (!held) return -1;
    y.weight = held;
    x.weight = y.weight + down_weights;
    y.first = (int *)(x.weight + along_weights);
    x.first = y.first + job->tall;
    float *away = (float *)(x.first + job->wide), *in = away + whole_row + beside, *row = away + whole_row + in_row;
    float *rows = row + stride + 1;

    weigh(&y, cubic, height, job->tall);
    weigh(&x, cubic, width, job->wide);
    mark_halves(away, width, job->wide, &x, down_first);
    if (!down_first) {
        int last = within(y.first[job->top + size - 1] + y.support - 1, height);
        for (int i = within(y.first[job->top], height); i <= last; i++) {
            const uint8_t *from = image->pixels + 3 * (size_t)width * i;
            for (int j = 0; j < 3 * width; j++) in[j] = from[j];
            along(in, width, &x, job->left, size, rows + i * stride);
        }
    }
    for (int i = 0; i < size; i++) {
        int from = i + job->down, line = job->top + within(from, size);
        if (down_first) {
            down(image->pixels, 1, height, 3 * (size_t)width, &y, line, 3 * width, in);
            along(in, width, &x, job->left, size, row);
        } else {
            down(rows, 0, height, stride, &y, line, (int)stride, row);
        }
        round_off(row, away + 3 * job->left, (int)stride);
        move(row, from == within(from, size) ? job->right : size, size);
        if (mean)
            write_out(row, job, i, size, mean, scale, out);
        else
            for (size_t j = 0; j < stride; j++) ((uint8_t *)out)[i * stride + j] = (uint8_t)row[j];
    }
    free(held);
    return 0;
}

/* Images to out: float [count, 3, size, size], (value - mean) * scale of a channel; or, with no `mean`, bytes [count,
 * size, size, 3] as they are after the cut. Returns -1 where memory is out. */
int ssld_resample(const struct image *images, const struct job *jobs, int count, int size, int cubic, const float *mean,
                  const float *scale, void *out) {
    size_t bytes = 3 * (size_t)size * size * (mean ? sizeof(float) : 1);
    for (int i = 0; i < count; i++)
        if (one(&images[i], &jobs[i], size, cubic, mean, scale, (char *)out + i * bytes)) return -1;
    return 0;
}
