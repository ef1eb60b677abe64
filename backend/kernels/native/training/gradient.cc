#include "gradient.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "layers.h"

namespace hs::training {
namespace {

constexpr int64_t PIECES = 8, LEAST_ROWS = 4;  // of a seed's batch, and of a piece
constexpr int64_t TOKENS = 128;                  // that go through the model together

int64_t piecesOf(int64_t rows) { return std::clamp<int64_t>(rows / LEAST_ROWS, 1, PIECES); }
/** Says that a layer's only queries are those of last tokens, which can look at the stream itself: turned keys differ by their position. */
bool looksAtStream(const TrainedSizes& s, int64_t l) { return s.last && l + 1 == s.layers && !s.rotary; }
int64_t togetherOf(const TrainedSizes& s) { return std::max<int64_t>(1, (TOKENS + s.positions / 2) / s.positions); }

/** What a few sequences leave behind in a layer on their way forward. */
struct Layer {
  float *x, *normed, *q, *kv, *pattern, *z, *middle, *mlpNormed, *pre, *post;
  float *looks, *means;  // in place of kv where queries look at the stream
  NormStats *stats, *mlpStats;
};

/** Memory for a few sequences. */
struct Room {
  std::vector<Layer> layers;
  float *end, *normed, *out, *vectors;
  std::vector<float*> hidden;
  NormStats* stats;
  float *dx, *dEnd, *dNormed, *dq, *dkv, *dz, *dScores, *across, *dLooks, *dMeans, *dHidden, *dNext;
  int64_t size = 0;

  Room(const TrainedModel& m, float* memory) {
    const TrainedSizes& s = m.sizes;
    const int64_t rows = togetherOf(s), tokens = rows * s.positions, queries = rows * s.queries();
    const int64_t width = m.stream(), heads = m.allHeads(), mlp = filled(s.mlp), keys = filled(s.positions);
    const auto take = [&](int64_t count) {
      float* at = memory ? memory + size : nullptr;
      size += filled(count);
      return at;
    };
    const auto stats = [&](int64_t count) { return reinterpret_cast<NormStats*>(take(2 * count)); };
    const bool norms = s.norm != Norm::None;
    for (int64_t l = 0; l < s.layers; l++) {
      const int64_t asking = l + 1 == s.layers ? queries : tokens;
      Layer a{};
      a.x = take(tokens * width);
      a.normed = norms ? take(tokens * width) : a.x;
      a.stats = stats(tokens);
      a.q = take(asking * heads);
      if (looksAtStream(s, l)) {
        a.looks = take(asking * s.heads * width);
        a.means = take(asking * s.heads * width);
      } else {
        a.kv = take(tokens * 2 * heads);
      }
      a.pattern = take(asking * s.heads * keys);
      a.z = take(asking * heads);
      if (s.mlp > 0) {
        a.middle = take(asking * width);
        a.mlpNormed = norms ? take(asking * width) : a.middle;
        a.mlpStats = stats(asking);
        a.pre = take(asking * mlp);
        a.post = take(asking * mlp);
      }
      layers.push_back(a);
    }
    end = take(queries * width);
    normed = m.normScale.here() ? take(queries * width) : end;
    this->stats = stats(queries);
    int64_t widest = std::max(mlp, width);
    for (const int64_t w : s.readout) {
      hidden.push_back(take(queries * filled(w)));
      widest = std::max(widest, filled(w));
    }
    out = take(queries * filled(s.outputs));
    vectors = s.tokens ? nullptr : take(tokens * filled(s.inputs));
    dx = take(tokens * width);
    dEnd = take(queries * width);
    dNormed = take(tokens * width);
    dq = take(tokens * heads);
    dkv = take(tokens * 2 * heads);
    dz = take(tokens * heads);
    dScores = take(s.positions * keys);
    across = take(filled(s.head) * keys);
    if (looksAtStream(s, s.layers - 1)) {
      dLooks = take(queries * s.heads * width);
      dMeans = take(queries * s.heads * width);
    }
    dHidden = take(tokens * widest);
    dNext = take(tokens * widest);
  }
};

/** Of some sequences. */
struct Sums {
  double loss = 0, right = 0;  // of weight · loss, and of the weights where the class has the largest output
  void operator+=(const Sums& more) {
    loss += more.loss;
    right += more.right;
  }
};

/** A few sequences of a seed on their way through the model and, where gradients are wanted, back. */
class Pass {
 public:
  Pass(const TrainedModel& m, const GradientCall& c, int64_t seed, const float* rows, const float* columns, float* gradients, Room& room)
      : m_(m), s_(m.sizes), c_(c), seed_(seed), rows_(rows), columns_(columns), gradients_(gradients), r_(room) {}

