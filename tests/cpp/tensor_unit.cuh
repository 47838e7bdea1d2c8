// host/tensor.h and host/arguments.h without a kernel: each function matches its arguments and
// returns.
#if !defined(WAVEJIT_DEVICE_PASS)
#include <wavejit/host/arguments.h>

namespace wavejit {

using host::Arguments;
using host::kAny;
using host::OnDevice;
using host::Size;
using host::TensorMatcher;

// dense(x float [n, 4, 8], y bfloat16 [n]): contiguous, x aligned for vectors of 4.
inline void dense(Arguments& arguments) {
  Size n{"n"};
  OnDevice device;
  arguments.dense<float>("x", device, 4, n, 4, 8);
  arguments.dense<bfloat16>("y", device, 1, n);
  arguments.end();
}

// rows(x float [n, 8]): rows may lie apart, the second tensor's as the first one's.
inline void rows(Arguments& arguments) {
  Size n{"n"}, step{"step"};
  OnDevice device;
  TensorMatcher(n, 8).strides(step, 1).dtype<float>().device(device).verify(arguments.tensor("x"),
                                                                            "x");
  TensorMatcher(kAny, 8).strides(step, 1).dtype<float>().device(device).verify(
      arguments.tensor("y"), "y");
  arguments.end();
}

// stride(x float [n, 8], step, aligned to 16 bytes): `step` must be what rows() found.
inline void stride(Arguments& arguments) {
  Size n{"n"};
  OnDevice device;
  int64_t found = 0;
  arguments.rows<float>("x", device, 4, found, n, 8);
  const int64_t wanted = arguments.integer("wanted");
  arguments.end();
  if (found != wanted) {
    host::fail("ValueError", "wanted: expected %lld, got %lld", static_cast<long long>(found),
               static_cast<long long>(wanted));
  }
}

// any(x of any shape [*, *] and stride, one of four dtypes)
inline void any(Arguments& arguments) {
  TensorMatcher(kAny, kAny)
      .strides(kAny, kAny)
      .dtype<float, bfloat16, int32_t, uint8_t>()
      .verify(arguments.tensor("x"), "x");
  arguments.end();
}

// others(v integers [n], s one struct of 16 bytes a row [n, 16], k a positive number)
inline void others(Arguments& arguments) {
  Size n{"n"};
  OnDevice device;
  struct alignas(16) Row {
    uint32_t words[4];
  };
  arguments.integers("v", device, n);
  arguments.structs<Row>("s", device, n);
  arguments.positive("k");
  arguments.end();
}

// pair(x, y float [n]): both on one device.
inline void pair(Arguments& arguments) {
  Size n{"n"};
  OnDevice device;
  arguments.dense<float>("x", device, 1, n);
  arguments.dense<float>("y", device, 1, n);
  arguments.end();
}

}  // namespace wavejit
#endif
