#include "prompt.h"

#include "../../backend/kernels/native/prompt/scores.h"
#include "samples.h"

namespace hs {
namespace {

/** Softmax of a row's scores. */
void softmax(std::vector<double>& scores) {
  double most = -1e300, total = 0;
  for (double s : scores) most = std::max(most, s);
  for (double& s : scores) total += s = std::exp(s - most);
  for (double& s : scores) s /= total;
}

double product(const float* a, const float* b, int64_t width) {
  double sum = 0;
  for (int64_t k = 0; k < width; k++) sum += double(a[k]) * b[k];
  return sum;
}

void lines(const PromptCall& c) {
  const float cap = chance(0.3) ? std::fabs(normal()) * 5 + 0.1f : 0;
  const auto byKey = exactly<float>(c.heads * c.keys), byDistance = exactly<float>(c.heads * c.keys);
  sumLines(Team::get(), c, cap, byKey.get(), byDistance.get());
  for (int64_t h = 0; h < c.heads; h++) {
    std::vector<double> keys(c.keys), distances(c.keys);
    for (int64_t i = 0; i < c.queries; i++) {
      const int64_t own = c.keys - c.queries + i;
      std::vector<double> scores;
      for (int64_t t = 0; t <= own; t++) {
        const double s = product(c.q + (h * c.queries + i) * c.width, c.k + (h / (c.heads / c.kvHeads) * c.keys + t) * c.width, c.width) * c.scale;
        scores.push_back(cap > 0 ? cap * std::tanh(s / cap) : s);
      }
      softmax(scores);
      for (int64_t t = 0; t <= own; t++) keys[t] += scores[t], distances[own - t] += scores[t];
    }
    for (int64_t t = 0; t < c.keys; t++) {
      near("a sum by key", byKey[h * c.keys + t], keys[t], c.queries, 2e-6);
      near("a sum by distance", byDistance[h * c.keys + t], distances[t], c.queries, 2e-6);
    }
  }
}

void antidiagonals(const PromptCall& c) {
  const int64_t stride = whole(1, 16), each = whole(1, SQUARE / stride);
  const Tiles tiles{stride, each * stride};
  const int64_t down = tiles.squares(c.queries), across = tiles.squares(c.keys), start = c.keys - c.queries;
  const auto out = exactly<float>(c.heads * down * across);
  sumAntidiagonals(Team::get(), c, tiles, out.get());
  for (int64_t h = 0; h < c.heads; h++) {
    std::vector<double> want(down * across);
    for (int64_t i = 0; i * stride < c.queries; i++) {
      std::vector<double> scores;
      for (int64_t j = 0; j < across * each && j * stride <= start + (i + 1) * stride - 1; j++) {
        double sum = 0;
        for (int64_t s = 0; s < stride; s++) {
          const int64_t query = (i + 1) * stride - 1 - s, key = j * stride + s;
          if (query < c.queries && key < c.keys)
            sum += product(c.q + (h * c.queries + query) * c.width, c.k + (h / (c.heads / c.kvHeads) * c.keys + key) * c.width, c.width);
        }
        scores.push_back(sum * c.scale / stride);
      }
      softmax(scores);
      for (size_t j = 0; j < scores.size(); j++) want[i / each * across + int64_t(j) / each] += scores[j];
    }
    for (int64_t s = 0; s < down * across; s++) near("a sum of a square", out[h * down * across + s], want[s], each, 2e-6);
  }
}

}  // namespace

void prompt() {
  const int64_t kvHeads = whole(1, 3), heads = kvHeads * whole(1, 3), keys = whole(1, 300), queries = whole(1, keys);
  const int64_t width = chance(0.5) ? 16 * whole(1, 5) : whole(1, 80);
  const auto q = normals(heads * queries * width), k = normals(kvHeads * keys * width);
  const PromptCall call{heads, kvHeads, queries, keys, width, 1 / std::sqrt(float(width)), q.get(), k.get()};
  if (chance(0.5)) lines(call);
  else antidiagonals(call);
}

}  // namespace hs
