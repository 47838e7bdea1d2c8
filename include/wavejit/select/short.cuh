// The k largest of a row that one block holds in few registers, where the time is that of its chain
// of loads, barriers and dependent steps. Behind the loads there are three barriers: behind the
// counts by the first digit, behind the sums of their rows, and behind the candidates. What every
// group can find out by itself, it does. Where the first digit has many candidates, the rest is
// that of select/resident.cuh.
#pragma once
#include <wavejit/select/resident.cuh>

namespace wavejit {

// The same pointer, about which the compiler knows nothing, so that it is not computed again.
template <class T>
__device__ __forceinline__ T* held_from_here(T* pointer) {
  using Words = Vec<float, sizeof(T*) / sizeof(float)>;
  Words words = bit_cast<Words>(pointer);
#pragma unroll
  for (float& word : words.values) word = platform::opaque(word);
  return bit_cast<T*>(words);
}

template <int kThreads, int kItems>
struct ShortSelect {
  using Any = ResidentSelect<kThreads, kItems, 1, 0>;
  static constexpr int kLanes = kThreads;
  static constexpr int kClusterBlocks = 1;
  static constexpr uint32_t kPart = Any::kPart;
  static constexpr int kVectors = Any::kVectors;
  static constexpr uint32_t kMany = kGroupSize;  // candidates; more are not ranked here
  static constexpr uint32_t kAtOnce = 8;         // of which this many are compared with at once
  using Four = Vec<uint32_t, 4>;
  using Held = typename Any::Held;
  using Values = uint32_t[kVectors];
  static_assert(kItems <= 16 && kMany % kAtOnce == 0);

  // A candidate as a number that is larger the sooner it is selected; 0 is nobody's. The keys of a
  // digit differ in their last bits only, if it is none of those that hold all that is smaller or
  // larger.
  static constexpr int kColumnBits = 13;
  static_assert(kPart < 1u << kColumnBits && FirstDigit::kShift + kColumnBits <= 31);
  __device__ __forceinline__ static bool is_open(uint32_t digit) {
    return (digit + 1) % FirstDigit::kHalf <= 1;
  }
  __device__ __forceinline__ static uint32_t candidate_of(float comparable, uint32_t column) {
    const uint32_t last = ordered_key(comparable) & ((1u << FirstDigit::kShift) - 1);
    return last << kColumnBits | (kPart - column);
  }
  __device__ __forceinline__ static uint32_t column_of(uint32_t candidate) {
    return kPart - (candidate & ((1u << kColumnBits) - 1));
  }
  // A digit as a float: a whole number, which is compared like one.
  __device__ __forceinline__ static float as_float(uint32_t digit) {
    return bit_cast<float>(0x4b000000u + digit);
  }

  Any any;
  uint32_t before_row[kGroupSize + 1];  // counts of all rows of digits before
  alignas(16) uint32_t candidates[kMany];

  // What is known before the previous launch has ended.
  struct Early {
    PagesAhead ahead;
    bool whole;  // vectors up to the end of the block's part, at this address
    const float* scores;
    const uint32_t* length;
    const int32_t* entry;  // of this lane's page, or null

    __device__ __forceinline__ Early(const TopkParams& p, int64_t index)
        : ahead(p, 0, kPart, kThreads) {
      scores = p.scores + index * p.score_stride + Any::column_of_item(0);
      whole = p.eager && !p.starts.data && p.columns >= int64_t{kPart} &&
              reinterpret_cast<uintptr_t>(scores) % (4 * sizeof(float)) == 0;
      scores = held_from_here(whole ? scores : p.scores);
      length = held_from_here(p.lengths.address(index));
      const TopkPages pages(TopkPages::Request{index}, p);
      const uint32_t lane = thread_x();
      const bool has_page = ahead.held && !p.row_to_batch.data && lane < ahead.count;
      entry = held_from_here(has_page && lane < pages.count ? pages.entries + lane : nullptr);
    }
  };

  // Before the scores are there.
  __device__ __forceinline__ void clear() {
    if (thread_x() <= kGroupSize) before_row[thread_x()] = 0;
    if (thread_x() < kMany) candidates[thread_x()] = 0;
    any.clear();
  }

