// The c128 compressor's device functions (ratio 128, window 128): what a block does for one slice
// of channels of one entry. The templates that call them state shapes, rounding and what is
// skipped.
#pragma once
#include <wavejit/compress/block_pool.cuh>
#include <wavejit/compress/plan.cuh>
#include <wavejit/compress/report.cuh>

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
    __device__ __forceinline__ void load(const Input* ape, const Share& share) {
      const Input* first = ape + share.lane.first_row * kHeadDim + share.channel();
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

  // What a block does for one request: nothing, save its row, compress, or both.
  struct Step {
    uint32_t seq_len;
    int32_t write_loc = -1;
    int32_t page = -1;  // of the window; -1: the request does not end a group
    int32_t own = -1;   // which candidate is the current token's row

    __device__ __forceinline__ Step(const DecodeParams& p, const DecodePlan& plan) {
      seq_len = plan.seq_len;
      // Without a sign: what is below 0 is beyond every tensor.
      const uint64_t pages = static_cast<uint64_t>(p.pages);
      const uint32_t loc = static_cast<uint32_t>(plan.write_loc);
      const uint32_t last = static_cast<uint32_t>(plan.read_page_1);
      if (loc < pages * kRatio) write_loc = plan.write_loc;
      const bool ends_group = seq_len % kRatio == 0 && seq_len > 0;
      if (!ends_group || last >= pages) return;
      page = plan.read_page_1;
      if (write_loc >= 0 && loc / kRatio == last) own = static_cast<int32_t>(loc % kRatio);
    }
  };

  // The last candidate of a group: the current token's row, or one of the ring.
  template <int kTile>
  __device__ __forceinline__ static void load_last_row(Window<kTile>& window, const State* ring,
                                                       const Input* own) {
    constexpr int kLast = kPoolGroupRows - 1;
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
  __device__ __forceinline__ static void load_window(Window<Share::kTile>& window,
                                                     const DecodeParams& p, const Step& step,
                                                     const Share& share) {
    const State* first = p.state +
                         (step.page * int64_t{kRatio} + share.lane.first_row) * kRowWidth +
                         share.channel();
    const int own = step.own - share.lane.first_row;  // in the lane's candidates, or not
    const Input* own_row = p.input + share.entry * p.input_stride + share.channel();
    constexpr int kLast = kPoolGroupRows - 1;
    if (own < 0 || own >= kLast) {  // nearly every step: no load waits for another
#pragma unroll
      for (int i = 0; i < kLast; ++i) load_ring_row(window, i, first + i * kRowWidth);
      load_last_row(window, first + kLast * kRowWidth, own == kLast ? own_row : nullptr);
      return;
    }
    const auto value = round_through<State>(load_tile_once<Share::kTile>(own_row));
    const auto score = round_through<State>(load_tile_once<Share::kTile>(own_row + kHeadDim));
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

  // A request's row, which one block writes whole: pieces written by many blocks at many times cost
  // memory a tenth of its rate. Loaded beside the window, stored once its loads are on their way.
  template <int kLanes>
  struct OwnRow {
    static constexpr int kItems = 4;
    static constexpr int kPasses = (kRowWidth + kLanes * kItems - 1) / (kLanes * kItems);
    Tile<kItems> tiles[kPasses];

    __device__ __forceinline__ static int column(int pass, int lane) {
      return (pass * kLanes + lane) * kItems;
    }
    __device__ __forceinline__ void load(const DecodeParams& p, int64_t request, int lane) {
#pragma unroll
      for (int k = 0; k < kPasses; ++k) {
        if (column(k, lane) >= kRowWidth) continue;
        tiles[k] = load_tile_once<kItems>(p.input + request * p.input_stride + column(k, lane));
      }
    }
    __device__ __forceinline__ void store(const DecodeParams& p, int32_t loc, int lane) const {
      State* row = p.state + loc * int64_t{kRowWidth};
#pragma unroll
      for (int k = 0; k < kPasses; ++k) {
        if (column(k, lane) < kRowWidth)
          store_leaving(reinterpret_cast<Vec<State, kItems>*>(row + column(k, lane)),
                        narrow<State>(tiles[k]));
      }
    }
  };

  // A step of few requests, which waits for one load after another: what the plan does not decide
  // is asked for beside it.
  template <class Share>
  struct Early {
    OwnRow<Share::kThreads> own;
    Bias<Share::kTile> bias;

    // The own row by the last block: where blocks hand over, the first may have more to do.
    __device__ __forceinline__ void load(const DecodeParams& p, const Share& share) {
      if (share.is_last()) own.load(p, share.entry, static_cast<int>(thread_x()));
      bias.load(p.ape, share);
    }
  };
  // `ask` is called of a request that ends a group, once its window is on its way.
  template <class Share, class Ask>
  __device__ __forceinline__ static void decode(const DecodeParams& p, const Step& step,
                                                const Share& share, const Early<Share>& early,
                                                typename Share::Groups& groups, const Ask& ask) {
    Window<Share::kTile> window;
    if (step.page >= 0) {
      load_window(window, p, step, share);
      ask();
    }
    if (share.is_last() && step.write_loc >= 0) {
      early.own.store(p, step.write_loc, static_cast<int>(thread_x()));
    }
    if (step.page >= 0) pool(window, early.bias, share, groups);
  }

  // Pools the slice into `groups` if the request ends a group; `saves`: this block writes its row.
  // kBiasFirst: without waiting for ape behind the window, for more registers.
  template <bool kBiasFirst = true, class Share, class Ask>
  __device__ __forceinline__ static void decode(const DecodeParams& p, const Step& step,
                                                const Share& share, bool saves,
                                                typename Share::Groups& groups, const Ask& ask) {
    OwnRow<Share::kThreads> own;
    const int lane = static_cast<int>(thread_x());
    saves = saves && step.write_loc >= 0;  // the same in every lane
    Bias<Share::kTile> bias;
    Window<Share::kTile> window;
    constexpr bool kOwnFirst = Share::kTile > 1;  // else the window leaves no registers for it
    if (kOwnFirst && saves) own.load(p, share.entry, lane);
    if (step.page >= 0) {
      if (kBiasFirst) bias.load(p.ape, share);
      load_window(window, p, step, share);
      ask();
    }
    if (!kOwnFirst && saves) own.load(p, share.entry, lane);
    if (saves) own.store(p, step.write_loc, lane);
    if (step.page < 0) return;
    if (!kBiasFirst) bias.load(p.ape, share);
    pool(window, bias, share, groups);
  }

  // -- prefill -----------------------------------------------------------------------------------

  static constexpr int kPrefillTile = kPoolTile<Input>;

  // The window of an entry, of which from_ring leading candidates come from the ring.
  template <class Share>
  __device__ __forceinline__ static void load_window(Window<kPrefillTile>& window,
                                                     const PrefillParams& p, int32_t page,
                                                     int64_t last_row, int from_ring,
                                                     const Share& share) {
    const int first = share.lane.first_row;
    const Input* row =
        p.input + (last_row - (kRatio - 1) + first) * p.input_stride + share.channel();
    if (from_ring <= first) {  // nearly every entry: independent loads and no branch
#pragma unroll
      for (int i = 0; i < kPoolGroupRows; ++i) load_row(window, i, row + i * p.input_stride);
      return;
    }
    const State* ring = p.state + (page * int64_t{kRatio} + first) * kRowWidth + share.channel();
#pragma unroll
    for (int i = 0; i < kPoolGroupRows; ++i) {
      if (first + i < from_ring) {
        load_ring_row(window, i, ring + i * kRowWidth);
      } else {
        load_row(window, i, row + i * p.input_stride);
      }
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

  // Pools the slice of a valid row into `groups`. `ask` is called once the window is on its way.
  template <class Share, class Ask>
  __device__ __forceinline__ static void prefill(const PrefillParams& p, const Chunk& chunk,
                                                 const Share& share, typename Share::Groups& groups,
                                                 const Ask& ask) {
    Window<kPrefillTile> window;
    load_window(window, p, chunk.page, chunk.last_row, chunk.from_ring, share);
    Bias<Share::kTile> bias;
    bias.load(p.ape, share);
    ask();
    pool(window, bias, share, groups);
  }
};

}  // namespace wavejit
