#include "pages.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace hs {
namespace {

constexpr size_t LINE = 64;  // bytes of a cache line, at which pages begin

/** Slots one after the other in a page, of tokens one after the other. */
struct SlotRun {
  int32_t page;
  int64_t row, count;
};

}  // namespace

Page::Page(CacheKind kind, int64_t width, int64_t rows, std::vector<int32_t> some)
    : kind(kind),
      width(width),
      rows(rows),
      channels(std::move(some)),
      keyBytes(cacheRowBytes(kind, channels.empty() ? cacheWidth(kind, width) : channelWidth(kind, keyWidth()))),
      rowBytes(cacheRowBytes(kind, cacheWidth(kind, width))),
      coded(nullptr) {
  memory_ = std::calloc(size_t(bytes()) + LINE, 1);  // a large one is given memory when it is first written
  if (!memory_) throw std::bad_alloc();
  const size_t over = reinterpret_cast<uintptr_t>(memory_) % LINE;
  data_ = static_cast<uint8_t*>(memory_) + LINE - over;
}

Page::Page(std::shared_ptr<const CodedRows> coded, int64_t width, int64_t rows)
    : kind(CacheKind::CODED), width(width), rows(rows), keyBytes(0), rowBytes(0), coded(std::move(coded)) {}

Page::~Page() { std::free(memory_); }

void Page::readKey(int64_t row, float* to) const {
  if (channels.empty()) return readCacheRow(kind, keys(row), int(width), to);
  float some[MOST_WIDTH];
  readCacheRow(kind, keys(row), int(channels.size()), some);
  std::fill(to, to + width, 0.f);
  for (size_t i = 0; i < channels.size(); i++) to[channels[i]] = some[i];
}

void Page::write(int64_t row, const float* key, const float* value) const {
  writeCacheRow(kind, value, int(width), values(row));
  if (channels.empty()) return writeCacheRow(kind, key, int(width), keys(row));
  float some[MOST_WIDTH];
  uint8_t filled[4 * MOST_WIDTH];
  for (size_t i = 0; i < channels.size(); i++) some[i] = key[channels[i]];
  writeCacheRow(kind, some, int(channels.size()), filled);
  memcpy(keys(row), filled, size_t(keyBytes));
}

void Page::read(int64_t row, int64_t count, float* keys, float* values) const {
  if (!coded) {
    for (int64_t t = row; t < row + count; t++, keys += width, values += width) {
      readKey(t, keys);
      readCacheRow(kind, this->values(t), int(width), values);
    }
    return;
  }
  constexpr int64_t SOME = 8;  // rows that codes are read by
  const int64_t d = coded->padded();
  std::vector<float> wide(size_t(2 * SOME * d));
  for (int64_t first = row / SOME * SOME; first < row + count; first += SOME) {
    coded->decode(first, SOME, wide.data(), wide.data() + SOME * d);
    for (int64_t t = std::max(first, row); t < std::min(first + SOME, row + count); t++) {
      const float* from = wide.data() + (t - first) * d;
      std::copy(from, from + width, keys + (t - row) * width);
      std::copy(from + SOME * d, from + SOME * d + width, values + (t - row) * width);
    }
  }
}

Pages& Pages::get() {
  static Pages* const pages = new Pages();  // never destroyed: a call may be running when the process ends
  return *pages;
}

int32_t Pages::add(std::shared_ptr<Page> page) {
  std::lock_guard<std::mutex> lock(mutex_);
  do last_ = last_ == INT32_MAX ? 0 : last_ + 1;
  while (pages_.count(last_));
  bytes_ += page->bytes();
  pages_[last_] = std::move(page);
  return last_;
}

int32_t Pages::make(CacheKind kind, int64_t width, int64_t rows, std::vector<int32_t> channels) {
  return add(std::make_shared<Page>(kind, width, rows, std::move(channels)));
}

int32_t Pages::copy(int32_t of, int64_t rows) {
  const std::shared_ptr<Page> from = Finder(*this).find(of);
  if (!from) return -1;
  if (from->coded) return rows == from->rows ? add(std::make_shared<Page>(from->coded, from->width, rows)) : -1;
  auto page = std::make_shared<Page>(from->kind, from->width, rows, from->channels);
  const int64_t count = std::min(rows, from->rows);
  memcpy(page->keys(0), from->keys(0), size_t(count * page->keyBytes));
  memcpy(page->values(0), from->values(0), size_t(count * page->rowBytes));
  return add(std::move(page));
}

std::string Pages::copyRows(int32_t from, int64_t row, int32_t to, int64_t toRow, int64_t count) {
  std::shared_ptr<Page> source, target;
  {
    const Finder finder(*this);
    source = finder.find(from), target = finder.find(to);
  }
  if (!source || !target) return wrong("a page to copy is not there", from, to);
  if (target->coded) return wrong("a page of codes is made whole, and takes no rows", to, row);
  if ((source->kind != target->kind && !source->coded) || source->width != target->width) return wrong("pages are not of one kind and width", from, to);
  if (row < 0 || count < 0 || row + count > source->rows) return wrong("rows to copy end behind their page", row + count, source->rows);
  if (toRow < 0 || toRow + count > target->rows) return wrong("copied rows end behind their page", toRow + count, target->rows);
  if (source->coded || source->channels != target->channels) {
    std::vector<float> keys(size_t(count * source->width)), values(keys.size());
    source->read(row, count, keys.data(), values.data());
    for (int64_t t = 0; t < count; t++) target->write(toRow + t, keys.data() + t * source->width, values.data() + t * source->width);
    return "";
  }
  memmove(target->keys(toRow), source->keys(row), size_t(count * source->keyBytes));
  memmove(target->values(toRow), source->values(row), size_t(count * source->rowBytes));
  return "";
}

