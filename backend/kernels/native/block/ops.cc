#include "ops.h"

#include "../attention/ops.h"
#include "../tables.h"
#include "../weights.h"
#include "block.h"

namespace hs {
namespace {

/** Inputs of HsBlock: tokens and their places, then weights in the order of the engine's list of a block's parts. */
constexpr const char* INPUTS[] = {
    "x: float", "cos: float", "sin: float", "positions: int32", "layer: int32", "lists: int32", "spans: int32", "slots: int32",
    "ln1: float", "ln1_offset: float", "qkv: T_qkv", "qkv_bias: float", "q_norm: float", "k_norm: float",
    "o: T_o", "o_bias: float", "ln1_post: float", "ln1_post_offset: float", "ln2: float", "ln2_offset: float",
    "mlp_in: T_in", "mlp_in_bias: float", "mlp_out: T_out", "mlp_out_bias: float", "ln2_post: float", "ln2_post_offset: float"};
enum : int {
  X, COS, SIN, POSITIONS, LAYER, LISTS, SPANS, SLOTS,
  LN1, LN1_OFFSET, QKV, QKV_BIAS, Q_NORM, K_NORM,
  O, O_BIAS, LN1_POST, LN1_POST_OFFSET, LN2, LN2_OFFSET,
  MLP_IN, MLP_IN_BIAS, MLP_OUT, MLP_OUT_BIAS, LN2_POST, LN2_POST_OFFSET, ALL_INPUTS
};
static_assert(ALL_INPUTS == sizeof INPUTS / sizeof *INPUTS, "an input has no name, or a name no input");

/** Places in the attribute `sizes`. */
enum : int { HEADS, KV_HEADS, WIDTH, ROTARY, MLP, NORM, ACT, GATED, PARALLEL, NORMS_ALL, BYTES, ALL_SIZES };

constexpr int MATRICES = 4;
constexpr const char* TYPES[MATRICES] = {"T_qkv", "T_o", "T_in", "T_out"};

/** Memory of blocks: one for all of them, since whoever uses it has the lease of the team. */
struct Memory {
  BlockScratch block;
  static Memory& get() {
    static Memory* const memory = new Memory();  // never destroyed, like the team
    return *memory;
  }
};

/**
 * A block for tokens whose keys and values go to slots and who attend over places. What `has` has no bit for is not read; of `looks` 1 the
 * pattern is a second output.
 */
struct BlockOp {
  BlockShape shape{};
  Format formats[MATRICES];
  TF_DataType types[MATRICES];
  float scale, cap;
  int64_t has;
  bool wantsPattern;

  explicit BlockOp(Attributes& a)
      : scale(a.real("scale")), cap(a.real("cap")), has(a.whole("has")), wantsPattern(a.within("looks", 0, 1) == 1) {
    int64_t n[ALL_SIZES] = {}, codes[MATRICES] = {};
    a.wholes("sizes", n, ALL_SIZES);
    a.wholes("formats", codes, MATRICES);
    for (int i = 0; i < MATRICES; i++) {
      formats[i] = formatOf(uint32_t(codes[i]));
      types[i] = a.type(TYPES[i]);
      a.check(formats[i].isKnown(), "there is no such format");
    }
    a.check(n[NORM] >= 0 && n[NORM] < NORMS && n[ACT] >= 0 && n[ACT] < ACT_FNS, "there is no such norm or activation");
    shape.heads = n[HEADS], shape.kvHeads = n[KV_HEADS], shape.width = n[WIDTH], shape.rotary = n[ROTARY], shape.mlp = n[MLP];
    shape.norm = Norm(n[NORM]), shape.act = ActFn(n[ACT]);
    shape.gated = n[GATED] != 0, shape.parallel = n[PARALLEL] != 0, shape.normsAll = n[NORMS_ALL] != 0, shape.bytes = n[BYTES] != 0;
    shape.eps = a.real("eps");
  }

