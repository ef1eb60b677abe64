// Memory of caches. A page has room for some rows of keys and as many of values of one KV head, in one kind; ops name pages by number.
// A page of codes is made whole, of another one.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache.h"
#include "coded/coded.h"
#include "../team.h"

namespace hs {

class Page {
 public:
  /** Rows of zeros. @param channels of the keys that there is room for; none: all @throws std::bad_alloc */
  Page(CacheKind kind, int64_t width, int64_t rows, std::vector<int32_t> channels = {});
  /** Rows in codes. */
  Page(std::shared_ptr<const CodedRows> coded, int64_t width, int64_t rows);
  Page(const Page&) = delete;
  ~Page();
  int64_t bytes() const { return coded ? coded->bytes() : rows * (keyBytes + rowBytes); }
  uint8_t* keys(int64_t row) const { return data_ + row * keyBytes; }
  uint8_t* values(int64_t row) const { return data_ + rows * keyBytes + row * rowBytes; }
  /** Numbers of a key that its rows hold. */
  int64_t keyWidth() const { return channels.empty() ? width : int64_t(channels.size()); }

  const CacheKind kind;
  const int64_t width, rows;
  /** The channels of the keys that its rows hold, ascending, where these are not all; the others are 0. */
  const std::vector<int32_t> channels;
  /** Of a key and of a value. */
  const int64_t keyBytes, rowBytes;
  /** Of a page of kind CODED, which has no rows of bytes. Null in others. */
  const std::shared_ptr<const CodedRows> coded;

  /** Rows in float32. @param keys, values [count, width] */
  void read(int64_t row, int64_t count, float* keys, float* values) const;
  /** Writes a row. @param key, value [width] */
  void write(int64_t row, const float* key, const float* value) const;

 private:
  void readKey(int64_t row, float* to) const;
  void* memory_ = nullptr;
  uint8_t* data_ = nullptr;
};

/** The pages of this process. A number is not given twice; a page that is freed while a call uses it goes when the call ends. */
class Pages {
 public:
  static Pages& get();
  /** @return the page's number @throws std::bad_alloc */
  int32_t make(CacheKind kind, int64_t width, int64_t rows, std::vector<int32_t> channels = {});
  /** A page of the same kind with the first rows of another, which may have more or fewer (codes: as many). @return -1 where there is no such page */
  int32_t copy(int32_t of, int64_t rows);
  /**
   * A page of codes with the rows of another page. @param positions of the rows, where keys are turned back
   * @param number of the page that is made @return what is wrong
   */
  std::string code(int32_t of, const Coding& coding, const int32_t* positions, int32_t& number);
  /** Copies rows of a page into another of its width: as they are held, or what codes or keys of some channels stand for. @return what is wrong; then nothing is copied */
  std::string copyRows(int32_t from, int64_t row, int32_t to, int64_t toRow, int64_t count);
  /** @return whether there was such a page */
  bool free(int32_t number);
  /** Bytes of all pages. */
  int64_t bytes();

  /** Finds pages while nobody makes or frees one. */
  class Finder {
   public:
    explicit Finder(Pages& pages) : pages_(pages), lock_(pages.mutex_) {}
    /** @return null where there is none */
    std::shared_ptr<Page> find(int32_t number) const {
      const auto found = pages_.pages_.find(number);
      return found == pages_.pages_.end() ? nullptr : found->second;
    }

   private:
    Pages& pages_;
    std::lock_guard<std::mutex> lock_;
  };

 private:
  int32_t add(std::shared_ptr<Page> page);

  std::mutex mutex_;
  std::unordered_map<int32_t, std::shared_ptr<Page>> pages_;
  int32_t last_ = -1;
  int64_t bytes_ = 0;
};

/**
 * Rows row .. row + count - 1 of a page, which hold positions position .. position + count - 1. A negative position -n is that of one
 * row that stands for n tokens before all queries: each sees it, and its score is the larger by ln n.
 */
struct Span {
  int32_t page, row, position, count;
};

/**
 * The spans of one KV head of one sequence, and what of them a query sees: of the last `local` positions (0: of all) the last `window`
 * (0: all) and those below `sink`.
 */
struct List {
  int32_t first, spans, window, sink, local;
};

/** A span where it lies. */
struct Run {
  const Page* page;
  int32_t row, position, count;
  const uint8_t* keys() const { return page->keys(row); }
  const uint8_t* values() const { return page->values(row); }
  /** Tokens that its row stands for; 0: rows of one token each. */
  int32_t weight() const { return position < 0 ? -position : 0; }
};

/** What lists hold, found and kept until a call ends. */
class Held {
 public:
  /** Finds the pages of lists. @return what is wrong; empty where nothing is */
  std::string find(const List* lists, int64_t count, const Span* spans, int64_t spanCount);

  /** Of all the pages; 0 where the lists hold none. */
  int64_t width = 0;
  /** Width of the widest row in memory. */
  int64_t padded = 0;
  std::vector<Run> runs;
  /** The first run of each list, and their number at the end. */
  std::vector<int64_t> firsts;

 private:
  std::vector<std::shared_ptr<Page>> pages_;
};

/** Where a token's key and value go in a KV head; page -1: nowhere. */
struct Slot {
  int32_t page, row;
};

struct WriteCall {
  int64_t tokens, kvHeads, width;
  const float *keys, *values;  // [tokens, kvHeads, width]
  const Slot* slots;           // [tokens, kvHeads]
};

/** Writes keys and values to their slots. @return what is wrong with the call; then nothing is written */
std::string writeRows(Team& team, const WriteCall& call);

/** @return "what (a, b)" */
inline std::string wrong(const char* what, int64_t a, int64_t b) {
  return std::string(what) + " (" + std::to_string(a) + ", " + std::to_string(b) + ")";
}

}  // namespace hs
