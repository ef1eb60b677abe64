// What the ops share: a call's inputs and outputs with their checks, attributes, registration. Whatever is wrong with a call becomes a
// TF_Status; nothing is thrown into TensorFlow.
#pragma once
#include <tensorflow/c/kernels.h>
#include <tensorflow/c/ops.h>

#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <vector>

namespace hs {

typedef std::vector<int64_t> Dims;

inline std::string text(const Dims& dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); i++) out += (i ? ", " : "") + (dims[i] < 0 ? std::string("?") : std::to_string(dims[i]));
  return out + "]";
}

/** An input where it lies. */
struct Input {
  const void* data = nullptr;
  Dims dims;
  int64_t count = 0;
  int64_t bytes = 0;
  template <class T>
  const T* as() const { return static_cast<const T*>(data); }
};

/** A call of an op: its inputs are freed and its failure is reported at its end. */
class Call {
 public:
  explicit Call(TF_OpKernelContext* context) : context_(context), status_(TF_NewStatus()) {}
  Call(const Call&) = delete;
  ~Call() {
    if (!ok()) TF_OpKernelContext_Failure(context_, status_);
    for (TF_Tensor* t : tensors_) TF_DeleteTensor(t);
    TF_DeleteStatus(status_);
  }

  bool ok() const { return TF_GetCode(status_) == TF_OK; }
  void fail(TF_Code code, const std::string& what) {
    if (ok()) TF_SetStatus(status_, code, what.c_str());
  }
  /** @return whether all is well up to here */
  bool check(bool right, const std::string& what) {
    if (!right) fail(TF_INVALID_ARGUMENT, what);
    return ok();
  }

  /** An input of a shape. @param wanted sizes, -1 for any */
  Input input(int number, const char* name, const Dims& wanted) {
    Input out;
    TF_Tensor* t = nullptr;
    if (ok()) TF_GetInput(context_, number, &t, status_);
    if (t) tensors_.push_back(t);
    if (!ok()) return out;
    out.count = 1;
    for (int i = 0; i < TF_NumDims(t); i++) out.count *= out.dims.emplace_back(TF_Dim(t, i));
    bool fits = out.dims.size() == wanted.size();
    for (size_t i = 0; fits && i < wanted.size(); i++) fits = wanted[i] < 0 || wanted[i] == out.dims[i];
    if (!fits) fail(TF_INVALID_ARGUMENT, std::string(name) + " is " + text(out.dims) + ", not " + text(wanted));
    out.data = TF_TensorData(t);
    out.bytes = int64_t(TF_TensorByteSize(t));
    if (ok() && out.count > 0 && out.data == nullptr) fail(TF_INTERNAL, std::string(name) + " has no memory");
    // The reader of a failed input may look at its dimensions.
    if (out.dims.size() < wanted.size()) out.dims.resize(wanted.size());
    return out;
  }

  template <class T>
  T* output(int number, TF_DataType type, const Dims& dims) {
    if (!ok()) return nullptr;
    int64_t bytes = int64_t(TF_DataTypeSize(type));
    for (int64_t n : dims)
      if (__builtin_mul_overflow(bytes, n, &bytes) || bytes > MOST_BYTES) {
        fail(TF_RESOURCE_EXHAUSTED, "a result of " + text(dims) + " is too large");
        return nullptr;
      }
    TF_Tensor* t = TF_AllocateOutput(context_, number, type, dims.data(), int(dims.size()), size_t(bytes), status_);
    if (!t) return nullptr;
    tensors_.push_back(t);
    return static_cast<T*>(TF_TensorData(t));
  }

 private:
  static constexpr int64_t MOST_BYTES = int64_t(1) << 34;
  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> tensors_;
};

/** Attributes by name, read once when a kernel is made. */
class Attributes {
 public:
  Attributes(TF_OpKernelConstruction* of, TF_Status* status) : of_(of), status_(status) {}
  int64_t whole(const char* name) {
    int64_t v = 0;
    if (ok()) TF_OpKernelConstruction_GetAttrInt64(of_, name, &v, status_);
    return v;
  }
  /** A list of whole numbers, exactly `count`. */
  void wholes(const char* name, int64_t* out, int count) {
    int32_t size = 0, bytes = 0;
    if (ok()) TF_OpKernelConstruction_GetAttrSize(of_, name, &size, &bytes, status_);
    check(size == count, "a list of attributes has another length");
    if (ok()) TF_OpKernelConstruction_GetAttrInt64List(of_, name, out, count, status_);
  }
  /** A list of whole numbers. */
  std::vector<int64_t> wholes(const char* name) {
    int32_t size = 0, bytes = 0;
    if (ok()) TF_OpKernelConstruction_GetAttrSize(of_, name, &size, &bytes, status_);
    std::vector<int64_t> out(size_t(ok() && size > 0 ? size : 0));
    if (!out.empty()) TF_OpKernelConstruction_GetAttrInt64List(of_, name, out.data(), size, status_);
    return out;
  }
  /** A number from `least` to `most`. */
  int64_t within(const char* name, int64_t least, int64_t most) {
    const int64_t v = whole(name);
    if (ok() && v >= least && v <= most) return v;
    const std::string range = " is not from " + std::to_string(least) + " to " + std::to_string(most);
    if (ok()) TF_SetStatus(status_, TF_INVALID_ARGUMENT, (name + range).c_str());
    return least;
  }
  void check(bool right, const char* what) {
    if (ok() && !right) TF_SetStatus(status_, TF_INVALID_ARGUMENT, what);
  }
  float real(const char* name) {
    float v = 0;
    if (ok()) TF_OpKernelConstruction_GetAttrFloat(of_, name, &v, status_);
    return v;
  }
  bool flag(const char* name) {
    unsigned char v = 0;
    if (ok()) TF_OpKernelConstruction_GetAttrBool(of_, name, &v, status_);
    return v != 0;
  }
  TF_DataType type(const char* name) {
    TF_DataType v = TF_FLOAT;
    if (ok()) TF_OpKernelConstruction_GetAttrType(of_, name, &v, status_);
    return v;
  }
  bool ok() const { return TF_GetCode(status_) == TF_OK; }

