#include "cache.h"

#include <algorithm>
#include <cmath>

namespace hs {

void writeCacheRow(CacheKind kind, const float* narrow, int width, uint8_t* to) {
  const int d = int(cacheWidth(kind, width));
  float row[MOST_WIDTH];
  std::copy(narrow, narrow + width, row);
  std::fill(row + width, row + d, 0.f);
  if (kind == CacheKind::F32) {
    memcpy(to, row, 4 * size_t(d));
    return;
  }
  if (kind == CacheKind::F16) {
    for (int i = 0; i < d; i++) {
      const uint16_t h = toHalf(row[i]);
      memcpy(to + 2 * i, &h, 2);
    }
    return;
  }
  const int blocks = d / CACHE_BLOCK;
  for (int b = 0; b < blocks; b++) {
    const float* v = row + b * CACHE_BLOCK;
    const auto [low, high] = std::minmax_element(v, v + CACHE_BLOCK);
    const bool centred = kind == CacheKind::Q8;
    // The code is made with the scale as it is held.
    const float wanted = centred ? std::max(-*low, *high) / 127 : (*high - *low) / 15;
    const uint16_t scale = toHalf(wanted), minimum = toHalf(*low);
    const float held = half(&scale), base = half(&minimum), inverse = held > 0 && std::isfinite(held) ? 1 / held : 0;
    const auto code = [&](float x, float least, float most) {
      const float c = std::nearbyint(x * inverse);
      return c >= least ? int(std::min(c, most)) : int(least);  // what is no number has the least
    };
    if (centred) {
      for (int i = 0; i < CACHE_BLOCK; i++) to[b * CACHE_BLOCK + i] = uint8_t(int8_t(code(v[i], -127, 127)));
      memcpy(to + d + 2 * b, &scale, 2);
      continue;
    }
    for (int i = 0; i < 16; i++)
      to[16 * b + i] = uint8_t(code(v[i] - base, 0, 15) | code(v[16 + i] - base, 0, 15) << 4);
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
