// The c128 compressor's device functions (ratio 128, window 128): what a block does for one slice
// of channels of one entry. The templates that call them state shapes, rounding and what is
// skipped.
#pragma once
#include <wavejit/compress/block_pool.cuh>
#include <wavejit/compress/plan.cuh>
#include <wavejit/compress/report.cuh>
#include <wavejit/compress/whole_row.cuh>

namespace wavejit {

template <class One, class Other>
inline constexpr bool kIsSame = false;
template <class One>
inline constexpr bool kIsSame<One, One> = true;

template <int kDim, class StateType, class InputType>
struct C128 {
  using State = StateType;
  using Input = InputType;
  static constexpr int kHeadDim = kDim;
  static constexpr int kRatio = 128;
  static constexpr int kWindow = kRatio;
  static constexpr int kRowWidth = 2 * kHeadDim;
  static_assert(kRatio == kPoolRows && kHeadDim % 64 == 0 && kHeadDim > 0);

  struct DecodeParams : Reports {
    State* state;
    const Input* input;
    const Input* ape;
    const DecodePlan* plan;
    int64_t input_stride;
    int64_t requests;
    int64_t pages;
  };
  struct PrefillParams : Reports {
    const State* state;
    const Input* input;
    const Input* ape;
    const CompressPlan* plan;
    int64_t input_stride;
    int64_t input_rows;
    int64_t entries;
    int64_t pages;
    int32_t wide;
    uint32_t row_bytes;  // of the input, from one row to the next
    uint32_t plain_rows;
  };

  // The entry of this block and its slice of channels.
  template <int kTileSize>
  struct Share {
    static constexpr int kTile = kTileSize;
    static constexpr int kThreads = kPoolThreads;
    static constexpr int kSlice = PoolLane<kTile>::kSlice;
    static constexpr int kBlocks = kHeadDim / kSlice;  // of an entry
    static_assert(kBlocks * kSlice == kHeadDim);
    using Groups = PoolGroups<kTile>;
    int64_t entry = block_x() / kBlocks;
    int slice = static_cast<int>(block_x() % kBlocks) * kSlice;  // its channel
    PoolLane<kTile> lane;

    __device__ __forceinline__ int channel() const { return slice + lane.channel; }
    __device__ __forceinline__ static bool is_first() { return block_x() % kBlocks == 0; }
    __device__ __forceinline__ static bool is_last() { return block_x() % kBlocks == kBlocks - 1; }
  };

  template <int kTile>
  using Window = Candidates<kPoolGroupRows, kTile>;

  template <int kTile>
  __device__ __forceinline__ static void load_row(Window<kTile>& window, int i, const Input* row) {
    window.scores[i] = load_tile_once<kTile>(row + kHeadDim);
    window.values[i] = load_tile_once<kTile>(row);
  }
  // What lies in the ring has been rounded to State; the arithmetic sees it rounded to Input.
  template <int kTile>
  __device__ __forceinline__ static void load_ring_row(Window<kTile>& window, int i,
                                                       const State* row) {
    window.scores[i] = round_through<Input>(load_tile_once<kTile>(row + kHeadDim));
    window.values[i] = round_through<Input>(load_tile_once<kTile>(row));
  }

  // The lane's part of ape.
  template <int kTile>
  struct Bias {
    Tile<kTile> rows[kPoolGroupRows];

    template <class Share>
    __device__ __forceinline__ static const Input* first(const Input* ape, const Share& share) {
      return ape + share.lane.first_row * kHeadDim + share.channel();
    }
    __device__ __forceinline__ void load(const Input* first) {
#pragma unroll
      for (int i = 0; i < kPoolGroupRows; ++i) {
        rows[i] = widen(load_now(reinterpret_cast<const Vec<Input, kTile>*>(first + i * kHeadDim)));
      }
    }
  };

  // score + ape in fp32, the groups' sums, a barrier: then `groups` has the slice. Every lane of
  // the block calls it.
  template <class Share>
  __device__ __forceinline__ static void pool(Window<Share::kTile>& window,
                                              const Bias<Share::kTile>& bias, const Share& share,
                                              typename Share::Groups& groups) {
#pragma unroll
    for (int i = 0; i < kPoolGroupRows; ++i) {
#pragma unroll
      for (int k = 0; k < Share::kTile; ++k) {
        window.scores[i].values[k] = window.scores[i].values[k] + bias.rows[i].values[k];
      }
    }
    groups.add(window, share.lane);
    sync_block();
  }

