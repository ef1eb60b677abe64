// A narrow transformer as a training step sees it: its sizes, and the places of its parameters in one vector.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace hs::training {

enum class Norm : int { None = 0, Layer = 1, Rms = 2 };
enum class Activation : int { Relu = 0, Gelu = 1, GeluNew = 2, Silu = 3 };

/** The sizes of a model and of its task. */
struct TrainedSizes {
  int64_t layers, heads, width, head;  // width of the residual stream, and of a head
  int64_t mlp;                         // width of an MLP's hidden layer; 0: no MLPs
  Activation activation;
  Norm norm;
  float epsilon, scale;       // of norms, of scores
  bool rotary;                // whether queries and keys are turned, in halves
  int64_t positions;          // of a sequence
  int64_t inputs;             // token ids, or numbers of a vector
  bool tokens;                // whether sequences are token ids
  int64_t outputs;            // classes, or numbers of a vector
  bool classes;               // cross-entropy, or the mean squared error
  bool last;                  // only the last position has an output
  std::vector<int64_t> readout;  // widths of ReLU layers before the output
  int64_t queries() const { return last ? 1 : positions; }
};

/** Filled up with zeros to whole vectors of any processor. */
inline int64_t filled(int64_t n) { return (n + 15) / 16 * 16; }

/**
 * A matrix [out, in] or a vector [1, in] of the parameters. Beside them it is held filled up, and groups of its rows or columns, which
 * are heads, each for themselves: so are the gradients of a piece of a batch.
 */
struct Part {
  int64_t offset = -1;  // in the vector of parameters; -1: the model has none
  int64_t out = 0, in = 0;
  int64_t outGroup = 0, inGroup = 0;  // outGroup 0: a vector
  int64_t at = 0;                     // in a vector of filled up parts
  bool here() const { return offset >= 0; }
  int64_t rows() const { return outGroup == 0 ? 1 : out / outGroup * filled(outGroup); }
  int64_t columns() const { return in / inGroup * filled(inGroup); }
  int64_t row(int64_t i) const { return outGroup == 0 ? i : i / outGroup * filled(outGroup) + i % outGroup; }
  int64_t column(int64_t i) const { return i / inGroup * filled(inGroup) + i % inGroup; }
};

/** A layer that multiplies: its matrix and, where the model has one, its bias. */
struct Linear {
  Part weight, bias;
};

/** The parts of a model in the order in which the places of the op name them. */
struct TrainedModel {
  struct Block {
    Part normScale, normOffset, qkv, o, mlpNormScale, mlpNormOffset;
    Linear mlpIn, mlpOut;
  };
  TrainedSizes sizes;
  Linear embed;
  Part positions;
  std::vector<Block> blocks;
  Part normScale, normOffset;  // before the output
  std::vector<Linear> readout;
  Linear unembed;
  int64_t parameters = 0;  // of the vector
  int64_t filledSize = 0;  // of a vector of filled up parts

  /** Every part that the model has. */
  std::vector<const Part*> parts() const;
  /** Filled up widths of the residual stream and of all heads side by side. */
  int64_t stream() const { return filled(sizes.width); }
  int64_t allHeads() const { return sizes.heads * filled(sizes.head); }
};

/** Number of places of a model: 3 + 10 a block + 2 + 2 a readout layer + 2. */
int64_t placesOf(const TrainedSizes& sizes);

/**
 * Makes a model of places: first numbers of its parts, -1 where it has none.
 * @param wrong what cannot be; empty where nothing is
 */
TrainedModel modelAt(const TrainedSizes& sizes, const int32_t* places, int64_t parameters, std::string& wrong);

}  // namespace hs::training
