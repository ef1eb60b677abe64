// The tables of a pass over all layers, as ops are given them.
#pragma once
#include "call.h"
#include "attention/pages.h"

namespace hs {

/** The part of a table [layers, ...] that belongs to the layer that an input names. @param c its failure is told @param at of several layers, which */
template <class T>
const T* ofLayer(Call& c, const Input& table, const Input& layer, int64_t at = 0) {
  if (!c.ok()) return nullptr;
  const int64_t row = layer.as<int32_t>()[at], layers = table.dims[0];
  if (!c.check(row >= 0 && row < layers, wrong("there is no such layer", row, layers))) return nullptr;
  return reinterpret_cast<const T*>(table.as<int32_t>() + row * (table.count / layers));
}

}  // namespace hs
