// Rows of cached keys and values, one for each token and KV head, as they are held:
//   F32   d floats
//   F16   d numbers of half precision
//   Q8    d signed codes, then a scale in half precision for each 32
//   Q4    a byte for a pair of codes, of 32 the low halves the first 16, then a scale and then a minimum in half precision for each 32
// where d is the width of the heads, filled up with zeros to whole vectors or blocks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../simd.h"

namespace hs {

enum class CacheKind : int { F32 = 0, F16 = 1, Q8 = 2, Q4 = 3, CODED = 4 };
constexpr int CACHE_KINDS = 4;  // whose rows are written one by one; those of CODED pages (coded/coded.h) are no rows of bytes
constexpr int CACHE_BLOCK = 32;

constexpr int MOST_WIDTH = 1024;

/** Width of a row of heads of `width`: a multiple of 16, or of CACHE_BLOCK where rows are codes. */
inline int64_t cacheWidth(CacheKind kind, int64_t width) {
  const int64_t step = kind == CacheKind::F32 || kind == CacheKind::F16 ? 16 : CACHE_BLOCK;
  return (width + step - 1) / step * step;
}

/** @param d `cacheWidth` */
inline int64_t cacheRowBytes(CacheKind kind, int64_t d) {
  switch (kind) {
    case CacheKind::F32: return 4 * d;
    case CacheKind::F16: return 2 * d;
    case CacheKind::Q8: return d + d / CACHE_BLOCK * 2;
    default: return d / 2 + d / CACHE_BLOCK * 4;
  }
}

/** Numbers in a row of some channels of a key: floats are not filled up, codes lie in whole blocks. */
inline int64_t channelWidth(CacheKind kind, int64_t channels) {
  return kind == CacheKind::F32 || kind == CacheKind::F16 ? channels : cacheWidth(kind, channels);
}

/** Numbers i to i + LANES - 1 of a row. @param d `cacheWidth` */
template <CacheKind K>
inline V lanes(const uint8_t* row, int d, int i) {
  if (K == CacheKind::F32) return load(row + 4 * i);
  if (K == CacheKind::F16) return halves(row + 2 * i);
  const int block = i / CACHE_BLOCK;
  if (K == CacheKind::Q8) return bytes(row + i) * half(row + d + 2 * block);
  const I pairs = octets(row + 16 * block + i % 16);
  const uint8_t* scale = row + d / 2 + 2 * block;
  return toFloat(i % CACHE_BLOCK < 16 ? pairs & 15 : pairs >> 4) * half(scale) + half(scale + d / CACHE_BLOCK * 2);
}

/** Calls f with a kind that is known when f is compiled. */
template <class F>
inline void withKind(CacheKind kind, F f) {
  switch (kind) {
    case CacheKind::F32: return f(std::integral_constant<CacheKind, CacheKind::F32>());
    case CacheKind::F16: return f(std::integral_constant<CacheKind, CacheKind::F16>());
    case CacheKind::Q8: return f(std::integral_constant<CacheKind, CacheKind::Q8>());
    default: return f(std::integral_constant<CacheKind, CacheKind::Q4>());
  }
}

/** Writes a row. @param row [width], at most MOST_WIDTH @param to a row's bytes */
void writeCacheRow(CacheKind kind, const float* row, int width, uint8_t* to);

/** A row in float32. @param to [width] */
void readCacheRow(CacheKind kind, const uint8_t* row, int width, float* to);

}  // namespace hs