  /** @param first, count sequences of the seed */
  Sums run(int64_t first, int64_t count) {
    first_ = seed_ * c_.rows + first;
    count_ = count;
    tokens_ = count * s_.positions;
    read();
    for (int64_t l = 0; l < s_.layers; l++) forward(l);
    const Sums sums = end();
    if (!gradients_) return sums;
    endBack();
    for (int64_t l = s_.layers; l-- > 0;) back(l);
    readBack();
    return sums;
  }

 private:
  const TrainedModel& m_;
  const TrainedSizes& s_;
  const GradientCall& c_;
  const int64_t seed_;
  const float *rows_, *columns_;
  float* gradients_;
  Room& r_;
  int64_t first_ = 0, count_ = 0, tokens_ = 0;

  const float* held(const Part& p) const { return p.here() ? rows_ + p.at : nullptr; }
  float* grad(const Part& p) const { return p.here() ? gradients_ + p.at : nullptr; }
  bool onlyLast(int64_t l) const { return s_.last && l + 1 == s_.layers; }
  int64_t asking(int64_t l) const { return onlyLast(l) ? count_ : tokens_; }
  NormCall norm(const Part& scale, const Part& offset, int64_t n) const { return {s_.norm, s_.epsilon, s_.width, n, held(scale), held(offset)}; }

  void through(const Linear& l, const float* x, int64_t n, float* y) const {
    linear(x, l.weight.columns(), n, columns_ + l.weight.at, held(l.bias), l.weight, y);
  }
  void backThrough(const Linear& l, const float* x, int64_t n, const float* dy, float* dx, bool add = false) const {
    linearBack({x, l.weight.columns(), n, dy, held(l.weight), grad(l.weight), grad(l.bias), dx, add}, l.weight);
  }

  /** The stream before the first layer. */
  void read() {
    const int64_t width = m_.stream();
    float* x = r_.layers[0].x;
    if (s_.tokens)
      for (int64_t i = 0; i < tokens_; i++)
        memcpy(x + i * width, held(m_.embed.weight) + token(i) * width, sizeof(float) * width);
    else {
      const int64_t filledInputs = filled(s_.inputs);
      for (int64_t i = 0; i < tokens_; i++) {
        const float* from = c_.vectors + (first_ * s_.positions + i) * s_.inputs;
        std::copy(from, from + s_.inputs, r_.vectors + i * filledInputs);
        std::fill(r_.vectors + i * filledInputs + s_.inputs, r_.vectors + (i + 1) * filledInputs, 0.f);
      }
      through(m_.embed, r_.vectors, tokens_, x);
    }
    if (!m_.positions.here()) return;
    const int64_t size = s_.positions * width;
    for (int64_t i = 0; i < count_; i++)
      for (int64_t k = 0; k < size; k += LANES) store(x + i * size + k, load(x + i * size + k) + load(held(m_.positions) + k));
  }

  int32_t token(int64_t i) const { return c_.tokens[first_ * s_.positions + i]; }