std::string Pages::code(int32_t of, const Coding& coding, const int32_t* positions, int32_t& number) {
  const std::shared_ptr<Page> from = Finder(*this).find(of);
  if (!from) return wrong("a page to code is not there", of, 0);
  if (from->coded) return wrong("a page is in codes already", of, 0);
  const std::string fault = faultOf(coding, from->width, from->rows);
  if (!fault.empty()) return fault;
  for (int64_t t = 0; coding.rotation && t < from->rows; t++)
    if (positions[t] < 0 || positions[t] >= coding.rotation->positions) return wrong("a position has no rotation", positions[t], coding.rotation->positions);
  std::vector<float> keys(size_t(from->rows * from->width)), values(keys.size());
  from->read(0, from->rows, keys.data(), values.data());
  auto coded = std::make_shared<const CodedRows>(coding, from->width, from->rows, positions, keys.data(), values.data());
  number = add(std::make_shared<Page>(std::move(coded), from->width, from->rows));
  return "";
}

bool Pages::free(int32_t number) {
  std::shared_ptr<Page> freed;  // its memory goes after the lock
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = pages_.find(number);
  if (found == pages_.end()) return false;
  freed = std::move(found->second);
  bytes_ -= freed->bytes();
  pages_.erase(found);
  return true;
}

int64_t Pages::bytes() {
  std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}

std::string Held::find(const List* lists, int64_t count, const Span* spans, int64_t spanCount) {
  const Pages::Finder finder(Pages::get());
  for (int64_t l = 0; l < count; l++) {
    const List& list = lists[l];
    firsts.push_back(int64_t(runs.size()));
    if (list.first < 0 || list.spans < 0 || list.window < 0 || list.sink < 0 || list.local < 0) return wrong("a list has a negative number", l, list.first);
    if (int64_t(list.first) + list.spans > spanCount) return wrong("a list ends behind the spans", l, spanCount);
    for (int64_t s = list.first; s < int64_t(list.first) + list.spans; s++) {
      const Span& span = spans[s];
      if (span.row < 0 || span.count < 0) return wrong("a span has a negative number", s, span.count);
      if (span.position < 0 && (span.count != 1 || span.position == INT32_MIN)) return wrong("a span's position is negative, and it is not of one row", s, span.count);
      if (int64_t(span.position) + span.count > INT32_MAX) return wrong("a span's positions are too large", s, span.position);
      auto page = finder.find(span.page);
      if (!page) return wrong("a span's page is not there", s, span.page);
      if (int64_t(span.row) + span.count > page->rows) return wrong("a span ends behind its page's rows", s, page->rows);
      if (width != 0 && width != page->width) return wrong("pages are of several widths", width, page->width);
      width = page->width;
      padded = std::max(padded, page->coded ? page->coded->padded() : cacheWidth(page->kind, width));
      runs.push_back({page.get(), span.row, span.position, span.count});
      pages_.push_back(std::move(page));
    }
  }
  firsts.push_back(int64_t(runs.size()));
  return "";
}

std::string writeRows(Team& team, const WriteCall& c) {
  std::vector<std::shared_ptr<Page>> pages;  // kept until the end
  std::vector<const Page*> to(size_t(c.tokens * c.kvHeads));
  std::vector<SlotRun> runs;
  {
    const Pages::Finder finder(Pages::get());
    for (int64_t g = 0; g < c.kvHeads; g++) {
      int32_t last = -1;  // the page at the end of `pages`
      bool follows = false;
      for (int64_t t = 0; t < c.tokens; t++) {
        const int64_t i = t * c.kvHeads + g;
        const Slot& slot = c.slots[i];
        if (slot.page == -1) {
          follows = false;
          continue;
        }
        if (slot.page != last) {
          auto page = finder.find(slot.page);
          if (!page) return wrong("a slot's page is not there", i, slot.page);
          if (page->width != c.width) return wrong("a page is not as wide as the rows", page->width, c.width);
          if (page->coded) return wrong("a page of codes is made whole, and takes no rows", i, slot.page);
          pages.push_back(std::move(page));
          last = slot.page;
          follows = false;
        }
        const Page* page = to[size_t(i)] = pages.back().get();
        if (slot.row < 0 || slot.row >= page->rows) return wrong("a page has no such row", slot.row, page->rows);
        if (follows && slot.row == runs.back().row + runs.back().count) runs.back().count++;
        else runs.push_back({slot.page, slot.row, 1});
        follows = true;
      }
    }
  }
  std::sort(runs.begin(), runs.end(), [](const SlotRun& a, const SlotRun& b) { return a.page != b.page ? a.page < b.page : a.row < b.row; });
  for (size_t i = 1; i < runs.size(); i++)
    if (runs[i].page == runs[i - 1].page && runs[i].row < runs[i - 1].row + runs[i - 1].count)
      return wrong("two tokens have one slot", runs[i].page, runs[i].row);
  const int64_t count = c.tokens * c.kvHeads;
  team.share(count, team.stepFor(count, 4 * c.width), [&](int64_t from, int64_t until) {
    for (int64_t i = from; i < until; i++) {
      const Page* page = to[size_t(i)];
      if (!page) continue;
      page->write(c.slots[i].row, c.keys + i * c.width, c.values + i * c.width);
    }
  });
  return "";
}

}  // namespace hs
