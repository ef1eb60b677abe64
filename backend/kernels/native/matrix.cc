#include "matrix.h"

#include <algorithm>

#include "simd.h"

namespace hs {
namespace {

template <bool HALF>
inline V scalesAt(const uint8_t* p) { return HALF ? halves(p) : load(p); }

/** Adds a block's products: scale · codes · x + (min - zero · scale) · sum of x. @param sums of the first vector, `stride` apart */
template <int T, bool HALF>
inline void addBlock(const Format& f, const uint8_t* scales, const V* products, const float* sums, int64_t stride, V* total) {
  const V scale = scalesAt<HALF>(scales);
  HS_UNROLL for (int t = 0; t < T; t++) total[t] += scale * products[t];
  if (f.minima || f.zero != 0) {
    const V min = f.minima ? scalesAt<HALF>(scales + f.scalesBytes()) : scale * float(-f.zero);
    HS_UNROLL for (int t = 0; t < T; t++) total[t] += min * sums[t * stride];
  }
}

/** LANES rows of plain numbers from `first` on, T vectors. */
template <int T, int BITS>
void plain(const Packed& m, const uint8_t* w, int first, const Activations& a, float (*out)[TILE_ROWS]) {
  const int64_t stride = a.stride;
  const bool pairs = m.format->brain;
  const int bytes = m.format->tileBytes();
  const float* x = a.x;
  V total[T] = {};
  for (int64_t b = 0; b < m.blocks(); b++, w += bytes, x += TILE_INPUTS) {
    if (T == 1) __builtin_prefetch(w + 4096);
    V part[T][2] = {};
    for (int i = 0; i < TILE_INPUTS; i += 2) {
      V one, two;
      if (BITS == 32) {
        one = load(w + 64 * i + 4 * first);
        two = load(w + 64 * i + 64 + 4 * first);
      } else if (pairs) {
        const I both = loadInts(w + 32 * i + 4 * first);
        one = (V)(both << 16);
        two = (V)(both & int32_t(0xffff0000));
      } else {
        one = halves(w + 32 * i + 2 * first);
        two = halves(w + 32 * i + 32 + 2 * first);
      }
      HS_UNROLL for (int t = 0; t < T; t++) {
        part[t][0] += one * x[t * stride + i];
        part[t][1] += two * x[t * stride + i + 1];
      }
    }
    HS_UNROLL for (int t = 0; t < T; t++) total[t] += part[t][0] + part[t][1];
  }
  HS_UNROLL for (int t = 0; t < T; t++) store(out[t] + first, total[t]);
}

/** LANES rows of codes, T vectors in float32 from `from` on. */
template <int T, int BITS, int BLOCK, bool HALF>
void exact(const Packed& m, const uint8_t* w, int first, const Activations& a, int from, float (*out)[TILE_ROWS]) {
  constexpr int BLOCKS = TILE_INPUTS / BLOCK, SCALE = HALF ? 2 : 4;
  const Format& f = *m.format;
  const int bytes = f.tileBytes(), head = f.head() + 4 * first;
  const int64_t stride = a.stride, blocks = m.blocks() * BLOCKS, ahead = std::min<int64_t>(m.rowBytes(), 1 << 14);
  const float *x = a.x + from * stride, *sums = a.sums + from * blocks;
  const uint8_t* scales = w + SCALE * first;
  V total[T] = {};
  for (int64_t b = 0; b < m.blocks(); b++, w += bytes, scales += bytes, x += TILE_INPUTS) {
    if (from == 0)  // the machine's own prefetching keeps up with plain floats only
      for (int i = 0; i < bytes; i += 64) __builtin_prefetch(w + ahead + i);
    V part[BLOCKS][T][2] = {};
    if (BITS == 8) {
      HS_UNROLL for (int g = 0; g < 8; g++) {
        const I codes = loadInts(w + head + 64 * g);
        HS_UNROLL for (int k = 0; k < 4; k++) {
          const V q = toFloat(codes << (24 - 8 * k) >> 24);
          HS_UNROLL for (int t = 0; t < T; t++) part[4 * g / BLOCK][t][k & 1] += q * x[t * stride + 4 * g + k];
        }
      }
    } else {
      HS_UNROLL for (int g = 0; g < 4; g++) {
        const I codes = loadInts(w + head + 64 * g);
        HS_UNROLL for (int k = 0; k < 4; k++) {
          const V low = nibble(codes >> 8 * k), high = nibble(codes >> (8 * k + 4));
          HS_UNROLL for (int t = 0; t < T; t++) {
            part[0][t][0] += low * x[t * stride + 4 * g + k];
            part[BLOCKS - 1][t][1] += high * x[t * stride + 16 + 4 * g + k];
          }
        }
      }
    }
    HS_UNROLL for (int s = 0; s < BLOCKS; s++) {
      V products[T];
      HS_UNROLL for (int t = 0; t < T; t++) products[t] = part[s][t][0] + part[s][t][1];
      addBlock<T, HALF>(f, scales + s * TILE_ROWS * SCALE, products, sums + b * BLOCKS + s, blocks, total);
    }
  }
  HS_UNROLL for (int t = 0; t < T; t++) store(out[from + t] + first, total[t]);
}

/** The same of vectors in 8 bits. */
template <int T, int BITS, int BLOCK, bool HALF>
void inBytes(const Packed& m, const uint8_t* w, int first, const Activations& a, float (*out)[TILE_ROWS]) {
  constexpr int BLOCKS = TILE_INPUTS / BLOCK, SCALE = HALF ? 2 : 4;
  const Format& f = *m.format;
  const int bytes = f.tileBytes(), head = f.head() + 4 * first;
  const int64_t stride = a.stride, blocks = m.blocks() * BLOCKS;
  const int8_t* x = a.codes;
  const uint8_t* scales = w + SCALE * first;
  const auto four = [&](int t, int i) {
    int32_t v;
    memcpy(&v, x + t * stride + i, 4);
    return v;
  };
  V total[T] = {};
  for (int64_t b = 0; b < m.blocks(); b++, w += bytes, scales += bytes, x += TILE_INPUTS) {
    if (T == 1)
      for (int i = 0; i < bytes; i += 64) __builtin_prefetch(w + 4096 + i);
    HS_UNROLL for (int s = 0; s < BLOCKS; s++) {
      V products[T];
      HS_UNROLL for (int t = 0; t < T; t++) {
        const int64_t at = t * blocks + b * BLOCKS + s;
        I one = {}, two = {};
        if (BITS == 8) {
          one += SIGNED_START * a.codeSums[at];
          HS_UNROLL for (int g = s * BLOCK / 4; g < (s + 1) * BLOCK / 4; g += 2) {
            one = dotBytes<true>(one, loadInts(w + head + 64 * g), four(t, 4 * g));
            two = dotBytes<true>(two, loadInts(w + head + 64 * g + 64), four(t, 4 * g + 4));
          }
        } else {
          HS_UNROLL for (int g = 0; g < 4; g++) {
            const I codes = loadInts(w + head + 64 * g);
            if (BLOCKS == 1 || s == 0) one = dotBytes<false>(one, codes & 0x0f0f0f0f, four(t, 4 * g));
            if (BLOCKS == 1 || s == 1) two = dotBytes<false>(two, codes >> 4 & 0x0f0f0f0f, four(t, 16 + 4 * g));
          }
        }
        products[t] = a.scales[at] * toFloat(one + two);
      }
      addBlock<T, HALF>(f, scales + s * TILE_ROWS * SCALE, products, a.sums + b * BLOCKS + s, blocks, total);
    }
  }
  HS_UNROLL for (int t = 0; t < T; t++) store(out[t] + first, total[t]);
}

/** R rows in row order from `first` of a tile on, T vectors. The order of a sum depends on neither number. */
template <int T, int R>
void inRowOrder(const Packed& m, const uint8_t* tile, int64_t rows, int first, const Activations& a, float (*out)[TILE_ROWS]) {
  const float *w[R], *x = a.x;
  for (int r = 0; r < R; r++) w[r] = reinterpret_cast<const float*>(tile) + std::min<int64_t>(first + r, rows - 1) * m.width;
  V total[R][T] = {};
  int64_t i = 0;
  for (; i + LANES <= m.width; i += LANES)
    HS_UNROLL for (int r = 0; r < R; r++) {
      const V v = load(w[r] + i);
      __builtin_prefetch(w[r] + i + R * m.width);
      HS_UNROLL for (int t = 0; t < T; t++) total[r][t] += v * load(x + t * a.stride + i);
    }
  for (int r = 0; r < R && i < m.width; r++) {
    const V v = loadSome(w[r] + i, m.width - i);
    for (int t = 0; t < T; t++) total[r][t] += v * loadSome(x + t * a.stride + i, m.width - i);
  }
  for (int r = 0; r < R; r += 4)
    for (int t = 0; t < T; t++) {
      V four[4] = {};
      float sums[4];
      for (int j = 0; j < std::min(4, R); j++) four[j] = total[r + j][t];
      sum4(four, sums);
      std::copy(sums, sums + std::min(4, R), out[t] + first + r);
    }
}

template <int T, int BITS, int BLOCK, bool HALF>
void codes(const Packed& m, const uint8_t* w, int first, const Activations& a, float (*out)[TILE_ROWS]) {
  if (a.codes) inBytes<T, BITS, BLOCK, HALF>(m, w, first, a, out);
  else
    for (int from = 0; from < T; from += T < 4 ? T : 4)  // eight at once want more registers than there are
      exact<T < 4 ? T : 4, BITS, BLOCK, HALF>(m, w, first, a, from, out);
}

template <int T>
void some(const Packed& m, const uint8_t* w, const Activations& a, float (*out)[TILE_ROWS]) {
  const Format& f = *m.format;
  for (int first = 0; first < TILE_ROWS; first += LANES) {
    if (f.bits == 32) plain<T, 32>(m, w, first, a, out);
    else if (f.bits == 16) plain<T, 16>(m, w, first, a, out);
    else if (f.bits == 8 && f.block == 16) codes<T, 8, 16, false>(m, w, first, a, out);
    else if (f.bits == 8) f.halfScales ? codes<T, 8, 32, true>(m, w, first, a, out) : codes<T, 8, 32, false>(m, w, first, a, out);
    else if (f.block == 16) codes<T, 4, 16, false>(m, w, first, a, out);
    else f.halfScales ? codes<T, 4, 32, true>(m, w, first, a, out) : codes<T, 4, 32, false>(m, w, first, a, out);
  }
}

}  // namespace

Activations::Activations(const float* values, int count, int64_t width, int block, bool bytes)
    : vectors(count <= 2 ? count : count <= 4 ? 4 : 8), stride((width + TILE_INPUTS - 1) / TILE_INPUTS * TILE_INPUTS), x(values) {
  if (stride != width || vectors != count) padded(values, count, width);
  if (block == 0) return;
  const int64_t blocks = vectors * (stride / block);
  memory_.reset(new float[blocks + (bytes ? 2 * blocks + (vectors * stride + 3) / 4 : 0)]);
  sums = memory_.get();
  if (bytes) {
    scales = sums + blocks;
    codeSums = reinterpret_cast<int32_t*>(scales + blocks);
    codes = reinterpret_cast<int8_t*>(codeSums + blocks);
  }
  for (int64_t b = 0; b < blocks; b++) {
    const float* v = x + b * block;
    V total = {};
    for (int i = 0; i < block; i += LANES) total += load(v + i);
    sums[b] = sum(total);
    if (bytes) narrow(v, b, block);
  }
}

void Activations::padded(const float* values, int count, int64_t width) {
  padding_.reset(new float[vectors * stride]());
  for (int t = 0; t < count; t++) std::copy(values + t * width, values + (t + 1) * width, padding_.get() + t * stride);
  x = padding_.get();
}

/** A block in 8 bits: codes, their scale, and the sum of what they stand for. */
void Activations::narrow(const float* v, int64_t at, int block) {
  V most = {};
  for (int i = 0; i < block; i += LANES) {
    const V size = (V)(loadInts(v + i) & 0x7fffffff);
    most = size > most ? size : most;
  }
  const float size = largest(most), inverse = size > 0 && size < 1e36f ? 127 / size : 0;
  const V magic = splat(12582912.f);  // adding it rounds to an integer, which then lies in the low bits
  I total = {};
  for (int i = 0; i < block; i += LANES) {
    const I rounded = (I)(load(v + i) * inverse + magic) - (I)magic;
    const Bytes low = __builtin_convertvector(rounded, Bytes);
    memcpy(codes + at * block + i, &low, LANES);
    total += rounded;
  }
  int32_t all = 0;
  for (int i = 0; i < LANES; i++) all += total[i];
  scales[at] = size / 127;
  codeSums[at] = all;
  sums[at] = scales[at] * float(all);
}

namespace {

template <int T>
void tileOf(const Packed& m, int64_t tile, const Activations& a, float (*out)[TILE_ROWS]) {
  if (!m.format->rows) return some<T>(m, m.tile(tile), a, out);
  constexpr int R = std::min(8, (LANES == 16 ? 16 : 8) / T);  // sums that the registers hold
  const int64_t rows = std::min<int64_t>(TILE_ROWS, m.rows - tile * TILE_ROWS);
  for (int first = 0; first < rows; first += R) inRowOrder<T, R>(m, m.tile(tile), rows, first, a, out);
}

}  // namespace

void multiplyTile(const Packed& m, int64_t tile, const Activations& a, float (*out)[TILE_ROWS]) {
  switch (a.vectors) {
    case 1: return tileOf<1>(m, tile, a, out);
    case 2: return tileOf<2>(m, tile, a, out);
    case 4: return tileOf<4>(m, tile, a, out);
    default: return tileOf<8>(m, tile, a, out);
  }
}

void multiply(Team& team, const Packed& m, const float* x, int64_t count, bool bytes, float* y) {
  for (int64_t first = 0; first < count; first += MOST_VECTORS) {
    const int now = int(std::min<int64_t>(MOST_VECTORS, count - first));
    const Activations a(x + first * m.width, now, m.width, m.format->block, bytes && m.format->block != 0);
    product(team, m, a, [&](int64_t t, float (*rows)[TILE_ROWS]) {
      const int64_t from = t * TILE_ROWS, most = std::min<int64_t>(TILE_ROWS, m.rows - from);
      for (int i = 0; i < now; i++) std::copy(rows[i], rows[i] + most, y + (first + i) * m.rows + from);
    });
  }
}

}  // namespace hs