  void readBack() {
    const int64_t width = m_.stream(), size = s_.positions * width;
    const auto add = [&](float* to, const float* x) {
      for (int64_t k = 0; k < width; k += LANES) store(to + k, load(to + k) + load(x + k));
    };
    if (m_.positions.here())
      for (int64_t i = 0; i < tokens_; i++) add(grad(m_.positions) + i * width % size, r_.dx + i * width);
    if (!s_.tokens) return backThrough(m_.embed, r_.vectors, tokens_, r_.dx, nullptr);
    for (int64_t i = 0; i < tokens_; i++) add(grad(m_.embed.weight) + token(i) * width, r_.dx + i * width);
  }

  /** Runs f(q, k and v, place among the heads, row of q, row of kv) for every head of every sequence. */
  template <class F>
  void eachHead(int64_t l, F f) {
    const Layer& a = r_.layers[l];
    const int64_t heads = m_.allHeads(), head = filled(s_.head), queries = onlyLast(l) ? 1 : s_.positions, keys = filled(s_.positions);
    for (int64_t i = 0; i < count_; i++)
      for (int64_t h = 0; h < s_.heads; h++) {
        const int64_t q = i * queries * heads + h * head, kv = i * s_.positions * 2 * heads + h * head;
        f(HeadCall{queries, s_.positions, head, a.q + q, heads, a.kv + kv, a.kv + kv + heads, 2 * heads,
                   a.pattern + (i * s_.heads + h) * queries * keys, r_.across},
          q, kv);
      }
  }

  void turnAll(int64_t l, float* q, float* kv, bool back) {
    if (!s_.rotary) return;
    const int64_t heads = m_.allHeads(), asking = onlyLast(l) ? 1 : s_.positions;
    for (int64_t i = 0; i < tokens_; i++) {
      const int64_t at = i % s_.positions * s_.head;
      turn(kv + i * 2 * heads, s_.heads, s_.head, c_.cosines + at, c_.sines + at, back);
    }
    for (int64_t i = 0; i < count_ * asking; i++) {
      const int64_t at = (s_.positions - asking + i % asking) * s_.head;
      turn(q + i * heads, s_.heads, s_.head, c_.cosines + at, c_.sines + at, back);
    }
  }

  void forward(int64_t l) {
    const TrainedModel::Block& b = m_.blocks[l];
    const Layer& a = r_.layers[l];
    const int64_t width = m_.stream(), heads = m_.allHeads(), n = asking(l), whole = 3 * heads;
    if (b.normScale.here()) normalise(norm(b.normScale, b.normOffset, tokens_), a.x, a.normed, a.stats);
    const float* projections = columns_ + b.qkv.at;
    const auto [skip, step] = lastTokens(l);
    multiply({a.normed + skip, step, 1, projections, whole, a.q, heads, n, width, heads, false});
    if (looksAtStream(s_, l)) {
      lookAtStream(l);
    } else {
      multiply({a.normed, width, 1, projections + heads, whole, a.kv, 2 * heads, tokens_, width, 2 * heads, false});
      turnAll(l, a.q, a.kv, false);
      eachHead(l, [&](const HeadCall& call, int64_t q, int64_t) { attendHead(call, a.z + q); });
    }
    float* next = l + 1 < s_.layers ? r_.layers[l + 1].x : r_.end;
    float* middle = s_.mlp > 0 ? a.middle : next;
    // The stream comes last: a sum that starts from it would be rounded to its size with every product.
    multiply({a.z, heads, 1, columns_ + b.o.at, width, middle, width, n, heads, width, false});
    for (int64_t i = 0; i < n; i++) addTo(middle + i * width, a.x + skip + i * step, width);
    if (s_.mlp == 0) return;
    if (b.mlpNormScale.here()) normalise(norm(b.mlpNormScale, b.mlpNormOffset, n), middle, a.mlpNormed, a.mlpStats);
    through(b.mlpIn, a.mlpNormed, n, a.pre);
    activate(s_.activation, a.pre, n * filled(s_.mlp), a.post);
    through(b.mlpOut, a.post, n, next);
    addTo(next, middle, n * width);
  }

