// What follows pooling: RMS norm, rotation of the last 64 dims, for the indexer's keys the Hadamard
// transform, quantisation, and the store in a cache. A row is held by kLanes lanes side by side,
// four consecutive dims each; kernels that pool and kernels that read pooled rows end here, so that
// both write the same bytes.
//
//   latent (512)    y = norm(x); dims 0-447 rounded to bf16 before they are quantised; dims 448-511
//                   rotated unrounded, then rounded once to bf16
//   indexer (128)   y = norm(x), dims 64-127 rotated, Hadamard transform, all in fp32; quantised
//
// The row's position is seq_len - ratio, that of its first token. Where the rotation's table has no
// such position, or the cache no such location, nothing is written.
#pragma once
#include <wavejit/cache/row.cuh>
#include <wavejit/compress/plan.cuh>
#include <wavejit/core/integers.cuh>
#include <wavejit/core/report.cuh>
#include <wavejit/norm/rms.cuh>
#include <wavejit/num/hadamard.cuh>
#include <wavejit/num/rope.cuh>

namespace wavejit {

template <class Layout, class Weight>
struct FinishParams : Reports {
  CachePages<Layout> cache;
  const Weight* weight;  // [dims]
  const float* angles;   // [positions, 64]: cos, sin, cos, ...
  Integers out_loc;
  int64_t positions;
  int64_t locations;  // of out_loc
  float eps;
};

// Where a plan's row goes. The location is on its way until it is asked for.
struct FinishedRow {
  FetchedInteger loc{};
  uint32_t position = 0;  // one that the table has
  bool is_wanted = false;

  // What the location says, which the cache may not hold, or -1.
  __device__ __forceinline__ int64_t slot() const { return is_wanted ? loc.value() : -1; }
};

template <class LayoutType, class Rules, class WeightType, int kRatio>
struct Finish {
  using Layout = LayoutType;
  using Weight = WeightType;
  using Params = FinishParams<Layout, Weight>;
  static constexpr int kItems = 4;
  static constexpr int kDims = Layout::kDims;
  static constexpr int kLanes = kDims / kItems;
  static constexpr int kRotated = 64;
  using Place = RowPlace<Layout, kItems>;
  // For rows whose lanes come to the store at once: whole waves of them where they are that many.
  static constexpr Together kTogether =
      kLanes % arch::kWaveSize == 0 ? Together::kWave : Together::kGroup;

  // A length below kRatio, or kInvalidRow, has none that a table has: one of 2^32 takes 1 TiB.
  __device__ __forceinline__ static bool has_position(const Params& p, uint32_t seq_len) {
    return seq_len - kRatio < p.positions;
  }
  // Of a row whose location has been asked for.
  __device__ __forceinline__ static FinishedRow located(const Params& p, uint32_t seq_len,
                                                        const FetchedInteger& loc) {
    const bool is_wanted = has_position(p, seq_len);
    return {loc, is_wanted ? seq_len - kRatio : 0, is_wanted};
  }
  __device__ __forceinline__ static FinishedRow locate(const Params& p, uint32_t seq_len,
                                                       int64_t index) {
    if (index >= p.locations) return {};
    return located(p, seq_len, p.out_loc.fetch(index));
  }
  // Of row `entry` of a plan: a decode step's is that of a request, a chunk's names its token.
  __device__ __forceinline__ static FinishedRow locate(const Params& p, const DecodePlan& plan,
                                                       int64_t entry, bool) {
    return locate(p, plan.seq_len % kRatio == 0 ? plan.seq_len : kInvalidRow, entry);
  }
  __device__ __forceinline__ static FinishedRow locate(const Params& p, const CompressPlan& plan,
                                                       int64_t, bool wide) {
    return locate(p, plan.seq_len, ragged_id_of(plan, wide));
  }

  // Where the dims of the row's lane `lane` go.
  __device__ __forceinline__ static Place place_of(const Params& p, const FinishedRow& row,
                                                   int lane) {
    return Place::of(p.cache, row.slot(), lane);
  }

