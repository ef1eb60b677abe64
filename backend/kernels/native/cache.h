// Rows of cached keys and values, one for each token and KV head, as they are held:
//   F32   d floats
//   F16   d numbers of half precision
//   Q8    d signed codes, then a scale in half precision for each 32
//   Q4    a byte for a pair of codes, of 32 the low halves the first 16, then a scale and then a minimum in half precision for each 32
// where d is the width of the heads, filled up with zeros to whole vectors or blocks.
#pragma once
#include <cstddef>
#include <cstdint>

namespace hs {

enum class CacheKind : int { F32 = 0, F16 = 1, Q8 = 2, Q4 = 3 };
constexpr int CACHE_KINDS = 4;
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

/** Writes a row. @param row [width], at most MOST_WIDTH @param to a row's bytes */
void writeCacheRow(CacheKind kind, const float* row, int width, uint8_t* to);

}  // namespace hs