  /** Where a head's queries, keys and values stand in the projections: first rows of their matrices. */
  struct HeadRows {
    int64_t q, k, v;
  };
  HeadRows rowsOfHead(int64_t h) const {
    const int64_t at = h * filled(s_.head), heads = m_.allHeads();
    return {at, heads + at, 2 * heads + at};
  }

  /** Runs f(what attends to the stream, place among looks and means) for every head of every sequence. */
  template <class F>
  void eachLook(int64_t l, F f) {
    const Layer& a = r_.layers[l];
    const int64_t width = m_.stream();
    for (int64_t i = 0; i < count_ * s_.heads; i++)
      f(StreamCall{s_.positions, width, a.looks + i * width, a.normed + i / s_.heads * s_.positions * width, a.pattern + i * filled(s_.positions)},
        i * width, i / s_.heads);
  }

  /** From the queries of last tokens to what their heads write. */
  void lookAtStream(int64_t l) {
    const Part& qkv = m_.blocks[l].qkv;
    const Layer& a = r_.layers[l];
    const int64_t width = m_.stream(), heads = m_.allHeads(), head = filled(s_.head), all = s_.heads * width;
    for (int64_t h = 0; h < s_.heads; h++) {
      const HeadRows at = rowsOfHead(h);
      multiply({a.q + at.q, heads, 1, held(qkv) + at.k * width, width, a.looks + h * width, all, count_, head, width, false});
    }
    eachLook(l, [&](const StreamCall& call, int64_t at, int64_t) { attendStream(call, a.means + at); });
    for (int64_t h = 0; h < s_.heads; h++) {
      const HeadRows at = rowsOfHead(h);
      multiply({a.means + h * width, all, 1, columns_ + qkv.at + at.v, 3 * heads, a.z + at.q, heads, count_, width, head, false});
    }
  }

  /** From `dz` to `dq`; adds to the gradients of keys' and values' weights and to that of what they are made of. */
  void lookAtStreamBack(int64_t l, float* to) {
    const Part& qkv = m_.blocks[l].qkv;
    const Layer& a = r_.layers[l];
    const int64_t width = m_.stream(), heads = m_.allHeads(), head = filled(s_.head), all = s_.heads * width;
    float* dw = grad(qkv);
    for (int64_t h = 0; h < s_.heads; h++) {
      const HeadRows at = rowsOfHead(h);
      multiply({r_.dz + at.q, heads, 1, held(qkv) + at.v * width, width, r_.dMeans + h * width, all, count_, head, width, false});
      multiply({r_.dz + at.q, 1, heads, a.means + h * width, all, dw + at.v * width, width, head, count_, width, true});
    }
    eachLook(l, [&](const StreamCall& call, int64_t at, int64_t sequence) {
      attendStreamBack(call, {r_.dMeans + at, r_.dScores, r_.dLooks + at, to + sequence * s_.positions * width});
    });
    for (int64_t h = 0; h < s_.heads; h++) {
      const HeadRows at = rowsOfHead(h);
      multiply({r_.dLooks + h * width, all, 1, columns_ + qkv.at + at.k, 3 * heads, r_.dq + at.q, heads, count_, width, head, false});
      multiply({a.q + at.q, 1, heads, r_.dLooks + h * width, all, dw + at.k * width, width, head, count_, width, true});
    }
  }

  /** First number of the tokens that ask in a layer, and from one to the next. */
  std::pair<int64_t, int64_t> lastTokens(int64_t l) const {
    const int64_t width = m_.stream();
    return onlyLast(l) ? std::pair{(s_.positions - 1) * width, s_.positions * width} : std::pair{int64_t(0), width};
  }

  static void addTo(float* to, const float* x, int64_t count) {
    for (int64_t k = 0; k < count; k += LANES) store(to + k, load(to + k) + load(x + k));
  }

