#include "gradients.h"

#include "../../backend/kernels/native/training/gradient.h"
#include "samples.h"

namespace hs {
namespace {

using namespace training;

/** Numbers in memory of exactly their size, from the heap. */
template <class T, class F>
std::unique_ptr<T[]> fill(int64_t count, F next) {
  std::unique_ptr<T[]> out(new T[count]);
  for (int64_t i = 0; i < count; i++) out[i] = next();
  return out;
}
std::unique_ptr<int32_t[]> ids(int64_t count, int64_t end) {
  return fill<int32_t>(count, [&] { return int32_t(whole(0, end - 1)); });
}

TrainedSizes randomSizes() {
  TrainedSizes s{};
  s.layers = whole(1, 3), s.heads = whole(1, 3), s.width = whole(1, 40), s.head = chance(0.3) ? 16 : whole(1, 40);
  s.mlp = chance(0.5) ? 0 : whole(1, 50);
  s.activation = Activation(whole(0, 3)), s.norm = Norm(whole(0, 2));
  s.epsilon = 1e-2f, s.scale = 0.3f;
  s.rotary = chance(0.5) && s.head % 2 == 0;
  s.positions = chance(0.2) ? whole(1, 200) : whole(1, 40);
  s.inputs = whole(1, 40), s.tokens = chance(0.5), s.outputs = whole(1, 40), s.classes = chance(0.5), s.last = chance(0.4);
  for (int64_t i = whole(0, 2); i > 0; i--) s.readout.push_back(whole(1, 40));
  return s;
}

/** Places one after the other, of biases only some. */
std::vector<int32_t> placesFor(const TrainedSizes& s, int64_t& parameters) {
  std::vector<int32_t> places;
  parameters = 0;
  const auto put = [&](bool has, int64_t size) {
    places.push_back(has ? int32_t(parameters) : -1);
    if (has) parameters += size;
  };
  const bool normed = s.norm != Norm::None, mlp = s.mlp > 0;
  const auto norm = [&](bool has) {
    put(has, s.width);
    put(has && chance(0.7), s.width);
  };
  put(true, s.inputs * s.width);
  put(!s.tokens, s.width);
  put(chance(0.5), s.positions * s.width);
  for (int64_t l = 0; l < s.layers; l++) {
    norm(normed);
    put(true, 3 * s.heads * s.head * s.width);
    put(true, s.heads * s.head * s.width);
    norm(normed && mlp);
    put(mlp, s.mlp * s.width), put(mlp && chance(0.7), s.mlp);
    put(mlp, s.mlp * s.width), put(mlp && chance(0.7), s.width);
  }
  norm(normed && chance(0.8));
  int64_t width = s.width;
  for (const int64_t out : s.readout) {
    put(true, out * width), put(chance(0.7), out);
    width = out;
  }
  put(true, s.outputs * width), put(chance(0.5), s.outputs);
  return places;
}

}  // namespace

void gradients() {
  const int threads = Team::get().size();
  const TrainedSizes s = randomSizes();
  int64_t parameters = 0;
  std::vector<int32_t> places = placesFor(s, parameters);
  if (chance(0.3)) {
    places[whole(0, int64_t(places.size()) - 1)] = int32_t(chance(0.5) ? whole(-2, parameters + 2) : whole(INT32_MIN, INT32_MAX));
  }
  const auto exact = fill<int32_t>(int64_t(places.size()), [&, i = 0]() mutable { return places[i++]; });
  std::string wrong;
  const TrainedModel m = modelAt(s, exact.get(), parameters, wrong);
  if (!wrong.empty()) return;
  const int64_t seeds = whole(1, 2), rows = whole(1, 12), cells = seeds * rows * s.positions, scored = seeds * rows * s.queries();
  auto values = fill<float>(seeds * parameters, [] { return 0.15f * normal(); });
  const auto tokens = ids(s.tokens ? cells : 0, s.inputs), classes = ids(s.classes ? scored : 0, s.outputs);
  const auto vectors = fill<float>(s.tokens ? 0 : cells * s.inputs, normal), targets = fill<float>(s.classes ? 0 : scored * s.outputs, normal);
  const auto weights = fill<float>(scored, [] { return chance(0.3) ? 0.f : std::fabs(normal()); });
  const auto cosines = fill<float>(s.rotary ? s.positions * s.head : 0, [] { return std::cos(normal()); });
  const auto sines = fill<float>(s.rotary ? s.positions * s.head : 0, [] { return std::sin(normal()); });
  const GradientCall c{seeds, rows, values.get(), s.tokens ? tokens.get() : nullptr, vectors.get(), s.classes ? classes.get() : nullptr,
                       targets.get(), weights.get(), cosines.get(), sines.get()};
  wrong = faultOf(m, c);
  if (!wrong.empty()) fail(wrong.c_str(), 1, 0);
  GradientScratch scratch;
  struct Result {
    std::unique_ptr<float[]> losses, weights, gradients;
  };
  const auto run = [&](int size) {
    Team::resize(size);
    const auto nothing = [] { return NAN; };
    Result r{fill<float>(seeds, nothing), fill<float>(seeds, nothing), fill<float>(seeds * parameters, nothing)};
    gradient(Team::get(), m, c, scratch, {r.losses.get(), r.weights.get(), r.gradients.get()});
    return r;
  };
  const Result one = run(1), several = run(threads);  // as many as before
  if (memcmp(one.gradients.get(), several.gradients.get(), 4 * seeds * parameters) != 0) fail("a bit of several threads", 1, 0);
  const auto nothing = [] { return NAN; };
  const auto losses = fill<float>(seeds, nothing), sums = fill<float>(seeds, nothing), right = fill<float>(seeds, nothing);
  gradient(Team::get(), m, c, scratch, {losses.get(), sums.get(), nullptr, right.get()});
  if (memcmp(losses.get(), one.losses.get(), 4 * seeds) != 0) fail("a bit of an evaluation's loss", losses[0], one.losses[0]);
  for (int64_t i = 0; i < seeds; i++)
    if (!(right[i] >= 0 && right[i] <= 1.000001f * sums[i] && (s.classes || right[i] == 0))) fail("the weights of what is right", right[i], sums[i]);
  // Down the gradient of the first seed, far enough for float32 to tell.
  double square = 0;
  for (int64_t i = 0; i < parameters; i++) square += double(one.gradients[i]) * one.gradients[i];
  if (!std::isfinite(square)) fail("a gradient", square, 0);
  const double step = 1e-3 / std::sqrt(square + 1e-12);
  const auto moved = [&](double by) {
    const auto before = std::make_unique<float[]>(parameters);
    std::copy(values.get(), values.get() + parameters, before.get());
    for (int64_t i = 0; i < parameters; i++) values[i] += float(by * one.gradients[i]);
    const double loss = run(threads).losses[0];
    std::copy(before.get(), before.get() + parameters, values.get());
    return loss;
  };
  const double got = (moved(step) - moved(-step)) / (2 * step);
  const double noise = 1e-6 * std::fabs(one.losses[0]) / step;
  if (!(std::fabs(got - square) <= 0.1 * square + 4 * noise + 1e-6)) fail("the slope of the loss", got, square);
}

}  // namespace hs
