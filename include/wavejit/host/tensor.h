// What a host function expects of its tensors, checked in one place: shape with symbolic sizes,
// strides, dtype, device, alignment. A mismatch is reported with the argument's name, what was
// expected (with the sizes that other arguments have fixed already) and what came.
//
//   Size n{"N"}, width{"4*head_dim", 2048};
//   OnDevice device;
//   TensorMatcher({n, width}).strides({kAny, 1}).dtype<float>().device(device).verify(t,
//   "kv_input");
#pragma once
#include <dlpack/dlpack.h>
#include <wavejit/host/check.h>
#include <wavejit/core/vec.cuh>

namespace wavejit::host {

inline constexpr int64_t kAny = -1;
inline constexpr int kMaxRank = 4;

// A size that the first tensor binds and every later one must have.
struct Size {
  const char* name;
  int64_t value = kAny;
};

// The device that all tensors of one call must share. CUDA (2) and ROCm (10) are two spellings of
// "the GPU": torch for ROCm uses either, so a library for GPUs accepts both, as one kind.
struct OnDevice {
  int type = -1;
  int id = 0;
};

inline bool is_gpu(int type) { return type == kDLCUDA || type == kDLROCM; }

inline const char* device_name(int type) {
  switch (type) {
    case kDLCPU: return "cpu";
    case kDLCUDA: return "cuda";
    case kDLROCM: return "rocm";
    case kDLCUDAHost: return "cuda pinned memory";
    case kDLROCMHost: return "rocm pinned memory";
    default: return "device type";
  }
}

// Whether this library's code runs where a tensor lies.
inline bool runs_here(int type) {
#if defined(WAVEJIT_TARGET_HOST)
  return type == kDLCPU || type == kDLCUDAHost || type == kDLROCMHost;
#else
  return is_gpu(type);
#endif
}
inline const char* here() {
#if defined(WAVEJIT_TARGET_HOST)
  return "the CPU";
#else
  return "a GPU";
#endif
}

template <class T>
struct DtypeOf;
template <>
struct DtypeOf<float> {
  static constexpr DLDataType kValue{kDLFloat, 32, 1};
};
template <>
struct DtypeOf<bfloat16> {
  static constexpr DLDataType kValue{kDLBfloat, 16, 1};
};
template <>
struct DtypeOf<int32_t> {
  static constexpr DLDataType kValue{kDLInt, 32, 1};
};
template <>
struct DtypeOf<int64_t> {
  static constexpr DLDataType kValue{kDLInt, 64, 1};
};
template <>
struct DtypeOf<uint8_t> {
  static constexpr DLDataType kValue{kDLUInt, 8, 1};
};

inline bool same_dtype(DLDataType a, DLDataType b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

inline void add_dtype(Text& text, DLDataType dtype) {
  const char* name = "code";
  switch (dtype.code) {
    case kDLInt: name = "int"; break;
    case kDLUInt: name = "uint"; break;
    case kDLFloat: name = "float"; break;
    case kDLBfloat: name = "bfloat"; break;
    case kDLBool: name = "bool"; break;
    case kDLComplex: name = "complex"; break;
    default: name = "dtype"; break;
  }
  text.add("%s%d", name, dtype.bits);
}

inline void add_shape(Text& text, const int64_t* values, int rank) {
  text.add("[");
  for (int i = 0; i < rank; ++i) text.add(i ? ", %lld" : "%lld", static_cast<long long>(values[i]));
  text.add("]");
}

inline void* data_of(const DLTensor& tensor) {
  return static_cast<char*>(tensor.data) + tensor.byte_offset;
}

// One expected size or stride: a number, anything, or a Size shared with other arguments.
struct Extent {
  int64_t value = kAny;
  Size* symbol = nullptr;
  bool bound_here = false;  // by the tensor at hand: no expectation of it
  Extent() = default;
  Extent(int64_t number) : value(number) {}
  Extent(int number) : value(number) {}
  Extent(size_t number) : value(static_cast<int64_t>(number)) {}
  Extent(Size& size) : symbol(&size) {}

  bool matches(int64_t came) const {
    const int64_t expected = symbol ? symbol->value : value;
    return expected == kAny || expected == came;
  }
  void bind(int64_t came) {
    if (!symbol || symbol->value != kAny) return;
    symbol->value = came;
    bound_here = true;
  }
  void add_to(Text& text) const {
    const int64_t expected = bound_here ? kAny : symbol ? symbol->value : value;
    if (symbol) text.add("%s", symbol->name);
    if (symbol && expected != kAny) text.add("=");
    if (expected != kAny) text.add("%lld", static_cast<long long>(expected));
    if (!symbol && expected == kAny) text.add("any");
  }
};

class TensorMatcher {
 public:
  template <class... Extents>
  explicit TensorMatcher(Extents&&... shape) : shape_{Extent(shape)...}, rank_(sizeof...(shape)) {
    static_assert(sizeof...(shape) <= kMaxRank);
  }

  // Strides in elements; without this call the tensor must be contiguous.
  template <class... Extents>
  TensorMatcher&& strides(Extents&&... strides) && {
    static_assert(sizeof...(strides) <= kMaxRank);
    const Extent given[] = {Extent(strides)...};
    for (size_t i = 0; i < sizeof...(strides); ++i) strides_[i] = given[i];
    has_strides_ = true;
    return static_cast<TensorMatcher&&>(*this);
  }
  template <class... T>
  TensorMatcher&& dtype() && {
    static_assert(sizeof...(T) <= kMaxRank);
    const DLDataType given[] = {DtypeOf<T>::kValue...};
    for (size_t i = 0; i < sizeof...(T); ++i) dtypes_[i] = given[i];
    dtype_count_ = sizeof...(T);
    return static_cast<TensorMatcher&&>(*this);
  }
  TensorMatcher&& device(OnDevice& device) && {
    device_ = &device;
    return static_cast<TensorMatcher&&>(*this);
  }
  // Bytes, a power of two: of the data's address and of every stride but the last.
  TensorMatcher&& alignment(int bytes) && {
    alignment_ = bytes;
    return static_cast<TensorMatcher&&>(*this);
  }

  // Throws, or binds the sizes and the device and returns the data's address.
  void* verify(const DLTensor& tensor, const char* name) && {
    if (tensor.ndim != rank_) reject(tensor, name, "rank");
    if (dtype_count_ && !dtype_matches(tensor.dtype)) reject(tensor, name, "dtype");
    for (int i = 0; i < rank_; ++i) {
      if (!shape_[i].matches(tensor.shape[i])) reject(tensor, name, "shape");
      shape_[i].bind(tensor.shape[i]);
    }
    if (!strides_match(tensor)) reject(tensor, name, "strides");
    if (device_) check_device(tensor, name);
    if (!aligned(tensor)) reject(tensor, name, "alignment");
    return data_of(tensor);
  }

 private:
  bool dtype_matches(DLDataType came) const {
    for (int i = 0; i < dtype_count_; ++i) {
      if (same_dtype(dtypes_[i], came)) return true;
    }
    return false;
  }
  static bool empty(const DLTensor& tensor) {
    for (int i = 0; i < tensor.ndim; ++i) {
      if (tensor.shape[i] == 0) return true;
    }
    return false;
  }
  bool strides_match(const DLTensor& tensor) {
    if (!tensor.strides || empty(tensor)) return true;  // no strides: contiguous by definition
    int64_t contiguous = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      Extent dense(contiguous);
      Extent& expected = has_strides_ ? strides_[i] : dense;
      if (tensor.shape[i] != 1 && !expected.matches(tensor.strides[i])) return false;
      if (tensor.shape[i] != 1) expected.bind(tensor.strides[i]);
      contiguous *= tensor.shape[i];
    }
    return true;
  }
  bool aligned(const DLTensor& tensor) const {
    if (alignment_ <= 1 || empty(tensor)) return true;
    const uintptr_t mask = static_cast<uintptr_t>(alignment_) - 1;
    if (reinterpret_cast<uintptr_t>(data_of(tensor)) & mask) return false;
    if (!tensor.strides) return true;
    const int64_t item = tensor.dtype.bits / 8;
    for (int i = 0; i + 1 < rank_; ++i) {
      if (tensor.shape[i] != 1 && static_cast<uintptr_t>(tensor.strides[i] * item) & mask) {
        return false;
      }
    }
    return true;
  }
  void check_device(const DLTensor& tensor, const char* name) const {
    const int type = tensor.device.device_type;
    const int id = tensor.device.device_id;
    if (!runs_here(type)) {
      fail("ValueError", "%s: expected a tensor on %s (this is the %s library), got one on %s:%d",
           name, here(), arch::kName, device_name(type), id);
    }
    if (device_->type == -1) {
      device_->type = type;
      device_->id = id;
    } else if (device_->id != id && is_gpu(type)) {
      fail("ValueError", "%s: expected %s:%d as the arguments before it, got %s:%d", name,
           device_name(device_->type), device_->id, device_name(type), id);
    }
  }

  [[noreturn, gnu::cold]] void reject(const DLTensor& tensor, const char* name,
                                      const char* what) const {
    Text expected;
    expected.add("shape [");
    for (int i = 0; i < rank_; ++i) {
      if (i) expected.add(", ");
      shape_[i].add_to(expected);
    }
    expected.add("]");
    if (has_strides_) {
      expected.add(", strides [");
      for (int i = 0; i < rank_; ++i) {
        if (i) expected.add(", ");
        strides_[i].add_to(expected);
      }
      expected.add("]");
    } else {
      expected.add(", contiguous");
    }
    for (int i = 0; i < dtype_count_; ++i) {
      expected.add(i ? " or " : ", ");
      add_dtype(expected, dtypes_[i]);
    }
    if (alignment_ > 1) expected.add(", aligned to %d bytes", alignment_);
    Text came;
    came.add("shape ");
    add_shape(came, tensor.shape, tensor.ndim);
    if (tensor.strides) {
      came.add(", strides ");
      add_shape(came, tensor.strides, tensor.ndim);
    }
    came.add(", ");
    add_dtype(came, tensor.dtype);
    if (alignment_ > 1) came.add(", address %p", data_of(tensor));
    const bool is_type = what[0] == 'd';  // "dtype"
    fail(is_type ? "TypeError" : "ValueError", "%s: wrong %s: expected %s; got %s", name, what,
         expected.data, came.data);
  }

  Extent shape_[kMaxRank] = {kAny, kAny, kAny, kAny};
  Extent strides_[kMaxRank] = {kAny, kAny, kAny, kAny};
  DLDataType dtypes_[kMaxRank] = {};
  OnDevice* device_ = nullptr;
  int rank_ = 0;
  int dtype_count_ = 0;
  int alignment_ = 1;
  bool has_strides_ = false;
};

}  // namespace wavejit::host