  void compute(Call& c) {
    const Input x = c.input(X, "x", {-1, -1});
    const int64_t tokens = x.dims[0];
    BlockShape s = shape;
    s.model = x.dims[1];
    const std::string fault = faultOf(s);
    if (!c.check(fault.empty(), fault)) return;
    const auto turn = [&](int number, const char* name) {
      return s.rotary ? c.input(number, name, {tokens, 1, s.rotary}).as<float>() : nullptr;
    };
    const BlockInput in{tokens, x.as<float>(), turn(COS, "cos"), turn(SIN, "sin")};
    const BlockWeights weights = weightsOf(c, s);
    const Input positions = c.input(POSITIONS, "positions", {-1, -1}), layer = c.input(LAYER, "layer", {});
    const int64_t sequences = positions.dims.empty() ? 0 : positions.dims[0];  // of a failed input there may be none
    const Input lists = c.input(LISTS, "lists", {-1, sequences, s.kvHeads, 5}), spans = c.input(SPANS, "spans", {-1, 4});
    const Input slots = c.input(SLOTS, "slots", {-1, tokens, s.kvHeads, 2});
    const List* ownLists = ofLayer<List>(c, lists, layer);
    const Slot* ownSlots = ofLayer<Slot>(c, slots, layer);
    if (!c.check(positions.count == tokens, "positions are not one for every token")) return;
    float* out = c.output<float>(0, TF_FLOAT, x.dims);
    AttentionCall call{sequences, positions.dims[1], s.heads, s.kvHeads, s.width, scale, cap, nullptr, positions.as<int32_t>(),
                       ownLists, spans.as<Span>(), spans.dims[0], nullptr};
    Held held;
    const std::string wrongPlaces = c.ok() && tokens > 0 ? faultOf(call, held) : "";
    if (!c.check(wrongPlaces.empty(), wrongPlaces)) return;
    float* pattern = wantsPattern ? patternOutput(c, 1, call) : nullptr;
    if (!c.ok() || tokens == 0) return;
    Team& team = Team::get();
    const auto lease = team.lease();
    Memory& memory = Memory::get();
    runBlock(team, s, weights, in, memory.block, [&](const float* q, const float* k, const float* v, float* z) {
      const std::string wrongSlots = writeRows(team, {tokens, s.kvHeads, s.width, k, v, ownSlots});
      if (!c.check(wrongSlots.empty(), wrongSlots)) return false;
      call.q = q;
      attend(team, call, held, {z, pattern});
      return true;
    }, out);
  }

 private:
  const float* vector(Call& c, int number, int64_t count) const {
    if (!(has >> (number - LN1) & 1)) return nullptr;
    const std::string name = INPUTS[number];
    return c.input(number, name.substr(0, name.find(':')).c_str(), {count}).as<float>();
  }

  Packed matrix(Call& c, int number, int which, int64_t rows, int64_t width) const {
    return matrixInput(c, number, formats[which], types[which], rows, width);
  }

  BlockWeights weightsOf(Call& c, const BlockShape& s) const {
    const auto norm = [&](int number) { return NormWeights{vector(c, number, s.model), vector(c, number + 1, s.model)}; };
    BlockWeights w{};
    w.ln1 = norm(LN1), w.ln1Post = norm(LN1_POST), w.ln2 = norm(LN2), w.ln2Post = norm(LN2_POST);
    w.qkv = matrix(c, QKV, 0, s.projected(), s.model);
    w.o = matrix(c, O, 1, s.model, s.queries());
    w.qkvBias = vector(c, QKV_BIAS, s.projected()), w.oBias = vector(c, O_BIAS, s.model);
    w.qNorm = vector(c, Q_NORM, s.normsAll ? s.queries() : s.width);
    w.kNorm = vector(c, K_NORM, s.normsAll ? s.keys() : s.width);
    if (!s.hasMlp()) return w;
    w.mlpIn = matrix(c, MLP_IN, 2, s.hidden(), s.model);
    w.mlpOut = matrix(c, MLP_OUT, 3, s.model, s.mlp);
    w.mlpInBias = vector(c, MLP_IN_BIAS, s.hidden()), w.mlpOutBias = vector(c, MLP_OUT_BIAS, s.model);
    return w;
  }
};

}  // namespace

void registerBlock(TF_Status* status) {
  registerOp<BlockOp>({"HsBlock",
                       {INPUTS, INPUTS + ALL_INPUTS},
                       {"y: float", "pattern: looks * float"},
                       {"looks: int >= 0", "sizes: list(int)", "formats: list(int)", "has: int", "eps: float", "scale: float", "cap: float",
                        "T_qkv: {float, uint8}", "T_o: {float, uint8}", "T_in: {float, uint8}", "T_out: {float, uint8}"},
                       firstShape<2>,
                       true},
                      status);
}

}  // namespace hs