  /** From the end of the stream to the loss, and the outputs' gradient in their place. */
  Sums end() {
    const int64_t n = count_ * s_.queries(), outputs = filled(s_.outputs), width = m_.stream();
    const bool normed = m_.normScale.here();
    if (normed) normalise(norm(m_.normScale, m_.normOffset, n), r_.end, r_.normed, r_.stats);
    const float* x = r_.normed;
    for (size_t i = 0; i < m_.readout.size(); i++) {
      through(m_.readout[i], x, n, r_.hidden[i]);
      activate(Activation::Relu, r_.hidden[i], n * m_.readout[i].weight.rows(), r_.hidden[i]);
      x = r_.hidden[i];
    }
    through(m_.unembed, x, n, r_.out);
    Sums sums;
    for (int64_t i = 0; i < n; i++) {
      const int64_t at = first_ * s_.queries() + i;
      float* out = r_.out + i * outputs;
      if (s_.classes && !gradients_ && std::max_element(out, out + s_.outputs) == out + c_.classes[at]) sums.right += c_.weights[at];
      sums.loss += s_.classes ? crossEntropy(out, s_.outputs, c_.classes[at], c_.weights[at])
                         : squaredError(out, s_.outputs, c_.values + at * s_.outputs, c_.weights[at]);
    }
    return sums;
  }

  /** From the outputs' gradient back to the end's in `dx`. */
  void endBack() {
    const int64_t n = count_ * s_.queries(), width = m_.stream();
    const bool normed = m_.normScale.here(), deep = !m_.readout.empty();
    const float* x = deep ? r_.hidden.back() : r_.normed;
    backThrough(m_.unembed, x, n, r_.out, deep ? r_.dHidden : r_.dNormed);
    for (size_t i = m_.readout.size(); i-- > 0;) {
      activateBack(Activation::Relu, r_.hidden[i], n * m_.readout[i].weight.rows(), r_.dHidden);
      backThrough(m_.readout[i], i > 0 ? r_.hidden[i - 1] : r_.normed, n, r_.dHidden, i > 0 ? r_.dNext : r_.dNormed);
      std::swap(r_.dHidden, r_.dNext);
    }
    if (!normed) {
      memcpy(r_.dEnd, r_.dNormed, sizeof(float) * n * width);
    } else {
      std::fill(r_.dEnd, r_.dEnd + n * width, 0.f);
      normaliseBack(norm(m_.normScale, m_.normOffset, n), r_.end, r_.stats, r_.dNormed, grad(m_.normScale), grad(m_.normOffset), r_.dEnd);
    }
    if (!s_.last) std::copy(r_.dEnd, r_.dEnd + n * width, r_.dx);
  }

