// What the driver's calls share: random numbers, memory of exactly one size, matrices in any format, failures.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "../../backend/kernels/native/format.h"
#include "../../backend/kernels/native/simd.h"

namespace hs {

inline std::mt19937_64 generator;
inline int call = 0;

inline int64_t whole(int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(generator); }
inline float normal() { return std::normal_distribution<float>()(generator); }
inline bool chance(double p) { return std::uniform_real_distribution<>()(generator) < p; }

/** Memory of exactly this size, from the heap. */
template <class T>
std::unique_ptr<T[]> exactly(int64_t count) { return std::unique_ptr<T[]>(new T[count]()); }

inline std::unique_ptr<float[]> normals(int64_t count) {
  auto out = exactly<float>(count);
  for (int64_t i = 0; i < count; i++) out[i] = normal();
  return out;
}

[[noreturn]] inline void fail(const char* what, double got, double want) {
  fprintf(stderr, "call %d: %s is %.9g, not %.9g\n", call, what, got, want);
  exit(1);
}

/** @param scale size of the terms that were added up */
inline void near(const char* what, double got, double want, double scale, double tolerance) {
  if (!(std::fabs(got - want) <= tolerance * scale)) fail(what, got, want);
}

/** A packed matrix with the numbers that it stands for. */
struct Sample {
  std::unique_ptr<uint8_t[]> memory;
  Packed packed;
  std::vector<double> values;
};

inline Sample randomMatrix(const Format& f, int64_t rows, int64_t width) {
  Sample s{nullptr, {&f, nullptr, rows, width}, std::vector<double>(rows * width)};
  s.memory = exactly<uint8_t>(s.packed.bytes());
  s.packed.data = s.memory.get();
  if (f.rows) {
    for (int64_t i = 0; i < rows * width; i++) {
      const float v = normal();
      memcpy(s.memory.get() + 4 * i, &v, 4);
      s.values[i] = v;
    }
    return s;
  }
  if (f.block == 0) {
    const int64_t bytes = fileRowBytes(f, width) * rows;
    auto file = exactly<uint8_t>(bytes);
    for (int64_t i = 0; i < rows * width; i++) {
      float v = normal();
      uint32_t bits;
      memcpy(&bits, &v, 4);
      const uint16_t h = f.brain ? uint16_t(bits >> 16) : toHalf(v);
      if (f.bits == 32) memcpy(file.get() + 4 * i, &v, 4);
      else memcpy(file.get() + 2 * i, &h, 2);
      s.values[i] = f.bits == 32 ? v : f.brain ? brain(&h) : half(&h);
    }
    packFile(s.packed, file.get(), 0, s.packed.tiles(), s.memory.get());
    return s;
  }
  const int64_t blocks = rows * width / f.block;
  auto codes = exactly<uint8_t>(rows * width);
  auto scales = exactly<float>(blocks), minima = exactly<float>(blocks);
  const int zero = f.bits == 4 ? f.zero : f.minima ? 0 : int(whole(0, 255));
  const auto held = [&](float v) {
    const uint16_t h = toHalf(v);
    return f.halfScales ? half(&h) : v;
  };
  for (int64_t b = 0; b < blocks; b++) scales[b] = held(normal()), minima[b] = held(normal());
  for (int64_t i = 0; i < rows * width; i++) {
    codes[i] = uint8_t(f.bits == 4 ? whole(0, 15) : whole(std::max(0, zero - 128), std::min(255, zero + 127)));
    const int64_t b = i / f.block;
    s.values[i] = (codes[i] - zero) * double(scales[b]) + (f.minima ? minima[b] : 0);
  }
  const Codes all{codes.get(), scales.get(), f.minima ? minima.get() : nullptr, zero};
  if (!packCodes(s.packed, all, 0, s.packed.tiles(), s.memory.get())) fail("kept scales", 0, 1);
  return s;
}

/** Any format that is compiled, float32 in row order among them. */
inline Format randomFormat() {
  for (;;) {
    const int bits = 4 << whole(0, 3), block = 16 * int(whole(0, 2)), zero = chance(0.5) ? 0 : int(whole(0, 15));
    const Format f{bits, block, chance(0.5), chance(0.5), chance(0.3), zero, chance(0.3)};
    if (f.isKnown()) return f;
  }
}

}  // namespace hs
