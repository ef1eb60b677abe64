// Attention's work in pieces of a few rows of what a list holds, in the list's order.
#pragma once
#include <cstdint>
#include <vector>

#include "pages.h"

namespace hs {

/** Rows that a piece has at most. */
constexpr int MOST_PIECE = 128;

/** Where a piece's rows lie. */
struct Piece {
  int64_t list, run;
  int32_t skip, count;      // from `skip` rows into a run on
  int32_t oldest, newest;  // positions
};

/** Rows of a piece, one after the other. */
struct Places {
  alignas(64) int32_t position[MOST_PIECE];
  const uint8_t *keys[MOST_PIECE], *values[MOST_PIECE];
};

/** Cuts what lists hold into pieces of `size` rows, the last of a list smaller. @param firsts the first piece of each list, and their number */
std::vector<Piece> cut(const Held& held, int32_t size, std::vector<int64_t>& firsts);

/** The rows of a piece; positions behind them, up to whole vectors, are such that nobody sees them. */
void placesOf(const Held& held, const Piece& piece, Places& places);

}  // namespace hs
