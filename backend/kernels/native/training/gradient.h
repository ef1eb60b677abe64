// Loss and gradient of a batch of sequences: the step of training that takes the time. Sequences go through the whole model and back a few
// at a time, so that what lies between the layers stays in the processor's caches. A batch is cut into pieces by its own size alone;
// their gradients are added up in order, so that the bits do not depend on the number of threads.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "../team.h"
#include "model.h"

namespace hs::training {

struct GradientCall {
  int64_t seeds, rows;      // sequences of each seed
  const float* parameters;  // [seeds, parameters]
  const int32_t* tokens;    // [seeds, rows, positions], or null
  const float* vectors;     // [seeds, rows, positions, inputs]
  const int32_t* classes;   // [seeds, rows, queries], or null
  const float* values;      // [seeds, rows, queries, outputs]
  const float* weights;     // [seeds, rows, queries]
  const float* cosines;     // [positions, head], where the model turns
  const float* sines;
};

/** Says which token or class cannot be; empty where none is. */
std::string faultOf(const TrainedModel& model, const GradientCall& call);

struct GradientResult {
  float* losses;     // [seeds]: sum of weight · loss
  float* weights;    // [seeds]: sum of weights
  float* gradients;  // [seeds, parameters]: of the losses; null: none are wanted, and nothing goes back
  float* right = nullptr;  // [seeds], where nothing goes back: sum of the weights where the class has the largest output; 0 of values
};

/** Floats at the start of a cache line. */
struct Floats {
  explicit Floats(int64_t count) : data(static_cast<float*>(::operator new(sizeof(float) * size_t(count), std::align_val_t(64)))) {}
  Floats(const Floats&) = delete;
  ~Floats() { ::operator delete(data, std::align_val_t(64)); }
  float* const data;
};

/** Memory of calls, kept from one to the next. */
struct GradientScratch {
  std::unique_ptr<Floats> weights, gradients;
  int64_t weightsSize = 0, gradientsSize = 0;
  std::vector<std::unique_ptr<Floats>> free;  // one for each thread at work
  int64_t roomSize = 0;
  std::mutex mutex;
};

void gradient(Team& team, const TrainedModel& model, const GradientCall& call, GradientScratch& scratch, const GradientResult& result);

}  // namespace hs::training
