// Weight matrices as ops are given them.
#pragma once
#include "call.h"
#include "format.h"

namespace hs {

/** A matrix that an op is given: packed [tiles, blocks, bytes of a tile], or in row order [rows, width]. @param type of the input */
inline Packed matrixInput(Call& c, int number, const Format& format, TF_DataType type, int64_t rows, int64_t width) {
  Packed m{&format, nullptr, rows, width};
  if (!c.check(rows >= 1 && width >= 1, "a matrix has no rows or no inputs")) return m;
  if (!c.check(type == (format.rows ? TF_FLOAT : TF_UINT8), "a matrix is not of its format's type")) return m;
  const Dims packed{m.tiles(), m.blocks(), format.rows ? 0 : format.tileBytes()};
  m.data = c.input(number, "w", format.rows ? Dims{rows, width} : packed).as<uint8_t>();
  return m;
}

}  // namespace hs