  // -- decode ------------------------------------------------------------------------------------

  static constexpr int kDecodeTile = kPoolTile<State>;
  // Of many requests: longer pieces of a row, which memory gives faster; lanes are plenty.
  static constexpr int kManyTile = 2;

  // Where the channels of a lane of a step lie, which it may find out before its plan is here.
  template <class Share>
  struct StepLane {
    const State* ring;  // in the first page, from its first candidate on
    const Input* own;   // in the request's row
    const Input* ape;

    __device__ __forceinline__ StepLane(const DecodeParams& p, const Share& share)
        : ring(p.state + share.lane.first_row * kRowWidth + share.channel()),
          own(p.input + share.entry * p.input_stride + share.channel()),
          ape(Bias<Share::kTile>::first(p.ape, share)) {}
  };
  // What makes a lane's StepLane: before it is called where a lane has one channel (see decode).
  template <class Share>
  __device__ __forceinline__ static auto lane_maker(const DecodeParams& p, const Share& share) {
    const StepLane<Share> lane(p, share);
    return [lane, &p, &share] { return Share::kTile == 1 ? lane : StepLane<Share>(p, share); };
  }
  // Whether the request ends a group whose last row is its own: nearly every one that ends any.
  // Without a sign, as below, what is negative is beyond the 2^24 pages that a plan can name.
  __device__ __forceinline__ static bool is_usual(const DecodeParams& p, const DecodePlan& plan) {
    const uint32_t page = static_cast<uint32_t>(plan.read_page_1);
    return (plan.seq_len % kRatio == 0) & (plan.seq_len != 0) &
           (page < static_cast<uint32_t>(p.pages)) &
           (static_cast<uint32_t>(plan.write_loc) == page * kRatio + (kRatio - 1));
  }
  // What a block does for one request: nothing, save its row, compress, or both.
  struct Step {
    int32_t write_loc = -1;
    int32_t page = -1;  // of the window; -1: the request does not end a group
    int32_t own = -1;   // which candidate is the current token's row

    __device__ __forceinline__ Step(const DecodeParams& p, const DecodePlan& plan) {
      const uint32_t pages = static_cast<uint32_t>(p.pages);
      const uint32_t loc = static_cast<uint32_t>(plan.write_loc);
      const uint32_t last = static_cast<uint32_t>(plan.read_page_1);
      if (loc / kRatio < pages) write_loc = plan.write_loc;
      const bool ends_group = plan.seq_len % kRatio == 0 && plan.seq_len > 0;
      if (!ends_group || last >= pages) return;
      page = plan.read_page_1;
      if (loc / kRatio == last) own = static_cast<int32_t>(loc % kRatio);
    }
  };

  // The last candidate of a group: the current token's row, or one of the ring.
  static constexpr int kLast = kPoolGroupRows - 1;
  template <int kTile>
  __device__ __forceinline__ static void load_last_row(Window<kTile>& window, const State* ring,
                                                       const Input* own) {
    if constexpr (kIsSame<State, Input>) {
      load_ring_row(window, kLast, own ? own : ring);
    } else if (!own) {
      load_ring_row(window, kLast, ring);
    } else {
      load_row(window, kLast, own);
      window.scores[kLast] = round_through<Input>(round_through<State>(window.scores[kLast]));
      window.values[kLast] = round_through<Input>(round_through<State>(window.values[kLast]));
    }
  }