  // What Bins::find does, without a lane that tells the others.
  __device__ __forceinline__ Digit find(uint32_t wanted, Site at = Site::here()) {
    const unsigned lane = lane_in_group();
    uint32_t mine = 0;
    any.bins.visit_totals([&](unsigned row, uint32_t total) { mine += row <= lane ? total : 0; },
                          at);
    atomic_add(&before_row[lane + 1], mine);
    wait_for_copies();
    sync_block(at);
    const unsigned row = static_cast<unsigned>(count_lanes(before_row[lane + 1] < wanted, at));
    const Four four = *any.bins.four(row);
    uint32_t above = before_row[row];
    const uint32_t sum = four.values[0] + four.values[1] + four.values[2] + four.values[3];
    const uint32_t until = above + inclusive_scan<Sum>(sum, at);
    const uint32_t who = static_cast<uint32_t>(count_lanes(until < wanted, at));
    above = until - sum;
    constexpr int kCountBits = 13;
    static_assert(kPart < 1u << kCountBits);
    uint32_t packed = 0;
#pragma unroll
    for (int i = 3; i >= 0; --i) {
      const uint32_t inside = four.values[i];
      if (above < wanted) {
        packed = (inside << kCountBits | above) << 2 | static_cast<uint32_t>(i);
      }
      above += inside;
    }
    packed = broadcast(packed, static_cast<int>(who), at);
    constexpr uint32_t kCount = (1u << kCountBits) - 1;
    return {kBins - row * Bins<kThreads>::kRow - (who + 1) * 4 + packed % 4, packed >> 2 & kCount,
            packed >> (kCountBits + 2)};
  }

  // Items whose digit is larger than a number.
  __device__ __forceinline__ static uint32_t larger_than(const float (&digits)[kItems],
                                                         float with) {
    uint32_t bits = 0;
#pragma unroll
    for (int i = kItems - 1; i >= 0; --i) bits = platform::push_larger(bits, digits[i], with);
    return bits;
  }

