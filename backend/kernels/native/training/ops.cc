#include "ops.h"

#include "../call.h"
#include "gradient.h"

namespace hs {
namespace {

using namespace training;

constexpr int64_t MOST = 1 << 20, MOST_LAYERS = 1024;

/**
 * Parameters [seeds, parameters], sequences, targets, weights, rotation, places, readout -> losses, sums of weights, and the gradients
 * or, where nothing goes BACK, the weights of what is right.
 */
template <bool BACK>
struct Gradient {
  TrainedSizes sizes;
  bool fits;
  GradientScratch scratch;
  explicit Gradient(Attributes& a) {
    sizes.layers = a.within("layers", 1, MOST_LAYERS);
    sizes.heads = a.within("heads", 1, MOST);
    sizes.width = a.within("width", 1, MOST);
    sizes.head = a.within("head", 1, MOST);
    sizes.mlp = a.within("mlp", 0, MOST);
    sizes.activation = Activation(a.within("activation", 0, 3));
    sizes.norm = Norm(a.within("norm", 0, 2));
    sizes.epsilon = a.real("epsilon");
    sizes.scale = a.real("scale");
    sizes.rotary = a.flag("rotary");
    sizes.positions = a.within("positions", 1, MOST);
    sizes.inputs = a.within("inputs", 1, MOST);
    sizes.outputs = a.within("outputs", 1, MOST);
    sizes.last = a.flag("last");
    sizes.tokens = a.type("R") == TF_INT32;
    sizes.classes = a.type("T") == TF_INT32;
    a.check(sizes.heads * sizes.head <= MOST, "the heads are too wide together");
    a.check(!sizes.rotary || sizes.head % 2 == 0, "only heads of even width are turned");
  }
  void compute(Call& c) {
    const Input parameters = c.input(0, "parameters", {-1, -1});
    const Input read = c.input(1, "read", sizes.tokens ? Dims{-1} : Dims{-1, sizes.inputs});
    const Input targets = c.input(2, "targets", sizes.classes ? Dims{-1} : Dims{-1, sizes.outputs}), weights = c.input(3, "weights", {-1});
    const Dims table = sizes.rotary ? Dims{sizes.positions, sizes.head} : Dims{0, 0};
    const Input cosines = c.input(4, "cosines", table), sines = c.input(5, "sines", table);
    const Input readout = c.input(6, "readout", {-1});
    if (!c.check(readout.count <= MOST_LAYERS, "there are too many readout layers")) return;
    TrainedSizes all = sizes;
    for (int64_t i = 0; i < readout.count; i++) {
      all.readout.push_back(readout.as<int32_t>()[i]);
      if (!c.check(all.readout[i] >= 1 && all.readout[i] <= MOST, "a readout layer is no width from 1 to 1,048,576")) return;
    }
    const Input places = c.input(7, "places", {placesOf(all)});
    if (!c.ok()) return;
    const int64_t seeds = parameters.dims[0], cells = read.dims[0];
    if (!c.check(seeds >= 1 && cells >= 1 && cells % (seeds * sizes.positions) == 0, "sequences are not whole, or not as many of each seed")) return;
    const int64_t rows = cells / seeds / sizes.positions, scored = seeds * rows * sizes.queries();
    if (!c.check(targets.dims[0] == scored && weights.count == scored, "targets or weights are not one for each scored position")) return;
    std::string wrong;
    const TrainedModel model = modelAt(all, places.as<int32_t>(), parameters.dims[1], wrong);
    if (!c.check(wrong.empty(), wrong)) return;
    const GradientCall call{seeds, rows, parameters.as<float>(), sizes.tokens ? read.as<int32_t>() : nullptr, read.as<float>(),
                            sizes.classes ? targets.as<int32_t>() : nullptr, targets.as<float>(), weights.as<float>(),
                            cosines.as<float>(), sines.as<float>()};
    wrong = faultOf(model, call);
    if (!c.check(wrong.empty(), wrong)) return;
    const GradientResult result{c.output<float>(0, TF_FLOAT, {seeds}), c.output<float>(1, TF_FLOAT, {seeds}),
                                BACK ? c.output<float>(2, TF_FLOAT, parameters.dims) : nullptr,
                                BACK ? nullptr : c.output<float>(2, TF_FLOAT, {seeds})};
    if (!c.ok()) return;
    Team& team = Team::get();
    const auto lease = team.lease();  // guards `scratch` too
    gradient(team, model, call, scratch, result);
  }
};

/** The gradients have the shape of the parameters; TensorFlow's C API makes no shape of one of their sizes, which the others have. */
void gradientShape(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeHandle* parameters = TF_NewShapeHandle();
  TF_ShapeInferenceContextGetInput(context, 0, parameters, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextWithRank(context, parameters, 2, parameters, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetUnknownShape(context, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, 2, parameters, status);
  TF_DeleteShapeHandle(parameters);
}

/** An op on a model and a batch. @param last its third output */
OpDefinition definition(const char* name, const char* last, void (*shapes)(TF_ShapeInferenceContext*, TF_Status*)) {
  return {name,
          {"parameters: float", "read: R", "targets: T", "weights: float", "cosines: float", "sines: float", "readout: int32", "places: int32"},
          {"losses: float", "sums: float", last},
          {"layers: int", "heads: int", "width: int", "head: int", "mlp: int", "activation: int", "norm: int", "epsilon: float",
           "scale: float", "rotary: bool", "positions: int", "inputs: int", "outputs: int", "last: bool",
           "R: {int32, float}", "T: {int32, float}"},
          shapes};
}

}  // namespace

void registerTraining(TF_Status* status) {
  registerOp<Gradient<true>>(definition("HsGradient", "gradients: float", gradientShape), status);
  registerOp<Gradient<false>>(definition("HsEvaluation", "right: float", someShape<2>), status);
}

}  // namespace hs
