// The packed arguments of one call, read in order with their names for messages.
#pragma once
#include <tvm/ffi/c_api.h>
#include <wavejit/host/tensor.h>
#include <wavejit/core/integers.cuh>

namespace wavejit::host {

class Arguments {
 public:
  Arguments(const TVMFFIAny* values, int count) : values_(values), count_(count) {}

  const DLTensor& tensor(const char* name) {
    const TVMFFIAny& value = next(name);
    if (value.type_index == kTVMFFIDLTensorPtr) return *static_cast<DLTensor*>(value.v_ptr);
    if (value.type_index == kTVMFFITensor) {
      return *reinterpret_cast<DLTensor*>(reinterpret_cast<char*>(value.v_obj) +
                                          sizeof(TVMFFIObject));
    }
    fail("TypeError", "%s: expected a tensor, got %s", name, type_name(value.type_index));
  }

  // A contiguous tensor of T whose address is aligned for vectors of `vector` elements.
  template <class T, class... Extents>
  T* dense(const char* name, OnDevice& device, int vector, Extents&&... shape) {
    return static_cast<T*>(TensorMatcher(shape...)
                               .template dtype<T>()
                               .device(device)
                               .alignment(vector * static_cast<int>(sizeof(T)))
                               .verify(tensor(name), name));
  }

  // A matrix of T whose rows may lie apart; `stride` becomes the elements from one to the next.
  template <class T>
  T* rows(const char* name, OnDevice& device, int vector, int64_t& stride, Extent count,
          Extent width) {
    Size step{"row stride"};
    const DLTensor& given = tensor(name);
    void* data = TensorMatcher(count, width)
                     .strides(step, 1)
                     .template dtype<T>()
                     .device(device)
                     .alignment(vector * static_cast<int>(sizeof(T)))
                     .verify(given, name);
    stride = step.value == kAny ? given.shape[1] : step.value;
    return static_cast<T*>(data);
  }

  // A uint8 matrix with one T in each row.
  template <class T>
  T* structs(const char* name, OnDevice& device, Extent count) {
    return static_cast<T*>(TensorMatcher(count, static_cast<int64_t>(sizeof(T)))
                               .template dtype<uint8_t>()
                               .device(device)
                               .alignment(alignof(T))
                               .verify(tensor(name), name));
  }

  // A vector of 32- or 64-bit integers.
  Integers integers(const char* name, OnDevice& device, Extent count) {
    const DLTensor& given = tensor(name);
    void* data =
        TensorMatcher(count).template dtype<int64_t, int32_t>().device(device).verify(given, name);
    return {data, given.dtype.bits == 64};
  }

  int64_t integer(const char* name) {
    const TVMFFIAny& value = next(name);
    if (value.type_index != kTVMFFIInt && value.type_index != kTVMFFIBool) {
      fail("TypeError", "%s: expected an integer, got %s", name, type_name(value.type_index));
    }
    return value.v_int64;
  }

  // An integer will do.
  double number(const char* name) {
    const TVMFFIAny& value = next(name);
    if (value.type_index == kTVMFFIFloat) return value.v_float64;
    if (value.type_index == kTVMFFIInt) return static_cast<double>(value.v_int64);
    fail("TypeError", "%s: expected a number, got %s", name, type_name(value.type_index));
  }

  // Integers in the CPU's memory, whatever the library's device.
  Integers host_integers(const char* name, Extent count) {
    const DLTensor& given = tensor(name);
    if (given.device.device_type != kDLCPU) {
      fail("ValueError", "%s: expected a tensor on the CPU, got one on %s:%d", name,
           device_name(given.device.device_type), given.device.device_id);
    }
    void* data = TensorMatcher(count).template dtype<int64_t, int32_t>().verify(given, name);
    return {data, given.dtype.bits == 64};
  }

  int32_t positive(const char* name) {
    const int64_t value = integer(name);
    if (value <= 0 || value > 0x7fffffff) {
      fail("ValueError", "%s: expected a positive 32-bit number, got %lld", name,
           static_cast<long long>(value));
    }
    return static_cast<int32_t>(value);
  }

  // A finite number from 0 on, such as a norm's epsilon.
  float epsilon(const char* name) {
    const double given = number(name);
    if (!(given >= 0.0 && given <= 0x1.fffffep+127)) {
      fail("ValueError", "%s: expected a finite number from 0 on, got %g", name, given);
    }
    return static_cast<float>(given);
  }

  bool is_none() const {
    return position_ < count_ && values_[position_].type_index == kTVMFFINone;
  }
  void skip(int count) { position_ += count; }

  void end() const {
    if (position_ != count_) fail("TypeError", "expected %d arguments, got %d", position_, count_);
  }

 private:
  const TVMFFIAny& next(const char* name) {
    if (position_ >= count_) fail("TypeError", "%s is missing: got %d arguments", name, count_);
    return values_[position_++];
  }
  static const char* type_name(int type) {
    switch (type) {
      case kTVMFFINone: return "None";
      case kTVMFFIInt: return "an integer";
      case kTVMFFIBool: return "a boolean";
      case kTVMFFIFloat: return "a float";
      case kTVMFFIDLTensorPtr:
      case kTVMFFITensor: return "a tensor";
      case kTVMFFIRawStr:
      case kTVMFFISmallStr:
      case kTVMFFIStr: return "a string";
      default: return "another type";
    }
  }

  const TVMFFIAny* values_;
  int count_;
  int position_ = 0;
};

}  // namespace wavejit::host