  // The entries of the pages on their way.
  __device__ __forceinline__ void fetch_pages(const TopkParams& p, int64_t index,
                                              const Early& early) {
    if (p.row_to_batch.data != nullptr) return early.ahead.fetch(TopkPages(p, index), any.pages);
    if (early.entry) {
      copy_word_to_shared(&any.pages[thread_x()], early.entry);
    } else {
      any.pages[thread_x()] = -1;
    }
  }
  // The scores of a lane, the length of the row and its pages. False where all of the row is
  // selected.
  __device__ __forceinline__ bool load(const TopkParams& p, int64_t index, const Early& early,
                                       uint32_t& count, Held& score) {
    typename Any::Scores loaded;
    const FetchedInteger length = p.lengths.fetch_now_at(early.length);
    if (early.whole) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        loaded[v] =
            load_once(reinterpret_cast<const Vec<float, 4>*>(early.scores + v * Any::kStep));
      }
      fetch_pages(p, index, early);
      count = static_cast<uint32_t>(limited(length.value(), p.columns));
    } else {
      fetch_pages(p, index, early);
      const TopkRow row(p, index);
      count = static_cast<uint32_t>(limited(length.value(), row.columns));
      const uint32_t limit = p.eager ? row.columns : count;
      row.load(loaded, Any::column_of_item(0), Any::kStep, limit, kPart <= limit);
    }
    if (count <= static_cast<uint32_t>(p.k)) return false;
    Any::cut(loaded, 0, count);
#pragma unroll
    for (int i = 0; i < kItems; ++i) score.scores[i] = comparable(loaded[i / 4].values[i % 4]);
    return true;
  }

  // A window of at most kPart columns, behind `clear`. Every lane of the block calls it. False, and
  // nothing is done, where it has no more than k.
  __device__ __forceinline__ bool run(const TopkParams& p, int64_t index, const Early& early,
                                      uint32_t& count) {
    const uint32_t k = static_cast<uint32_t>(p.k);
    Held score;
    if (!load(p, index, early, count, score)) return false;
    float digits[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const uint32_t digit = FirstDigit::of(score.scores[i]);
      digits[i] = as_float(digit);
      any.bins.count(digit);
    }
    sync_block();
    const Digit found = find(k);
    const uint32_t wanted = k - found.above;
    const bool all = found.inside == wanted;
    if (all || (found.inside <= kMany && !is_open(found.digit))) {
      select_ranked(p, index, early, score, digits, found, wanted);
    } else {
      sync_block();  // the counts have been read
      any.select_from(found, p, index, 0, score, early.ahead);
    }
    return true;
  }

  // With few candidates for the last places, or where all of them are wanted.
  __device__ __forceinline__ void select_ranked(const TopkParams& p, int64_t index,
                                                const Early& early, const Held& score,
                                                const float (&digits)[kItems], const Digit& found,
                                                uint32_t wanted) {
    const bool all = found.inside == wanted;
    Values values;
    const bool has_slots = what_to_store(p, early, values);
    uint32_t chosen = larger_than(digits, as_float(found.digit - all));
    const uint32_t at_least = larger_than(digits, as_float(found.digit - 1));
    const uint32_t candidate = at_least & ~chosen;
    uint32_t claimed = 0;
    if (candidate != 0) claimed = claim(candidate);
    Places<kItems> places(chosen);
    const unsigned group = thread_x() / kGroupSize;
    if (lane_in_group() == 0) any.last.parts[group] = places.total();
    if (candidate != 0) offer(candidate, claimed, score);
    sync_block();
    uint32_t first = sum_in_group(lane_in_group() < group ? any.last.parts[lane_in_group()] : 0);
    if (!all) first += choose(found.inside, wanted, places, chosen);
    uint32_t* to = any.ordered() + first;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      uint32_t* mine = to + Places<kItems>::of(places.before, v);
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        if (chosen >> (4 * v + i) & 1) *mine++ = values[v] | i;
      }
      to += Places<kItems>::of(places.totals, v);
    }
    const uint32_t end = static_cast<uint32_t>(to - any.ordered());
    sync_group<kGroupSize>();
    if (has_slots) {
      store(p.out + index * p.k, first, end);
    } else {
      any.store(p, index, first, end, early.ahead);
    }
  }

  // The slots of a lane's vectors, or their columns where more than slots is to be stored; those of
  // item i have i in their last bits. A barrier has shown the pages.
  __device__ __forceinline__ bool what_to_store(const TopkParams& p, const Early& early,
                                                Values& values) const {
    static_assert(kItems >= 4);  // so that pages that are held have four columns and more
    const bool has_slots = !kIsChecked && early.ahead.held && !p.raw;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      values[v] = Any::column_of_item(4 * v);
      if (has_slots) {
        const uint32_t bits = static_cast<uint32_t>(p.page_bits);
        const int32_t entry = any.pages[values[v] >> bits];
        values[v] = static_cast<uint32_t>(TopkResults::slot(values[v], entry, bits));
      }
    }
    return has_slots;
  }
  // Stores the group's slots.
  __device__ __forceinline__ void store(int32_t* out, uint32_t first, uint32_t end) {
    const uint32_t* from = any.ordered();
    constexpr uint32_t kTogether = 4;
#pragma unroll 1
    for (uint32_t i = first + lane_in_group(); i < end; i += kTogether * kGroupSize) {
      uint32_t slots[kTogether];
#pragma unroll
      for (uint32_t j = 0; j < kTogether; ++j) {
        const uint32_t place = i + j * kGroupSize;
        if (place < end) slots[j] = from[place];
      }
#pragma unroll
      for (uint32_t j = 0; j < kTogether; ++j) {
        const uint32_t place = i + j * kGroupSize;
        if (place < end) out[place] = static_cast<int32_t>(slots[j]);
      }
    }
  }

  // Room for this lane's candidates. The order in which they come means nothing.
  __device__ __forceinline__ uint32_t claim(uint32_t items) {
    return add_sparsely(&any.last.arrivals, static_cast<uint32_t>(__builtin_popcount(items)),
                        items >> 31);
  }
  __device__ __forceinline__ void offer(uint32_t items, uint32_t to, const Held& score) {
    do {  // hardly ever twice
      float one = score.scores[0];
#pragma unroll
      for (int i = kItems - 1; i >= 0; --i) {
        if (items >> i & 1) one = score.scores[i];
      }
      const int item = static_cast<int>(lowest_bit(items));
      candidates[to++] = candidate_of(one, Any::column_of_item(item));
      items &= items - 1;
    } while (items != 0);
  }

  // Adds the wanted ones among the candidates of the group to what is chosen; what comes back is
  // how many there are in the groups before.
  __device__ __forceinline__ uint32_t choose(uint32_t count, uint32_t wanted,
                                             Places<kItems>& places, uint32_t& chosen,
                                             Site at = Site::here()) const {
    const unsigned lane = lane_in_group();
    const uint32_t mine = candidates[lane];
    uint32_t larger = 0;
#pragma unroll 1
    for (uint32_t first = 0; first < count; first += kAtOnce) {
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; i += 4) {
        const Four four = *reinterpret_cast<const Four*>(candidates + first + i);
#pragma unroll
        for (int j = 0; j < 4; ++j) larger += (mine - four.values[j]) >> 31;  // both below 2^31
      }
    }
    const uint32_t column = column_of(mine);
    const unsigned group = thread_x() / kGroupSize;
    const bool is_wanted = larger < wanted;
    uint32_t here = static_cast<uint32_t>(
        ballot<kGroupSize>(is_wanted && column / Any::kGroupPart == group, at));
    while (here != 0) {
      const uint32_t place =
          broadcast(column, static_cast<int>(lowest_bit(here)), at) % Any::kGroupPart;
      here &= here - 1;
      const uint32_t item = place / Any::kStep * 4 + place % 4;
      const uint32_t owner = place % Any::kStep / 4;
      if (lane == owner) chosen |= 1u << item;
      places.add(item / 4, owner < lane);
    }
    return static_cast<uint32_t>(count_lanes(is_wanted && column / Any::kGroupPart < group, at));
  }
};

}  // namespace wavejit
