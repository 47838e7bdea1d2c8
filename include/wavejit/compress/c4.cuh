// The c4 compressor's device functions (ratio 4, window 8, overlapped): what a lane does for its
// channels of one entry. The templates that call them state shapes, rounding and what is skipped.
#pragma once
#include <wavejit/compress/plan.cuh>
#include <wavejit/compress/pool.cuh>
#include <wavejit/compress/report.cuh>

namespace wavejit {

template <int kDim, class StateType, class InputType>
struct C4 {
  using State = StateType;
  using Input = InputType;
  static constexpr int kHeadDim = kDim;
  static constexpr int kRatio = 4;
  static constexpr int kWindow = 2 * kRatio;
  static constexpr int kRowWidth = 4 * kHeadDim;
  static_assert(kHeadDim % 64 == 0 && kHeadDim > 0);

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

  // The lane's channels of candidate i in a row that starts at `row`: its value and its score.
  template <class T>
  __device__ __forceinline__ static const T* value_of(const T* row, int i, int channel) {
    return row + (i < kRatio ? 0 : kHeadDim) + channel;
  }
  template <class T>
  __device__ __forceinline__ static const T* score_of(const T* row, int i, int channel) {
    return value_of(row, i, channel) + 2 * kHeadDim;
  }

  template <int kTile>
  using Window = Candidates<kWindow, kTile>;

  // What lies in the ring has been rounded to State; the arithmetic sees it rounded to Input.
  // kConstant: nothing of this launch writes the ring.
  template <bool kConstant, int kTile>
  __device__ __forceinline__ static Tile<kTile> load_state(const State* address) {
    if constexpr (kConstant) return round_through<Input>(load_tile_once<kTile>(address));
    return round_through<Input>(load_tile<kTile>(address));
  }
  template <bool kConstant, int kTile>
  __device__ __forceinline__ static void load_from_ring(Window<kTile>& window, int i,
                                                        const State* ring, int64_t page,
                                                        int channel) {
    const State* row = ring + (page * kRatio + i % kRatio) * kRowWidth;
    window.values[i] = load_state<kConstant, kTile>(value_of(row, i, channel));
    window.scores[i] = load_state<kConstant, kTile>(score_of(row, i, channel));
  }

  template <int kTile>
  __device__ __forceinline__ static void load_from_input(Window<kTile>& window, int i,
                                                         const Input* row, int channel) {
    window.values[i] = load_tile_once<kTile>(value_of(row, i, channel));
    window.scores[i] = load_tile_once<kTile>(score_of(row, i, channel));
  }

  // The lane's channels of ape. A constant of the model, so its loads go out with the first ones.
  template <int kTile>
  struct Bias {
    Tile<kTile> rows[kWindow];

    __device__ __forceinline__ void load(const Input* ape, int channel) {
#pragma unroll
      for (int i = 0; i < kWindow; ++i) rows[i] = load_tile<kTile>(ape + i * kHeadDim + channel);
    }
  };

  // score + ape in fp32, softmax, weighted mean; a masked candidate stays masked.
  template <int kTile>
  __device__ __forceinline__ static Tile<kTile> pool(Window<kTile>& window, const Bias<kTile>& bias,
                                                     bool has_overlap) {
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      if (i < kRatio && !has_overlap) continue;
#pragma unroll
      for (int k = 0; k < kTile; ++k) {
        window.scores[i].values[k] = window.scores[i].values[k] + bias.rows[i].values[k];
      }
    }
    return softmax_pool(window);
  }

  // The current token's row in all four column blocks, as the lane that owns its channels holds it.
  template <int kTile>
  struct OwnRow {
    Tile<kTile> blocks[4];

    __device__ __forceinline__ void use_as(Window<kTile>& window, int i) const {
      window.values[i] = round_through<Input>(round_through<State>(blocks[i < kRatio ? 0 : 1]));
      window.scores[i] = round_through<Input>(round_through<State>(blocks[i < kRatio ? 2 : 3]));
    }
  };