  // What a checked build says of the row (core/report.cuh); one lane of it calls this.
  template <class Plan>
  __device__ __forceinline__ static void report(const Params& p, const Plan& plan, int64_t entry,
                                                bool wide) {
    if constexpr (kIsChecked) report(p, plan.seq_len, index_of(plan, entry, wide), entry);
  }
  __device__ __forceinline__ static void report(const Params& p, uint32_t seq_len, int64_t index,
                                                int64_t entry) {
    if (seq_len == kInvalidRow || seq_len % kRatio != 0 || seq_len == 0) return;
    report_if(p, index >= p.locations, Index::kPlanToken, index, entry, 3);
    const int64_t loc = index < p.locations ? p.out_loc[index] : -1;
    if (loc < 0) return;
    report_if(p, loc >= p.cache.capacity, Index::kLocation, loc, entry);
    report_outside_if(p, true, Index::kPosition, int64_t{seq_len} - kRatio, p.positions, entry);
  }
  __device__ __forceinline__ static int64_t index_of(const DecodePlan&, int64_t entry, bool) {
    return entry;
  }
  __device__ __forceinline__ static int64_t index_of(const CompressPlan& plan, int64_t, bool wide) {
    return ragged_id_of(plan, wide);
  }

  // Shared memory for what the lanes of a row will need; each lane reads only what it asked for.
  struct Parcel {
    Vec<float, kItems> weight[sizeof(Weight) == 4 ? kLanes : 1];
    Vec<float, kItems> angles[kRotated / kItems];
  };

  // What a lane needs beside its part of the row.
  struct Constants {
    Vec<Weight, kItems> raw;
    Tile<kItems> weight;
    Tile<kItems> angles;  // of lanes that rotate

    __device__ __forceinline__ static int rotated(int lane) {  // which of them, or below 0
      return lane - (kDims - kRotated) / kItems;
    }
    __device__ __forceinline__ static const float* angles_of(const Params& p,
                                                             const FinishedRow& row, int lane) {
      return p.angles + static_cast<unsigned>(rotated(lane)) * kItems +
             uint64_t{row.position} * kRotated;
    }

    __device__ __forceinline__ void load(const Params& p, const FinishedRow& row, int lane) {
      weight = load_tile<kItems>(p.weight + lane * kItems);
      if (rotated(lane) >= 0) angles = load_tile<kItems>(angles_of(p, row, lane));
    }
    // The same, and on their way from here on.
    __device__ __forceinline__ void load_now(const Params& p, const FinishedRow& row, int lane) {
      weight = load_tile_now<kItems>(p.weight + lane * kItems);
      if (rotated(lane) >= 0) angles = load_tile_now<kItems>(angles_of(p, row, lane));
    }

    // The same in two steps, of which the first needs few registers until the second.
    __device__ __forceinline__ void ask(const Params& p, const FinishedRow& row, int lane,
                                        Parcel& parcel) {
      if constexpr (sizeof(Weight) == 4) {
        copy_to_shared(&parcel.weight[lane], p.weight + lane * kItems);
      } else {
        raw = *reinterpret_cast<const Vec<Weight, kItems>*>(p.weight + lane * kItems);
      }
      if (rotated(lane) >= 0) {
        copy_to_shared(&parcel.angles[rotated(lane)], angles_of(p, row, lane));
      }
    }
    __device__ __forceinline__ void take(int lane, const Parcel& parcel) {
      wait_for_copies();
      if constexpr (sizeof(Weight) == 4) {
        weight = widen(parcel.weight[lane]);
      } else {
        weight = widen(raw);
      }
      if (rotated(lane) >= 0) angles = widen(parcel.angles[rotated(lane)]);
    }
  };

  // A lane's dims as they are stored. `sum` is the row's sum of squares.
  __device__ __forceinline__ static Tile<kItems> finished(const Params& p,
                                                          const Constants& constants,
                                                          const Tile<kItems>& x, float sum,
                                                          int lane, Site at = Site::here()) {
    const bool rotates = Constants::rotated(lane) >= 0;
    Tile<kItems> y = normalise(x, inverse_rms<kDims>(sum, p.eps), constants.weight);
    if (rotates) y = rotate(y, constants.angles);
    if constexpr (Layout::kIsLatent) return rotates ? y : round_through<bfloat16>(y);
    return hadamard(y, lane, at);
  }

