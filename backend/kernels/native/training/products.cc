#include "products.h"

namespace hs::training {
namespace {

// As many sums as the registers hold.
#if HS_512
constexpr int ROWS = 8, VECTORS = 2;
#else
constexpr int ROWS = 6, VECTORS = 2;
#endif

template <int R, int N>
inline void tile(const Product& p, int64_t row, int64_t column) {
  const float* a = p.a + row * p.aRow;
  const float* b = p.b + column;
  float* c = p.c + row * p.cRow + column;
  V sum[R][N];
  HS_UNROLL for (int r = 0; r < R; r++)
    HS_UNROLL for (int n = 0; n < N; n++) sum[r][n] = p.add ? load(c + r * p.cRow + n * LANES) : V{};
  for (int64_t k = 0; k < p.inner; k++, a += p.aStep, b += p.bRow) {
    V right[N];
    HS_UNROLL for (int n = 0; n < N; n++) right[n] = load(b + n * LANES);
    HS_UNROLL for (int r = 0; r < R; r++) {
      const V left = splat(a[r * p.aRow]);
      HS_UNROLL for (int n = 0; n < N; n++) sum[r][n] += left * right[n];
    }
  }
  HS_UNROLL for (int r = 0; r < R; r++)
    HS_UNROLL for (int n = 0; n < N; n++) store(c + r * p.cRow + n * LANES, sum[r][n]);
}

template <int R, int N>
inline void lastRows(const Product& p, int64_t row, int64_t column) {
  if constexpr (R > 0) {
    if (p.rows - row >= R) tile<R, N>(p, row, column);
    else lastRows<R - 1, N>(p, row, column);
  }
}

template <int N>
void columns(const Product& p, int64_t column) {
  int64_t row = 0;
  for (; row + ROWS <= p.rows; row += ROWS) tile<ROWS, N>(p, row, column);
  lastRows<ROWS - 1, N>(p, row, column);
}

}  // namespace

void multiply(const Product& p) {
  int64_t column = 0;
  for (; column + VECTORS * LANES <= p.columns; column += VECTORS * LANES) columns<VECTORS>(p, column);
  for (; column < p.columns; column += LANES) columns<1>(p, column);
}

}  // namespace hs::training
