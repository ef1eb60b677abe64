#include "cache.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hs {

namespace {

/** Rounds the numbers of a block to codes: x is `base` and some `1 / inverse`s. What is no number has the least code. */
void codesOf(const float* x, float base, float inverse, float least, float most, uint8_t* codes) {
  for (int i = 0; i < CACHE_BLOCK; i += LANES) {
    const V c = (load(x + i) - base) * inverse;
    storeBytes(codes + i, rounded(c >= least ? (c < most ? c : splat(most)) : splat(least)));
  }
}

/** Smallest and largest number of a block. */
std::pair<float, float> rangeOf(const float* x) {
  V low = -load(x), high = load(x);
  for (int i = LANES; i < CACHE_BLOCK; i += LANES) low = larger(low, -load(x + i)), high = larger(high, load(x + i));
  return {-largest(low), largest(high)};
}

}  // namespace

void writeCacheRow(CacheKind kind, const float* narrow, int width, uint8_t* to) {
  const int d = int(cacheWidth(kind, width));
  float row[MOST_WIDTH];
  if (width < d) {
    std::copy(narrow, narrow + width, row);
    std::fill(row + width, row + d, 0.f);
    narrow = row;
  }
  if (kind == CacheKind::F32) {
    memcpy(to, narrow, 4 * size_t(d));
    return;
  }
  if (kind == CacheKind::F16) {
    for (int i = 0; i < d; i += LANES) storeHalves(to + 2 * i, load(narrow + i));
    return;
  }
  const int blocks = d / CACHE_BLOCK;
  for (int b = 0; b < blocks; b++) {
    const float* x = narrow + b * CACHE_BLOCK;
    const auto [low, high] = rangeOf(x);
    const bool centred = kind == CacheKind::Q8;
    // The codes are made with the scale as it is held.
    const uint16_t scale = toHalf(centred ? std::max(-low, high) / 127 : (high - low) / 15), minimum = toHalf(low);
    const float held = half(&scale), inverse = held > 0 && std::isfinite(held) ? 1 / held : 0;
    if (centred) {
      codesOf(x, 0, inverse, -127, 127, to + b * CACHE_BLOCK);
      memcpy(to + d + 2 * b, &scale, 2);
      continue;
    }
    uint8_t codes[CACHE_BLOCK];
    codesOf(x, half(&minimum), inverse, 0, 15, codes);
    for (int i = 0; i < CACHE_BLOCK / 2; i++) to[16 * b + i] = uint8_t(codes[i] | codes[CACHE_BLOCK / 2 + i] << 4);
    memcpy(to + d / 2 + 2 * b, &scale, 2);
    memcpy(to + d / 2 + 2 * blocks + 2 * b, &minimum, 2);
  }
}

void readCacheRow(CacheKind kind, const uint8_t* row, int width, float* to) {
  const int d = int(cacheWidth(kind, width));
  withKind(kind, [&](auto K) {
    int i = 0;
    for (; i + LANES <= width; i += LANES) store(to + i, lanes<K()>(row, d, i));
    if (i == width) return;
    float last[LANES];
    store(last, lanes<K()>(row, d, i));
    std::copy(last, last + width - i, to + i);
  });
}

}  // namespace hs