 private:
  TF_OpKernelConstruction* of_;
  TF_Status* status_;
};

/** An op as it is registered. */
struct OpDefinition {
  const char* name;
  std::vector<const char*> inputs, outputs, attributes;
  /** Shapes of the outputs as far as they can be told; TensorFlow's C API shows attributes to no shape function. */
  void (*shapes)(TF_ShapeInferenceContext*, TF_Status*);
  /** It reads or writes what is no input of it, so that TensorFlow may neither leave it out nor take two for one. */
  bool stateful = false;
};

/** Insists on the ranks of inputs while a graph is built. */
inline void ranks(TF_ShapeInferenceContext* context, const std::vector<int>& wanted, TF_Status* status) {
  TF_ShapeHandle *shape = TF_NewShapeHandle(), *same = TF_NewShapeHandle();
  for (size_t i = 0; i < wanted.size() && TF_GetCode(status) == TF_OK; i++) {
    TF_ShapeInferenceContextGetInput(context, int(i), shape, status);
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextWithRank(context, shape, wanted[i], same, status);
  }
  TF_DeleteShapeHandle(shape);
  TF_DeleteShapeHandle(same);
}

/** Shapes of an op whose inputs have these ranks, and of whose outputs nothing is known. */
template <int... RANKS>
void someShape(TF_ShapeInferenceContext* context, TF_Status* status) {
  ranks(context, {RANKS...}, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetUnknownShape(context, status);
}

/** The same, but the first output has the first input's shape. */
template <int... RANKS>
void firstShape(TF_ShapeInferenceContext* context, TF_Status* status) {
  someShape<RANKS...>(context, status);
  TF_ShapeHandle* first = TF_NewShapeHandle();
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextGetInput(context, 0, first, status);
  if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, 0, first, status);
  TF_DeleteShapeHandle(first);
}

/** Registers an op whose kernel is made by K(Attributes&) and run by K::compute(Call&). @param status the first failure */
template <class K>
void registerOp(const OpDefinition& op, TF_Status* status) {
  if (TF_GetCode(status) != TF_OK) return;
  TF_OpDefinitionBuilder* builder = TF_NewOpDefinitionBuilder(op.name);
  for (const char* a : op.attributes) TF_OpDefinitionBuilderAddAttr(builder, a);
  for (const char* i : op.inputs) TF_OpDefinitionBuilderAddInput(builder, i);
  for (const char* o : op.outputs) TF_OpDefinitionBuilderAddOutput(builder, o);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, op.shapes);
  TF_OpDefinitionBuilderSetIsStateful(builder, op.stateful);
  TF_RegisterOpDefinition(builder, status);
  if (TF_GetCode(status) != TF_OK) return;
  const auto create = [](TF_OpKernelConstruction* of) -> void* {
    TF_Status* made = TF_NewStatus();
    Attributes attributes(of, made);
    K* kernel = new (std::nothrow) K(attributes);
    if (!kernel) TF_SetStatus(made, TF_RESOURCE_EXHAUSTED, "no memory for a kernel");
    if (TF_GetCode(made) != TF_OK) TF_OpKernelConstruction_Failure(of, made);
    TF_DeleteStatus(made);
    return kernel;
  };
  const auto compute = [](void* kernel, TF_OpKernelContext* context) {
    Call call(context);
    try {
      static_cast<K*>(kernel)->compute(call);
    } catch (const std::bad_alloc&) {
      call.fail(TF_RESOURCE_EXHAUSTED, "no memory for this call");
    } catch (const std::exception& error) {
      call.fail(TF_INTERNAL, error.what());
    }
  };
  const auto destroy = [](void* kernel) { delete static_cast<K*>(kernel); };
  TF_RegisterKernelBuilder(op.name, TF_NewKernelBuilder(op.name, "CPU", create, compute, destroy), status);
}

}  // namespace hs