  template <class Share>
  __device__ __forceinline__ static void load_usual_window(Window<Share::kTile>& window,
                                                           const StepLane<Share>& lane,
                                                           const DecodePlan& plan,
                                                           const Share& share) {
    const uint32_t page = static_cast<uint32_t>(plan.read_page_1);
    const State* first = lane.ring + uint64_t{page} * (kRatio * kRowWidth);
#pragma unroll
    for (int i = 0; i < kLast; ++i) load_ring_row(window, i, first + i * kRowWidth);
    const bool is_own = share.lane.first_row == kRatio - kPoolGroupRows;
    load_last_row(window, first + kLast * kRowWidth, is_own ? lane.own : nullptr);
  }
  // That of any request that ends a group, also of a usual one where kUsualToo.
  template <bool kUsualToo, class Share>
  __device__ __forceinline__ static void load_window(Window<Share::kTile>& window,
                                                     const StepLane<Share>& lane, const Step& step,
                                                     const Share& share) {
    const State* first = lane.ring + step.page * int64_t{kRatio * kRowWidth};
    const int own = step.own - share.lane.first_row;  // in the lane's candidates, or not
    if (kUsualToo && (own < 0 || own >= kLast)) {
#pragma unroll
      for (int i = 0; i < kLast; ++i) load_ring_row(window, i, first + i * kRowWidth);
      load_last_row(window, first + kLast * kRowWidth, own == kLast ? lane.own : nullptr);
      return;
    }
    const auto value = round_through<State>(load_tile_once<Share::kTile>(lane.own));
    const auto score = round_through<State>(load_tile_once<Share::kTile>(lane.own + kHeadDim));
#pragma unroll
    for (int i = 0; i < kPoolGroupRows; ++i) {
      if (i != own) {
        load_ring_row(window, i, first + i * kRowWidth);
      } else {
        window.values[i] = round_through<Input>(value);
        window.scores[i] = round_through<Input>(score);
      }
    }
  }

  template <class Share>
  using OwnRow = WholeRow<kRowWidth, Share::kThreads>;
  // A step of few requests, which waits for one load after another: what the plan does not decide
  // is asked for beside it.
  template <class Share>
  struct Early {
    OwnRow<Share> own;
    Bias<Share::kTile> bias;

    // The own row by the last block: where blocks hand over, the first may have more to do.
    __device__ __forceinline__ void load(const DecodeParams& p, const StepLane<Share>& place,
                                         const Share& share) {
      if (share.is_last()) own.load(p.input + share.entry * p.input_stride);
      bias.load(place.ape);
    }
  };
  // Returns whether the request ends a group; `ask` is called once its window is on its way.
  template <class Share, class Ask>
  __device__ __forceinline__ static bool decode(const DecodeParams& p, const DecodePlan& plan,
                                                const StepLane<Share>& lane, const Share& share,
                                                const Early<Share>& early,
                                                typename Share::Groups& groups, const Ask& ask) {
    Window<Share::kTile> window;
    bool pools = true;
    int32_t write_loc = plan.write_loc;
    if (__builtin_expect(is_usual(p, plan), true)) {
      load_usual_window(window, lane, plan, share);
    } else {
      const Step step(p, plan);
      write_loc = step.write_loc;
      pools = step.page >= 0;
      if (pools) load_window<false>(window, lane, step, share);
    }
    if (pools) ask();
    if (share.is_last() && write_loc >= 0) {
      early.own.store(p.state + write_loc * int64_t{kRowWidth});
    }
    if (pools) pool(window, early.bias, share, groups);
    return pools;
  }

  // Pools the slice into `groups` if the request ends a group, and returns whether it does;
  // `saves`: this block writes its row. kBiasFirst: without waiting for ape behind the window, for
  // more registers.
  template <bool kBiasFirst = true, class Share, class MakeLane, class Ask>
  __device__ __forceinline__ static bool decode(const DecodeParams& p, const DecodePlan& plan,
                                                const Share& share, const MakeLane& make_lane,
                                                bool saves, typename Share::Groups& groups,
                                                const Ask& ask) {
    // Several channels a lane: a step of many requests, most of which pool nothing and would be
    // held up by a second look, or a bf16 state. One channel: the window leaves no registers for
    // `own`.
    constexpr bool kSeveral = Share::kTile > 1;
    OwnRow<Share> own;
    Bias<Share::kTile> bias;
    Window<Share::kTile> window;
    bool pools = true;
    int32_t write_loc = plan.write_loc;
    if (!kSeveral && is_usual(p, plan)) {
      const StepLane<Share> lane = make_lane();
      if (kBiasFirst) bias.load(lane.ape);
      load_usual_window(window, lane, plan, share);
    } else {
      const Step step(p, plan);
      write_loc = step.write_loc;
      pools = step.page >= 0;
      saves = saves && write_loc >= 0;  // the same in every lane
      if (kSeveral && saves) own.load(p.input + share.entry * p.input_stride);
      if (pools) {
        const StepLane<Share> lane = make_lane();
        if (kBiasFirst) bias.load(lane.ape);
        load_window<kSeveral>(window, lane, step, share);
      }
    }
    if (pools) ask();
    if (!kSeveral && saves) own.load(p.input + share.entry * p.input_stride);
    if (saves) own.store(p.state + write_loc * int64_t{kRowWidth});
    if (!pools) return false;
    if (!kBiasFirst) bias.load(bias.first(p.ape, share));
    pool(window, bias, share, groups);
    return true;
  }

