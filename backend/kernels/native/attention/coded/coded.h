// Rows of a page of keys and values in 2, 3, 4, 6 or 8 bits a number, groups of which share a scale and a least number. Keys are in
// groups of tokens for each channel, values in groups of channels for each token. A code stands for a whole number (integers between
// the least and the largest of a group), for one of up to 16 levels, or for a small float; the numbers furthest out of a group, and the
// first rows, may be held as they are. Keys may lie there before the rotation, which they are given as they are read.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace hs {

/** Cosines, then sines, of the angles of each position: [positions][2][rotary / 2]. */
struct Rotation {
  int64_t rotary, positions;
  std::vector<float> turns;
};

/** The rotations of this process, by numbers that are not given twice. */
class Rotations {
 public:
  static Rotations& get();
  int32_t add(Rotation rotation);
  /** @return null where there is none */
  std::shared_ptr<const Rotation> find(int32_t number);
  /** Pages that use it keep it. @return whether there was one */
  bool free(int32_t number);

 private:
  std::mutex mutex_;
  std::unordered_map<int32_t, std::shared_ptr<const Rotation>> rotations_;
  int32_t last_ = -1;
};

/** The meaning of codes. */
enum class Book : int { INTEGERS = 0, LEVELS = 1, FLOATS = 2 };
constexpr int BOOKS = 3;
constexpr int MOST_LEVELS = 16;

/** A way to hold a page's rows. */
struct Coding {
  int bits;
  Book book;
  int mantissa, bias;                       // of FLOATS: bits of the mantissa, and what exponents are held with
  int largest;                              // of FLOATS: the code of the largest number, without a sign
  int keyGroup, valueGroup;                 // tokens of a channel, channels of a token that share a scale
  int keyOutliers, valueOutliers;           // of each group, numbers held as they are at either end
  int firstRows;                            // held as they are
  bool halves;                              // scales and least numbers in half precision
  float levels[2][MOST_LEVELS];             // of LEVELS, ascending: of keys, of values
  std::shared_ptr<const Rotation> rotation;  // where keys lie before it
};

/** @return what is wrong with a coding of pages of some width and rows; empty where nothing is */
std::string faultOf(const Coding& coding, int64_t width, int64_t rows);

/** Rows of a page, whole: they are written together, and never changed. */
class CodedRows {
 public:
  /** @param positions [rows], read where keys are turned back @param keys, values [rows, width] @throws std::bad_alloc */
  CodedRows(const Coding& coding, int64_t width, int64_t rows, const int32_t* positions, const float* keys, const float* values);
  CodedRows(const CodedRows&) = delete;
  ~CodedRows();

  int64_t bytes() const { return bytes_; }
  /** Width in memory: filled up with zeros to a multiple of 16. */
  int64_t padded() const { return d_; }

  /** Rows in float32. @param from, count multiples of 8 @param keys, values [count, padded()] */
  void decode(int64_t from, int64_t count, float* keys, float* values) const;

  /** Rows that `score` and `gather` take, if they are as `isQuick` says. */
  static constexpr int MOST_QUICK = 128;
  static constexpr int MOST_QUERIES = 4;
  /** Says that codes are multiplied as they are: nothing lies outside of them, and groups are whole vectors. */
  bool isQuick() const { return quick_; }
  /** Scores of all rows. @param count of queries, up to MOST_QUERIES @param q [padded()] @param scores [count][MOST_QUICK] */
  void score(int count, const float* const* q, float (*scores)[MOST_QUICK]) const;
  /** Asks for what `score`, or `gather`, will read. */
  void prefetch(bool keys) const;
  /** Sums of all rows' values by weights. @param z [padded()] */
  void gather(int count, const float (*weights)[MOST_QUICK], float* const* z) const;

 private:
  /** Where keys, or values, lie. */
  struct Side {
    // Codes, of 3 and 6 bits in two parts. Bytes of vectors of 16 numbers: of a channel's keys those of 16 tokens, of a token's values
    // those of 16 channels. In one byte lie the codes of several blocks of 16 tokens, or of several tokens.
    uint8_t *low, *high;
    uint8_t *scales, *least;    // keys: [groups, d]; values: [groups, rows]; least null for FLOATS
    uint16_t* outlierPlaces;    // [vectors, 2 outliers]: keys: rows; values: channels
    float *outliers, *first;    // first [rows, d]
    const float* levels;
    int64_t groups, vectors;
    int outliersEach;
  };

  size_t arrange(uint8_t* memory);
  void encode(const Side& side, bool isKey, const float* x);
  void decodeKeys(int64_t from, int64_t count, float* out) const;
  void decodeValues(int64_t from, int64_t count, float* out) const;
  void turn(float* keys, int64_t from, int64_t count, bool back) const;

  const Coding coding_;
  const int64_t width_, d_, rows_;
  const int64_t long_;  // rows, filled up to whole bytes of each channel's keys
  const bool quick_;
  const uint8_t* end_ = nullptr;  // of what is held
  int64_t bytes_ = 0;
  void* memory_ = nullptr;
  Side keys_{}, values_{};
  int32_t* positions_ = nullptr;
  alignas(64) float table_[2][MOST_LEVELS];  // numbers by code, again and again
};

}  // namespace hs
