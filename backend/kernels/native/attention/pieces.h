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
  int32_t skip, count;     // from `skip` rows into a run on
  int32_t oldest, newest;  // positions
  CacheKind kind;          // of all its rows, whose keys are of the same channels; in codes they are of one page
  int32_t weight;          // tokens that its one row stands for; 0: rows of one token each
};

/** Rows of a piece, one after the other. */
struct Places {
  alignas(64) int32_t position[MOST_PIECE];
  const uint8_t *keys[MOST_PIECE], *values[MOST_PIECE];
};

/** The page of a piece's first row: all of a piece are of its kind, and their keys of its channels. */
inline const Page& pageOf(const Held& held, const Piece& piece) { return *held.runs[piece.run].page; }

/** Rows of a page of codes that a piece of those has at most that are decoded, from a multiple of it on: they fit the first cache. */
constexpr int CODED_PIECE = 64;

/** Rows of codes in float32, kept from piece to piece. */
struct Decoded {
  std::vector<float> memory;
  float* take(size_t count) {
    if (memory.size() < count + 16) memory.resize(count + 16);
    return memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64 / sizeof(float);
  }
};

/** Says that a piece is attended to in its codes: of MOST_PIECE rows at most, all of a page's of codes that are quick. */
bool isQuick(const Held& held, const Piece& piece);

/** Cuts what lists hold into pieces of `size` rows of one kind and of the same channels, some smaller. @param firsts the first piece of each list, and their number */
std::vector<Piece> cut(const Held& held, int32_t size, std::vector<int64_t>& firsts);

/** The rows of a piece; positions behind them, up to whole vectors, are such that nobody sees them. @return their kind: codes are decoded */
CacheKind placesOf(const Held& held, const Piece& piece, Places& places, Decoded& decoded);

/** The positions alone. */
void positionsOf(const Held& held, const Piece& piece, Places& places);

/** The positions by row of a quick piece's page; of rows that are not the piece's such that nobody sees them. @return the page's rows */
int positionsByRow(const Held& held, const Piece& piece, Places& places);

/** Brings numbers by row of a quick piece's page into the piece's order. @param to not `from` */
void inOrder(const Held& held, const Piece& piece, const float* from, float* to);

}  // namespace hs
