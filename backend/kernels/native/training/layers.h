// The parts of a narrow transformer on tokens [n, filled up width], forward and back.
#pragma once
#include "model.h"
#include "products.h"

namespace hs::training {

/** out[c · outRow + r] = x[r · row + c]. */
void transpose(const float* x, int64_t row, int64_t rows, int64_t columns, float* out, int64_t outRow);

/** x · Wᵀ, and the bias where there is one. @param columns W transposed [in, out], filled up; `bias` may be null */
void linear(const float* x, int64_t xRow, int64_t n, const float* columns, const float* bias, const Part& w, float* y);

/** Gradients of a linear layer: adds to dw [out, in] and db, and gives or adds dy · W. @param rows W, filled up; db and dx may be null */
struct LinearBack {
  const float* x;
  int64_t xRow, n;
  const float* dy;
  const float* rows;
  float* dw;
  float* db;
  float* dx;
  bool add;
};
void linearBack(const LinearBack& call, const Part& w);

/** Means and inverse deviations of a token's numbers. */
struct NormStats {
  float mean, inverse;
};

struct NormCall {
  Norm kind;
  float epsilon;
  int64_t width, n;
  const float* scale;   // filled up
  const float* offset;  // null: none
};
void normalise(const NormCall& call, const float* x, float* y, NormStats* stats);
/** Adds to the gradients of scale and offset, and to dx. */
void normaliseBack(const NormCall& call, const float* x, const NormStats* stats, const float* dy, float* dScale, float* dOffset, float* dx);

/** y = f(x) over n numbers, a multiple of LANES. */
void activate(Activation f, const float* x, int64_t n, float* y);
/** dy *= f'(x). */
void activateBack(Activation f, const float* x, int64_t n, float* dy);

/** Turns the heads of a token by its position's cosines and sines [head], or back. */
void turn(float* heads, int64_t count, int64_t head, const float* cos, const float* sin, bool back);

/** Causal attention of one head of one sequence: the last `queries` of `keys` tokens ask. */
struct HeadCall {
  int64_t queries, keys, head;  // head: filled up
  const float* q;               // times the scores' scale [queries, head], a row every qRow
  int64_t qRow;
  const float* k;  // [keys, head]
  const float* v;
  int64_t kvRow;
  float* pattern;  // [queries, filled(keys)]: above the diagonal zeros, as far as a block of queries reaches
  float* across;   // room for [head, filled(keys)]
};
/** @param z [queries, head], a row every qRow */
void attendHead(const HeadCall& call, float* z);
/** Gradients of the head, which they become. @param dScores room for [queries, filled(keys)] */
struct HeadBack {
  const float* dz;
  float* dScores;
  float* dq;
  float* dk;
  float* dv;
};
void attendHeadBack(const HeadCall& call, const HeadBack& back);

/**
 * Attention of one head of a sequence's last token, straight to the stream: a score q · (K x) is (Kᵀ q) · x, and what the head writes is
 * V of the pattern's mean of the stream. So no token has a key or a value, which are most of such a layer's work.
 */
struct StreamCall {
  int64_t keys, width;  // width: filled up
  const float* query;   // Kᵀ q, times the scores' scale [width]
  const float* x;       // what keys and values are made of [keys, width]
  float* pattern;       // [filled(keys)]
};
/** @param mean of x by the pattern [width] */
void attendStream(const StreamCall& call, float* mean);
/** Gives dQuery, adds to dx. @param dScores room for [keys] */
struct StreamBack {
  const float* dMean;
  float* dScores;
  float* dQuery;
  float* dx;
};
void attendStreamBack(const StreamCall& call, const StreamBack& back);

/** Cross-entropy of a token, and its logits' gradient in their place. @param logits [filled(outputs)] @return weight · loss */
double crossEntropy(float* logits, int64_t outputs, int32_t target, float weight);
/** Mean squared error of a token, and its outputs' gradient in their place. */
double squaredError(float* out, int64_t outputs, const float* target, float weight);

}  // namespace hs::training
