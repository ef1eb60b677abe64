#include "layers.h"

#include <algorithm>
#include <cfloat>
#include <cstring>

namespace hs::training {
namespace {

constexpr int64_t QUERIES = 16;  // that share a product, so that little is computed above the diagonal

/** first, first + 1 and so on. */
inline V lanesFrom(int64_t first) {
  V at{};
  HS_UNROLL for (int i = 0; i < LANES; i++) at[i] = float(i);
  return at + float(first);
}

void addRows(const float* x, int64_t n, int64_t width, float* sum) {
  for (int64_t i = 0; i < n; i++, x += width)
    for (int64_t c = 0; c < width; c += LANES) store(sum + c, load(sum + c) + load(x + c));
}

/** Keys or values [n, width] transposed, and zeros behind them. */
void across(const float* x, int64_t row, int64_t n, int64_t width, float* out, int64_t outRow) {
  transpose(x, row, n, width, out, outRow);
  for (int64_t c = 0; c < width; c++) std::fill(out + c * outRow + n, out + (c + 1) * outRow, 0.f);
}

/** Numbers become exponentials of how far they are above `top`. @param width a multiple of LANES @return their sum */
inline float exponentials(float* x, int64_t width, float top) {
  V total{};
  for (int64_t k = 0; k < width; k += LANES) {
    const V e = exponential(load(x + k) - top);
    store(x + k, e);
    total += e;
  }
  return sum(total);
}

/** x *= factor. @param width a multiple of LANES */
inline void multiplyBy(float factor, float* x, int64_t width) {
  for (int64_t k = 0; k < width; k += LANES) store(x + k, load(x + k) * factor);
}

/** Scores become shares: of the first `keys`, zeros behind them. @param width of the row, a multiple of LANES */
void softmax(float* s, int64_t keys, int64_t width) {
  const float last = float(keys - 1);
  V most = splat(-FLT_MAX);
  for (int64_t k = 0; k < width; k += LANES) {
    const V x = lanesFrom(k) <= last ? load(s + k) : splat(-FLT_MAX);
    store(s + k, x);
    most = x > most ? x : most;
  }
  multiplyBy(1.f / exponentials(s, width, largest(most)), s, width);
}

float dot(const float* a, const float* b, int64_t width) {
  V total{};
  for (int64_t k = 0; k < width; k += LANES) total += load(a + k) * load(b + k);
  return sum(total);
}

/** to += factor · x. */
void addTimes(float* to, float factor, const float* x, int64_t width) {
  for (int64_t k = 0; k < width; k += LANES) store(to + k, load(to + k) + factor * load(x + k));
}

/** The error function, within 1.5e-7 (Abramowitz and Stegun, 7.1.26). @param square -x² */
V errorFunction(V x, V square) {
  const V size = (V)((I)x & 0x7fffffff);
  const V t = 1.f / (1.f + 0.3275911f * size);
  const V p = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const V y = 1.f - p * exponential(square);
  return (V)((I)y | ((I)x & int32_t(0x80000000)));
}

/** A function and its derivative. */
struct Value {
  V y, slope;
};
template <Activation F>
Value valueAt(V x) {
  if constexpr (F == Activation::Relu) {
    const I above = x > 0.f;
    return {above ? x : V{}, above ? splat(1) : V{}};
  } else if constexpr (F == Activation::Gelu) {
    const V half = x * -0.5f * x;
    const V share = 0.5f + 0.5f * errorFunction(x * 0.70710678f, half);
    return {x * share, share + x * 0.39894228f * exponential(half)};
  } else if constexpr (F == Activation::GeluNew) {
    const V square = x * x;
    const V t = hyperbolicTangent(0.79788456f * (x + 0.044715f * square * x));
    return {0.5f * x * (1.f + t), 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * 0.79788456f * (1.f + 0.134145f * square)};
  } else {
    const V s = 1.f / (1.f + exponential(-x));
    return {x * s, s * (1.f + x * (1.f - s))};
  }
}

template <class G>
void choose(Activation f, G run) {
  switch (f) {
    case Activation::Relu: return run([](V x) { return valueAt<Activation::Relu>(x); });
    case Activation::Gelu: return run([](V x) { return valueAt<Activation::Gelu>(x); });
    case Activation::GeluNew: return run([](V x) { return valueAt<Activation::GeluNew>(x); });
    default: return run([](V x) { return valueAt<Activation::Silu>(x); });
  }
}

}  // namespace

void transpose(const float* x, int64_t row, int64_t rows, int64_t columns, float* out, int64_t outRow) {
  int64_t i = 0;
  for (; i + 8 <= rows; i += 8, x += 8 * row)
    for (int64_t c = 0; c < columns; c++)
      HS_UNROLL for (int k = 0; k < 8; k++) out[c * outRow + i + k] = x[k * row + c];
  for (; i < rows; i++, x += row)
    for (int64_t c = 0; c < columns; c++) out[c * outRow + i] = x[c];
}

void linear(const float* x, int64_t xRow, int64_t n, const float* columns, const float* bias, const Part& w, float* y) {
  const int64_t out = w.rows();
  for (int64_t i = 0; bias && i < n; i++) memcpy(y + i * out, bias, sizeof(float) * out);
  multiply({x, xRow, 1, columns, out, y, out, n, w.columns(), out, bias != nullptr});
}

void linearBack(const LinearBack& c, const Part& w) {
  const int64_t out = w.rows(), in = w.columns();
  multiply({c.dy, 1, out, c.x, c.xRow, c.dw, in, out, c.n, in, true});
  if (c.db) addRows(c.dy, c.n, out, c.db);
  if (c.dx) multiply({c.dy, out, 1, c.rows, in, c.dx, in, c.n, out, in, c.add});
}

void normalise(const NormCall& c, const float* x, float* y, NormStats* stats) {
  const int64_t width = filled(c.width);
  const bool centre = c.kind == Norm::Layer;
  const float part = 1.f / float(c.width);
  for (int64_t i = 0; i < c.n; i++, x += width, y += width) {
    V total{};
    for (int64_t k = 0; centre && k < width; k += LANES) total += load(x + k);
    const float mean = sum(total) * part;
    V squares{};
    for (int64_t k = 0; k < width; k += LANES) {
      const V apart = load(x + k) - mean;
      const V kept = k + LANES <= c.width ? apart : lanesFrom(k) < float(c.width) ? apart : V{};
      squares += kept * kept;
    }
    const float inverse = 1.f / std::sqrt(sum(squares) * part + c.epsilon);
    stats[i] = {mean, inverse};
    for (int64_t k = 0; k < width; k += LANES) {
      const V scaled = (load(x + k) - mean) * inverse * load(c.scale + k);
      store(y + k, c.offset ? scaled + load(c.offset + k) : scaled);
    }
  }
}

void normaliseBack(const NormCall& c, const float* x, const NormStats* stats, const float* dy, float* dScale, float* dOffset, float* dx) {
  const int64_t width = filled(c.width);
  const float part = 1.f / float(c.width);
  for (int64_t i = 0; i < c.n; i++, x += width, dy += width, dx += width) {
    const auto [mean, inverse] = stats[i];
    V whole{}, along{};
    for (int64_t k = 0; k < width; k += LANES) {
      const V normed = (load(x + k) - mean) * inverse, up = load(dy + k);
      const V d = up * load(c.scale + k);
      whole += d;
      along += d * normed;
      store(dScale + k, load(dScale + k) + up * normed);
      if (dOffset) store(dOffset + k, load(dOffset + k) + up);
    }
    const float level = c.kind == Norm::Layer ? sum(whole) * part : 0, lean = sum(along) * part;
    for (int64_t k = 0; k < width; k += LANES) {
      const V normed = (load(x + k) - mean) * inverse;
      const V d = (load(dy + k) * load(c.scale + k) - level - normed * lean) * inverse;
      store(dx + k, load(dx + k) + (k + LANES <= c.width ? d : lanesFrom(k) < float(c.width) ? d : V{}));
    }
  }
}

void activate(Activation f, const float* x, int64_t n, float* y) {
  choose(f, [&](auto at) {
    for (int64_t i = 0; i < n; i += LANES) store(y + i, at(load(x + i)).y);
  });
}

void activateBack(Activation f, const float* x, int64_t n, float* dy) {
  choose(f, [&](auto at) {
    for (int64_t i = 0; i < n; i += LANES) store(dy + i, load(dy + i) * at(load(x + i)).slope);
  });
}

void turn(float* heads, int64_t count, int64_t head, const float* cos, const float* sin, bool back) {
  typedef float Eight __attribute__((vector_size(32)));
  const int64_t half = head / 2, width = filled(head);
  const auto pairs = [&](auto kind, int64_t i) {
    typedef decltype(kind) T;
    const auto at = [](const float* p) {
      T x;
      memcpy(&x, p, sizeof x);
      return x;
    };
    float *low = heads + i, *high = low + half;
    const T a = at(low), b = at(high), c0 = at(cos + i), c1 = at(cos + half + i), s0 = at(sin + i), s1 = at(sin + half + i);
    const T first = back ? a * c0 + b * s1 : a * c0 - b * s0, second = back ? b * c1 - a * s0 : b * c1 + a * s1;
    memcpy(low, &first, sizeof first);
    memcpy(high, &second, sizeof second);
  };
  for (int64_t h = 0; h < count; h++, heads += width) {
    int64_t i = 0;
    for (; i + 8 <= half; i += 8) pairs(Eight{}, i);
    for (; i < half; i++) pairs(0.f, i);
  }
}

void attendHead(const HeadCall& c, float* z) {
  const int64_t row = filled(c.keys), before = c.keys - c.queries;
  across(c.k, c.kvRow, c.keys, c.head, c.across, row);
  for (int64_t first = 0; first < c.queries; first += QUERIES) {
    const int64_t n = std::min(QUERIES, c.queries - first), keys = before + first + n;
    float* scores = c.pattern + first * row;
    multiply({c.q + first * c.qRow, c.qRow, 1, c.across, row, scores, row, n, c.head, filled(keys), false});
    for (int64_t j = 0; j < n; j++) softmax(scores + j * row, before + first + j + 1, filled(keys));
    multiply({scores, row, 1, c.v, c.kvRow, z + first * c.qRow, c.qRow, n, keys, c.head, false});
  }
}

void attendHeadBack(const HeadCall& c, const HeadBack& b) {
  const int64_t row = filled(c.keys), before = c.keys - c.queries;
  across(c.v, c.kvRow, c.keys, c.head, c.across, row);
  for (int64_t first = 0; first < c.queries; first += QUERIES) {
    const int64_t n = std::min(QUERIES, c.queries - first), keys = before + first + n;
    float* scores = b.dScores + first * row;
    multiply({b.dz + first * c.qRow, c.qRow, 1, c.across, row, scores, row, n, c.head, filled(keys), false});
    for (int64_t j = first; j < first + n; j++) {
      const float* pattern = c.pattern + j * row;
      float* s = b.dScores + j * row;
      V together{};
      for (int64_t k = 0; k < filled(keys); k += LANES) together += load(pattern + k) * load(s + k);
      const float mean = sum(together);
      for (int64_t k = 0; k < filled(keys); k += LANES) store(s + k, load(pattern + k) * (load(s + k) - mean));
    }
    multiply({scores, row, 1, c.k, c.kvRow, b.dq + first * c.qRow, c.qRow, n, keys, c.head, false});
  }
  for (int64_t key = 0; key < c.keys; key += QUERIES) {
    const int64_t n = std::min(QUERIES, c.keys - key), first = std::max<int64_t>(0, key - before), count = c.queries - first;
    const int64_t at = first * row + key;
    multiply({b.dScores + at, 1, row, c.q + first * c.qRow, c.qRow, b.dk + key * c.kvRow, c.kvRow, n, count, c.head, false});
    multiply({c.pattern + at, 1, row, b.dz + first * c.qRow, c.qRow, b.dv + key * c.kvRow, c.kvRow, n, count, c.head, false});
  }
}

void attendStream(const StreamCall& c, float* mean) {
  for (int64_t k = 0; k < c.keys; k++) c.pattern[k] = dot(c.query, c.x + k * c.width, c.width);
  softmax(c.pattern, c.keys, filled(c.keys));
  std::fill(mean, mean + c.width, 0.f);
  for (int64_t k = 0; k < c.keys; k++) addTimes(mean, c.pattern[k], c.x + k * c.width, c.width);
}

void attendStreamBack(const StreamCall& c, const StreamBack& b) {
  float together = 0;
  for (int64_t k = 0; k < c.keys; k++) {
    b.dScores[k] = dot(b.dMean, c.x + k * c.width, c.width);
    together += c.pattern[k] * b.dScores[k];
  }
  std::fill(b.dQuery, b.dQuery + c.width, 0.f);
  for (int64_t k = 0; k < c.keys; k++) {
    const float d = c.pattern[k] * (b.dScores[k] - together);
    addTimes(b.dQuery, d, c.x + k * c.width, c.width);
    addTimes(b.dx + k * c.width, d, c.query, c.width);
    addTimes(b.dx + k * c.width, c.pattern[k], b.dMean, c.width);
  }
}

double crossEntropy(float* logits, int64_t outputs, int32_t target, float weight) {
  const int64_t width = filled(outputs);
  if (weight == 0) {
    std::fill(logits, logits + width, 0.f);
    return 0;
  }
  std::fill(logits + outputs, logits + width, -FLT_MAX);
  const float right = logits[target];
  V most = load(logits);
  for (int64_t k = LANES; k < width; k += LANES) {
    const V x = load(logits + k);
    most = x > most ? x : most;
  }
  const float top = largest(most);
  const float all = exponentials(logits, width, top);
  multiplyBy(weight / all, logits, width);
  logits[target] -= weight;
  return double(weight) * (std::log(all) + top - right);
}

double squaredError(float* out, int64_t outputs, const float* target, float weight) {
  double loss = 0;
  for (int64_t i = 0; i < outputs; i++) {
    const float apart = out[i] - target[i];
    loss += double(apart) * apart;
    out[i] = 2 * weight * apart / float(outputs);
  }
  return weight * loss / double(outputs);
}

}  // namespace hs::training