  // -- prefill -----------------------------------------------------------------------------------

  static constexpr int kPrefillTile = kPoolTile<Input>;

  // Where the channels of a lane of a chunk lie, which it may find out before its plan is here.
  template <class Share>
  struct ChunkLane {
    const char* input;  // in its first candidate's row of a window that begins the batch
    const Input* ape;

    __device__ __forceinline__ ChunkLane(const PrefillParams& p, const Share& share)
        : input(reinterpret_cast<const char*>(p.input + share.channel()) +
                uint64_t(share.lane.first_row) * p.row_bytes),
          ape(Bias<Share::kTile>::first(p.ape, share)) {}
  };

  // Whether all of the entry's window lies in the input: nearly every entry's.
  __device__ __forceinline__ static bool is_usual(const PrefillParams& p,
                                                  const CompressPlan& plan) {
    return (plan.seq_len != kInvalidRow) & (plan.where >= kRatio - 1) & (plan.where < p.plain_rows);
  }
  template <class Share>
  __device__ __forceinline__ static void load_usual_window(Window<kPrefillTile>& window,
                                                           const PrefillParams& p,
                                                           const ChunkLane<Share>& lane,
                                                           uint32_t last_row) {
    const char* first = lane.input + uint64_t{last_row - (kRatio - 1)} * p.row_bytes;
#pragma unroll
    for (int i = 0; i < kPoolGroupRows; ++i) {
      load_row(window, i, reinterpret_cast<const Input*>(first + uint64_t(i) * p.row_bytes));
    }
  }

  // A plan row, or what is skipped: it is invalid or points outside a tensor.
  struct Chunk {
    int64_t last_row;
    int from_ring;
    int32_t page;
    bool is_valid;

    __device__ __forceinline__ Chunk(const PrefillParams& p, const CompressPlan& plan) {
      last_row = ragged_id_of(plan, p.wide);
      const int64_t kept = buffer_len_of(plan, p.wide);
      from_ring = static_cast<int>(kept);
      page = plan.read_page_1;
      const bool in_ring = page >= 0 && page < p.pages;
      is_valid = plan.seq_len != kInvalidRow && last_row < p.input_rows && kept <= kRatio &&
                 (kept == 0 || in_ring) && (kept == kRatio || last_row - (kRatio - 1) + kept >= 0);
    }
  };
  // The window of a valid one, whose leading candidates come from the ring.
  template <class Share>
  __device__ __forceinline__ static void load_window(Window<kPrefillTile>& window,
                                                     const PrefillParams& p, const Chunk& chunk,
                                                     const Share& share) {
    const int first = share.lane.first_row;
    const Input* row =
        p.input + (chunk.last_row - (kRatio - 1) + first) * p.input_stride + share.channel();
    const State* ring =
        p.state + (chunk.page * int64_t{kRatio} + first) * kRowWidth + share.channel();
#pragma unroll
    for (int i = 0; i < kPoolGroupRows; ++i) {
      if (first + i < chunk.from_ring) {
        load_ring_row(window, i, ring + i * kRowWidth);
      } else {
        load_row(window, i, row + i * p.input_stride);
      }
    }
  }

  // Pools the slice of a plan row into `groups`. False: the row is invalid or points outside a
  // tensor. What reads nothing of the ring lets the next launch begin, which writes it. `ask` is
  // called once the window is on its way.
  template <class Share, class Ask>
  __device__ __forceinline__ static bool prefill(const PrefillParams& p, const CompressPlan& plan,
                                                 const ChunkLane<Share>& lane, const Share& share,
                                                 typename Share::Groups& groups, const Ask& ask) {
    Window<kPrefillTile> window;
    if (__builtin_expect(is_usual(p, plan), true)) {
      allow_next_launch();
      load_usual_window(window, p, lane, plan.where);
    } else {
      const Chunk chunk(p, plan);
      if (!chunk.is_valid) return false;
      if (chunk.from_ring == 0) allow_next_launch();
      load_window(window, p, chunk, share);
    }
    Bias<Share::kTile> bias;
    bias.load(lane.ape);
    ask();
    pool(window, bias, share, groups);
    return true;
  }
};

}  // namespace wavejit