  // The window as it is once the token's row has been written: that row comes from registers,
  // wherever it lies, so that the loads need not wait for the store.
  template <int kTile>
  __device__ __forceinline__ static void load_window(Window<kTile>& window, const DecodeParams& p,
                                                     const DecodePlan& plan,
                                                     const OwnRow<kTile>& own, bool writes,
                                                     bool has_overlap, int channel) {
    const int64_t pages[2] = {plan.read_page_0, plan.read_page_1};
    const bool usual = has_overlap && writes && plan.read_page_0 != plan.read_page_1 &&
                       plan.write_loc == pages[1] * kRatio + (kRatio - 1);
    if (usual) {  // seven rows of the ring and the own one, whose place is known: no branch a row
      const State* rows[2] = {p.state + pages[0] * kRatio * kRowWidth,
                              p.state + pages[1] * kRatio * kRowWidth};
#pragma unroll
      for (int i = 0; i < kWindow - 1; ++i) {  // scores first: the weights need no value
        const State* row = rows[i / kRatio] + i % kRatio * kRowWidth;
        window.scores[i] = load_state<false, kTile>(score_of(row, i, channel));
      }
#pragma unroll
      for (int i = 0; i < kWindow - 1; ++i) {
        const State* row = rows[i / kRatio] + i % kRatio * kRowWidth;
        window.values[i] = load_state<false, kTile>(value_of(row, i, channel));
      }
      own.use_as(window, kWindow - 1);
      return;
    }
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      const int64_t page = pages[i / kRatio];
      if (i < kRatio && !has_overlap) {
        window.mask(i);
      } else if (writes && page * kRatio + i % kRatio == plan.write_loc) {
        own.use_as(window, i);
      } else {
        load_from_ring<false>(window, i, p.state, page, channel);
      }
    }
  }

  // Saves the request's row and, if it ends a group, pools the lane's channels into `pooled` and
  // returns true. Call it after wait_for_previous_launch; kAllowsNext: it allows the next launch.
  // `ask` is called of a request that ends a group, once what it waits for is on its way.
  template <bool kBiasFirst = true, bool kAllowsNext = true, int kTile, class Ask>
  __device__ __forceinline__ static bool decode(const DecodeParams& p, const DecodePlan& plan,
                                                int64_t entry, int channel, Tile<kTile>& pooled,
                                                const Ask& ask) {
    Bias<kTile> bias;
    if (kBiasFirst) bias.load(p.ape, channel);
    OwnRow<kTile> own;  // loaded together with the plan: nearly every row of a step is used
    const Input* input = p.input + entry * p.input_stride + channel;
#pragma unroll
    for (int k = 0; k < 4; ++k) own.blocks[k] = load_tile_once<kTile>(input + k * kHeadDim);

    const bool writes = plan.write_loc >= 0 && plan.write_loc < p.pages * kRatio;
    const bool has_overlap = plan.seq_len > kRatio;
    const bool page_0_valid = plan.read_page_0 >= 0 && plan.read_page_0 < p.pages;
    const bool page_1_valid = plan.read_page_1 >= 0 && plan.read_page_1 < p.pages;
    const bool compresses = plan.seq_len % kRatio == 0 && plan.seq_len > 0 && page_1_valid &&
                            (page_0_valid || !has_overlap);
    Window<kTile> window;
    if (compresses) {
      load_window(window, p, plan, own, writes, has_overlap, channel);
      ask();
    }
    if (kAllowsNext) allow_next_launch();
    if (writes) {
      State* target = p.state + plan.write_loc * int64_t{kRowWidth} + channel;
#pragma unroll
      for (int k = 0; k < 4; ++k) store_tile(target + k * kHeadDim, own.blocks[k]);
    }
    if (!compresses) return false;
    if (!kBiasFirst) bias.load(p.ape, channel);
    pooled = pool(window, bias, has_overlap);
    return true;
  }

  // The window of an entry that reaches into the ring or starts its request. False: a row, a page
  // or the plan's numbers point outside a tensor.
  template <int kTile>
  __device__ __forceinline__ static bool load_border(Window<kTile>& window, const PrefillParams& p,
                                                     const CompressPlan& plan, int64_t last_row,
                                                     int from_ring, bool has_overlap, int channel) {
    const int first = has_overlap ? 0 : kRatio;
    const int first_input = from_ring > first ? from_ring : first;
    const bool needs_page_0 = has_overlap && from_ring > 0;
    const bool needs_page_1 = from_ring > kRatio;
    if (last_row >= p.input_rows || from_ring > kWindow) return false;
    if (first_input < kWindow && last_row - (kWindow - 1) + first_input < 0) return false;
    if (needs_page_0 && (plan.read_page_0 < 0 || plan.read_page_0 >= p.pages)) return false;
    if (needs_page_1 && (plan.read_page_1 < 0 || plan.read_page_1 >= p.pages)) return false;
    const int64_t pages[2] = {plan.read_page_0, plan.read_page_1};
#pragma unroll
    for (int i = 0; i < kWindow; ++i) {
      if (i < first) {
        window.mask(i);
      } else if (i < from_ring) {
        load_from_ring<true>(window, i, p.state, pages[i / kRatio], channel);
      } else {
        const int64_t row = last_row - (kWindow - 1) + i;
        load_from_input(window, i, p.input + row * p.input_stride, channel);
      }
    }
    return true;
  }

  // Pools the lane's channels of a plan row. False: the row is invalid or points outside a tensor.
  template <int kTile>
  __device__ __forceinline__ static bool prefill(const PrefillParams& p, const CompressPlan& plan,
                                                 int channel, Tile<kTile>& pooled) {
    if (plan.seq_len == kInvalidRow) return false;
    const int64_t last_row = ragged_id_of(plan, p.wide);
    const int from_ring = static_cast<int>(buffer_len_of(plan, p.wide));
    const bool has_overlap = plan.seq_len > kRatio;
    Window<kTile> window;
    if (has_overlap && from_ring == 0 && last_row >= kWindow - 1 && last_row < p.input_rows) {
      // Nearly every entry: sixteen independent loads and no branch.
      const Input* row = p.input + (last_row - (kWindow - 1)) * p.input_stride;
#pragma unroll
      for (int i = 0; i < kWindow; ++i) {
        load_from_input(window, i, row, channel);
        row += p.input_stride;
      }
    } else if (!load_border(window, p, plan, last_row, from_ring, has_overlap, channel)) {
      return false;
    }
    Bias<kTile> bias;
    bias.load(p.ape, channel);
    pooled = pool(window, bias, has_overlap);
    return true;
  }
};

}  // namespace wavejit