  /** From the gradient behind a layer, in `dx` or, of last tokens alone, in `dEnd`, to that before it, in `dx`. */
  void back(int64_t l) {
    const TrainedModel::Block& b = m_.blocks[l];
    const Layer& a = r_.layers[l];
    const int64_t width = m_.stream(), heads = m_.allHeads(), n = asking(l);
    float* d = onlyLast(l) ? r_.dEnd : r_.dx;
    if (s_.mlp > 0) {
      backThrough(b.mlpOut, a.post, n, d, r_.dHidden);
      activateBack(s_.activation, a.pre, n * filled(s_.mlp), r_.dHidden);
      const bool normed = b.mlpNormScale.here();
      backThrough(b.mlpIn, a.mlpNormed, n, r_.dHidden, normed ? r_.dNormed : d, !normed);
      if (normed)
        normaliseBack(norm(b.mlpNormScale, b.mlpNormOffset, n), a.middle, a.mlpStats, r_.dNormed, grad(b.mlpNormScale), grad(b.mlpNormOffset), d);
    }
    linearBack({a.z, heads, n, d, held(b.o), grad(b.o), nullptr, r_.dz, false}, b.o);
    const auto [skip, step] = lastTokens(l);
    if (onlyLast(l)) {  // from here on all tokens have a gradient
      std::fill(r_.dx, r_.dx + tokens_ * width, 0.f);
      for (int64_t i = 0; i < n; i++) memcpy(r_.dx + skip + i * step, r_.dEnd + i * width, sizeof(float) * width);
    }
    const bool normed = b.normScale.here();
    float *to = normed ? r_.dNormed : r_.dx, *dw = grad(b.qkv);
    const float* w = held(b.qkv);
    if (looksAtStream(s_, l)) {
      if (normed) std::fill(to, to + tokens_ * width, 0.f);
      lookAtStreamBack(l, to);
    } else {
      eachHead(l, [&](const HeadCall& call, int64_t q, int64_t kv) {
        attendHeadBack(call, {r_.dz + q, r_.dScores, r_.dq + q, r_.dkv + kv, r_.dkv + kv + heads});
      });
      turnAll(l, r_.dq, r_.dkv, true);
      multiply({r_.dkv, 1, 2 * heads, a.normed, width, dw + heads * width, width, 2 * heads, tokens_, width, true});
      multiply({r_.dkv, 2 * heads, 1, w + heads * width, width, to, width, tokens_, 2 * heads, width, !normed});
    }
    multiply({r_.dq, 1, heads, a.normed + skip, step, dw, width, heads, n, width, true});
    multiply({r_.dq, heads, 1, w, width, to + skip, step, n, heads, width, true});
    if (normed) normaliseBack(norm(b.normScale, b.normOffset, tokens_), a.x, a.stats, r_.dNormed, grad(b.normScale), grad(b.normOffset), r_.dx);
  }
};

/** Rows of a part, which one thread brings over. The rows of queries have the scores' scale as their factor. */
struct Rows {
  const Part* part;
  int64_t from, to;
  float factor;
};

std::vector<Rows> rowsOf(const TrainedModel& m) {
  constexpr int64_t MOST = 64;
  std::vector<Rows> all;
  const auto add = [&](const Part& p, int64_t from, int64_t to, float factor) {
    for (; from < to; from += MOST) all.push_back({&p, from, std::min(from + MOST, to), factor});
  };
  const int64_t queries = m.sizes.heads * m.sizes.head;
  for (const Part* p : m.parts()) {
    const bool projections = std::any_of(m.blocks.begin(), m.blocks.end(), [&](const auto& b) { return &b.qkv == p; });
    if (projections) add(*p, 0, queries, m.sizes.scale);
    add(*p, projections ? queries : 0, p->out, 1.f);
  }
  return all;
}

/** Runs f(first number of a row's group, where it begins filled up) for each group of a row. */
template <class F>
void eachGroup(const Part& p, const F& f) {
  const int64_t wide = filled(p.inGroup);
  for (int64_t from = 0, to = 0; from < p.in; from += p.inGroup, to += wide) f(from, to);
}

/** Parameters filled up, and transposed. @param rows, columns zeros */
void fill(const Rows& of, const float* parameters, float* rows, float* columns) {
  const Part& p = *of.part;
  const int64_t width = p.columns();
  for (int64_t i = of.from; i < of.to; i++)
    eachGroup(p, [&](int64_t first, int64_t at) {
      const float* from = parameters + p.offset + i * p.in + first;
      float* to = rows + p.at + p.row(i) * width + at;
      for (int64_t k = 0; k < p.inGroup; k++) to[k] = from[k] * of.factor;
    });
  const int64_t from = p.row(of.from), count = p.row(of.to - 1) + 1 - from;
  transpose(rows + p.at + from * width, width, count, width, columns + p.at + from, p.rows());
}

/** Adds up the pieces' gradients of some rows. @param sums of the pieces, `size` apart; the first is written over */
void bringBack(const Rows& of, float* sums, int64_t size, int64_t pieces, float* gradients) {
  const Part& p = *of.part;
  const int64_t width = p.columns();
  for (int64_t i = of.from; i < of.to; i++) {
    float *row = sums + p.at + p.row(i) * width, *out = gradients + p.offset + i * p.in;
    for (int64_t k = 0; k < width; k += LANES) {
      V sum = load(row + k);
      for (int64_t piece = 1; piece < pieces; piece++) sum += load(row + piece * size + k);
      store(row + k, sum * of.factor);
    }
    eachGroup(p, [&](int64_t first, int64_t at) { std::copy(row + at, row + at + p.inGroup, out + first); });
  }
}

void grow(std::unique_ptr<Floats>& memory, int64_t& size, int64_t wanted) {
  if (size >= wanted) return;
  memory.reset();
  size = 0;
  memory = std::make_unique<Floats>(wanted);
  size = wanted;
}

}  // namespace

std::string faultOf(const TrainedModel& m, const GradientCall& c) {
  const TrainedSizes& s = m.sizes;
  const auto outside = [](const int32_t* ids, int64_t count, int64_t end) {
    return ids && std::any_of(ids, ids + count, [&](int32_t id) { return id < 0 || id >= end; });
  };
  if (outside(c.tokens, c.seeds * c.rows * s.positions, s.inputs)) return "a token is not of the vocabulary";
  if (outside(c.classes, c.seeds * c.rows * s.queries(), s.outputs)) return "a class is none of the outputs";
  return "";
}

void gradient(Team& team, const TrainedModel& m, const GradientCall& c, GradientScratch& scratch, const GradientResult& result) {
  const int64_t pieces = piecesOf(c.rows), size = m.filledSize, all = c.seeds * pieces;
  const bool back = result.gradients;
  grow(scratch.weights, scratch.weightsSize, 2 * size * c.seeds);
  if (back) grow(scratch.gradients, scratch.gradientsSize, size * all);
  const int64_t room = Room(m, nullptr).size;
  if (scratch.roomSize != room) scratch.free.clear();
  scratch.roomSize = room;
  while (int64_t(scratch.free.size()) < std::min<int64_t>(team.size(), all)) scratch.free.push_back(std::make_unique<Floats>(room));
  float *weights = scratch.weights->data, *gradients = back ? scratch.gradients->data : nullptr;
  std::vector<Sums> sums(all);

  const std::vector<Rows> rows = rowsOf(m);
  const int64_t items = int64_t(rows.size());
  std::fill(weights, weights + 2 * size * c.seeds, 0.f);
  team.share(c.seeds * items, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) {
      float* own = weights + 2 * (i / items) * size;
      fill(rows[i % items], c.parameters + i / items * m.parameters, own, own + size);
    }
  });
  team.share(all, 1, [&](int64_t from, int64_t to) {
    std::unique_ptr<Floats> memory;
    {
      std::lock_guard<std::mutex> lock(scratch.mutex);
      memory = std::move(scratch.free.back());
      scratch.free.pop_back();
    }
    Room own(m, memory->data);
    for (int64_t p = from; p < to; p++) {
      const int64_t seed = p / pieces, piece = p % pieces;
      const float* held = weights + 2 * seed * size;
      float* into = back ? gradients + p * size : nullptr;
      if (back) std::fill(into, into + size, 0.f);
      Pass pass(m, c, seed, held, held + size, into, own);
      const int64_t end = (piece + 1) * c.rows / pieces;
      for (int64_t r = piece * c.rows / pieces; r < end; r += togetherOf(m.sizes))
        sums[p] += pass.run(r, std::min(togetherOf(m.sizes), end - r));
    }
    std::lock_guard<std::mutex> lock(scratch.mutex);
    scratch.free.push_back(std::move(memory));
  });
  for (int64_t s = 0; s < c.seeds; s++) {
    Sums whole;
    double weight = 0;
    for (int64_t p = 0; p < pieces; p++) whole += sums[s * pieces + p];
    const int64_t scored = c.rows * m.sizes.queries();
    for (int64_t i = 0; i < scored; i++) weight += c.weights[s * scored + i];
    result.losses[s] = float(whole.loss);
    if (!back) result.right[s] = float(whole.right);
    result.weights[s] = float(weight);
  }
  if (!back) return;
  team.share(c.seeds * items, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++)
      bringBack(rows[i % items], gradients + i / items * pieces * size, size, pieces, result.gradients + i / items * m.parameters);
  });
}

}  // namespace hs::training
