// Products of small matrices that lie in the caches: what a training step of a narrow model is made of. Columns are whole vectors (buffers
// are filled up with zeros), and each number is the sum of its products in the order of the inner index.
#pragma once
#include <cstdint>

#include "../simd.h"

namespace hs::training {

/** c[r · cRow + n] = the sum over k of a[r · aRow + k · aStep] · b[k · bRow + n], or that added to it. */
struct Product {
  const float* a;
  int64_t aRow, aStep;
  const float* b;
  int64_t bRow;
  float* c;
  int64_t cRow;
  int64_t rows, inner, columns;  // columns: a multiple of LANES
  bool add;
};

void multiply(const Product& p);

}  // namespace hs::training
