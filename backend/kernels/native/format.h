// Matrices [rows, width] packed for products with few vectors: tiles of 16 rows by 32 inputs, a lane for each row, so that no lanes
// need summing. The tiles of 16 rows lie one after the other; what is missing in the last rows and inputs is zero. A tile holds
//   F32        32 x 16 floats
//   F16        32 x 16 numbers of half precision
//   BF16       16 x 16 pairs of bfloat16: inputs 2i and 2i + 1
//   codes      16 scales for each block of inputs, then 16 minima for each where the format has minima; then
//     8 bits     8 x 16 groups of 4 signed codes: inputs 4g to 4g + 3
//     4 bits     4 x 16 groups of 4 bytes; the low halves are inputs 4g to 4g + 3, the high ones 16 + 4g to 16 + 4g + 3
// One format is not packed: float32 in row order, as the engine holds a matrix. A tile of it is 16 rows.
// A code c stands for (c - zero) * scale + min; 8-bit codes are held less their zero. Q4_0, Q4_1 and Q8_0 take what they take in a
// GGUF file, to the byte.
#pragma once
#include <cstddef>
#include <cstdint>

namespace hs {

constexpr int TILE_ROWS = 16;
constexpr int TILE_INPUTS = 32;

/** What a tile holds. The list of formats with their names is FORMATS of formats.ts; here a format is what is known of it. */
struct Format {
  int bits;         // of a weight; formats of 16 and 32 hold plain numbers
  int block;        // inputs that share a scale; 0 where there is none
  bool halfScales;  // scales and minima in half precision, else float32
  bool minima;
  bool brain;       // bfloat16 instead of half precision
  int zero;         // of 4-bit codes
  bool rows = false;  // float32 in row order, not packed

  int scaleBytes() const { return halfScales ? 2 : 4; }
  int blocks() const { return block == 0 ? 0 : TILE_INPUTS / block; }
  /** Bytes of a tile's scales, and of its minima. */
  int scalesBytes() const { return blocks() * TILE_ROWS * scaleBytes(); }
  /** Bytes before a tile's weights. */
  int head() const { return scalesBytes() * (minima ? 2 : 1); }
  int tileBytes() const { return head() + bits * TILE_ROWS * TILE_INPUTS / 8; }
  /** Says that kernels of this format are compiled. */
  bool isKnown() const {
    if (rows) return bits == 32 && block == 0 && !halfScales && !minima && !brain && zero == 0;
    if (block == 0) return (bits == 32 && !brain) || bits == 16 ? !halfScales && !minima && zero == 0 : false;
    if ((bits != 4 && bits != 8) || brain || zero < 0 || zero > (bits == 4 && !minima ? 15 : 0)) return false;
    return block == 32 || (block == 16 && !halfScales);
  }
};

/** A format from the number that formats.ts makes of it: bits, block and zero in a byte each, then what it has and is. */
inline Format formatOf(uint32_t code) {
  const bool halfScales = code >> 24 & 1, minima = code >> 25 & 1, brain = code >> 26 & 1, rows = code >> 27 & 1;
  return {int(code & 255), int(code >> 8 & 255), halfScales, minima, brain, int(code >> 16 & 255), rows};
}

/** A packed matrix where it lies. */
struct Packed {
  const Format* format;
  const uint8_t* data;
  int64_t rows, width;
  int64_t blocks() const { return (width + TILE_INPUTS - 1) / TILE_INPUTS; }
  int64_t tiles() const { return (rows + TILE_ROWS - 1) / TILE_ROWS; }
  /** Bytes of the tiles of 16 rows. */
  int64_t rowBytes() const { return format->rows ? 4 * TILE_ROWS * width : blocks() * format->tileBytes(); }
  int64_t bytes() const { return format->rows ? 4 * rows * width : tiles() * rowBytes(); }
  const uint8_t* tile(int64_t t) const { return data + t * rowBytes(); }
};

/** Codes as the engine holds them: [rows, width] with scales and minima [rows, width / block]. */
struct Codes {
  const uint8_t* codes;
  const float* scales;
  const float* minima;  // null where the format has none
  int zero;
};

/** Bytes of a row of a GGUF file in this format; 0 where its rows are packed from codes only. */
int64_t fileRowBytes(const Format& format, int64_t width);

/** Packs the rows [from, to) of tiles. @param file rows as they lie in a GGUF file @param out all tiles */
void packFile(const Packed& m, const uint8_t* file, int64_t from, int64_t to, uint8_t* out);

/** The same of codes. @return whether the scales and minima are kept as they are: false where half precision changes one */
bool packCodes(const Packed& m, const Codes& codes, int64_t from, int64_t to, uint8_t* out);

/** A tile's rows in float32. @param out [rows, width], of the whole matrix */
void unpackTile(const Packed& m, int64_t tile, float* out);

/** One row in float32. @param out [width] */
void unpackRow(const Packed& m, int64_t row, float* out);

}  // namespace hs