  // Every lane of a row that the cache holds calls it.
  template <Together kLanesAre = Together::kGroup>
  __device__ __forceinline__ static void store(const Params& p, const Place& place,
                                               const Constants& constants, const Tile<kItems>& x,
                                               float sum, int lane, Site at = Site::here()) {
    const Tile<kItems> y = finished(p, constants, x, sum, lane, at);
    store_row_at<Layout, Rules, kLanesAre>(place, lane, y, at);
  }
};

// Finishes rows that lie in lanes 0 to kLanes - 1 of a block, or, where a row has no more lanes
// than a group, in those of each group. Every lane of the block calls it then, `lane` being its
// number among those of its row.
template <class Finish>
struct BlockFinish {
  static constexpr int kItems = Finish::kItems;
  static constexpr int kLanes = Finish::kLanes;
  static constexpr int kGroups = kLanes / kGroupSize;
  struct Shared {
    Vec<float, kGroups> partials;
  };

  __device__ __forceinline__ static float row_sum_of(const Tile<kItems>& x, int lane,
                                                     Shared& shared, Site at) {
    if constexpr (kGroups == 1) return row_sum<kLanes>(sum_of_squares(x), at);
    if (lane < kLanes) {
      const float sum = row_sum<kGroupSize>(sum_of_squares(x), at);
      if (lane % kGroupSize == 0) shared.partials.values[lane / kGroupSize] = sum;
    }
    sync_block(at);
    return tree_of(shared.partials);
  }
  __device__ __forceinline__ static float tree_of(Vec<float, kGroups> sums) {
#pragma unroll
    for (int step = 1; step < kGroups; step *= 2) {
#pragma unroll
      for (int g = 0; g < kGroups; g += 2 * step) {
        sums.values[g] = sums.values[g] + sums.values[g + step];
      }
    }
    return sums.values[0];
  }

  template <Together kLanesAre = Together::kGroup>
  __device__ __forceinline__ static void run(const typename Finish::Params& p,
                                             const typename Finish::Place& place,
                                             const typename Finish::Constants& constants,
                                             const Tile<kItems>& x, int lane, Shared& shared,
                                             Site at = Site::here()) {
    const float sum = row_sum_of(x, lane, shared, at);
    if (lane < kLanes) {
      Finish::template store<kLanesAre>(p, place, constants, x, sum, lane, at);
    }
  }

  // A row on its way from the lanes that pooled it to those that finish it, in shared memory. After
  // kGroups fours of dims there is room for one, so that lanes which read that many side by side
  // meet in no bank.
  struct HandedRow {
    static constexpr unsigned kStep = kGroups > 1 ? kGroups + 1 : 1;
    Vec<float, kItems> fours[kLanes / kGroups * kStep];

    __device__ __forceinline__ float* address(unsigned channel) {
      return &fours[place_of(channel / kItems)].values[0] + channel % kItems;
    }
    template <int kTile>
    __device__ __forceinline__ void put(unsigned channel, const Tile<kTile>& tile) {
      static_assert(kItems % kTile == 0);
      store_tile(address(channel), tile);
    }
    __device__ __forceinline__ Tile<kItems> four(unsigned number) const {
      return widen(fours[place_of(number)]);
    }
    // Of all its squares, in every lane of a group.
    __device__ __forceinline__ float sum(unsigned lane, Site at) const {
      const Vec<float, kItems>* own = fours + lane % kGroupSize * kStep;
      Tile<kItems * kGroups> part;
#pragma unroll
      for (int i = 0; i < kItems * kGroups; ++i) {
        part.values[i] = own[i / kItems].values[i % kItems];
      }
      return row_sum<kGroupSize>(sum_of_squares(part), at);
    }

   private:
    __device__ __forceinline__ static unsigned place_of(unsigned four) {
      return four / kGroups * kStep + four % kGroups;
    }
  };
  // Each group of lanes adds up the whole of it, which takes less time than a barrier. Only the
  // row's lanes call it.
  __device__ __forceinline__ static void run_handed(const typename Finish::Params& p,
                                                    const typename Finish::Place& place,
                                                    const typename Finish::Constants& constants,
                                                    const HandedRow& row, int lane,
                                                    Site at = Site::here()) {
    Finish::template store<Finish::kTogether>(p, place, constants, row.four(lane),
                                              row.sum(lane, at), lane, at);
  }
};

}  // namespace wavejit
