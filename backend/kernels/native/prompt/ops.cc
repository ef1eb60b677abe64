#include "ops.h"

#include <cmath>

#include "../attention/cache.h"
#include "../call.h"
#include "scores.h"

namespace hs {
namespace {

/** The queries and keys of a call. @param c its failure is told */
PromptCall promptOf(Call& c, float scale) {
  const Input q = c.input(0, "q", {-1, -1, -1}), k = c.input(1, "k", {-1, -1, -1});
  if (!c.ok()) return {};
  const PromptCall call{q.dims[0], k.dims[0], q.dims[1], k.dims[1], q.dims[2], scale, q.as<float>(), k.as<float>()};
  c.check(k.dims[2] == call.width, "keys are not as wide as the queries");
  c.check(call.width >= 1 && call.width <= MOST_WIDTH, "heads are from 1 to 1,024 wide");
  c.check(call.kvHeads >= 1 && call.heads >= 1 && call.heads % call.kvHeads == 0, "query heads are no multiple of the KV heads");
  c.check(call.queries >= 1 && call.queries <= call.keys, "queries are none, or more than the keys");
  c.check(call.keys <= INT32_MAX / 2, "too many keys");
  c.check(std::isfinite(scale), "the scale is no number that can be used");
  return call;
}

/** q [heads, queries, width] of the last positions, k [KV heads, keys, width] -> sums of attention by key and by distance [heads, keys]. */
struct LineSums {
  float scale, cap;
  explicit LineSums(Attributes& a) : scale(a.real("scale")), cap(a.real("cap")) {}
  void compute(Call& c) {
    const PromptCall call = promptOf(c, scale);
    if (!c.check(cap >= 0 && std::isfinite(cap), "the cap is no number that can be used")) return;
    float* byKey = c.output<float>(0, TF_FLOAT, {call.heads, call.keys});
    float* byDistance = c.output<float>(1, TF_FLOAT, {call.heads, call.keys});
    if (!c.ok()) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    sumLines(team, call, cap, byKey, byDistance);
  }
};

/** The same inputs -> sums over squares of the attention that antidiagonals of tiles estimate [heads, down, across]. */
struct AntidiagonalSums {
  float scale;
  Tiles tiles;
  explicit AntidiagonalSums(Attributes& a) : scale(a.real("scale")), tiles{a.within("stride", 1, SQUARE), a.within("side", 1, SQUARE)} {
    a.check(!a.ok() || tiles.side % tiles.stride == 0, "the side of a square is no multiple of the stride");
  }
  void compute(Call& c) {
    const PromptCall call = promptOf(c, scale);
    if (!c.ok()) return;
    float* out = c.output<float>(0, TF_FLOAT, {call.heads, tiles.squares(call.queries), tiles.squares(call.keys)});
    if (!c.ok()) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    sumAntidiagonals(team, call, tiles, out);
  }
};

}  // namespace

void registerPrompt(TF_Status* status) {
  registerOp<LineSums>({"HsLineSums", {"q: float", "k: float"}, {"by_key: float", "by_distance: float"}, {"scale: float", "cap: float"}, someShape<3, 3>},
                       status);
  registerOp<AntidiagonalSums>(
      {"HsAntidiagonalSums", {"q: float", "k: float"}, {"sums: float"}, {"scale: float", "stride: int", "side: int"}, someShape<3, 3>}, status);
}

}  // namespace hs
