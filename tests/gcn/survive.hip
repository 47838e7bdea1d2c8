// Kernels for test_objects.py: grids, early exits, dynamic shared memory, stacks, calls, globals.
typedef unsigned int u32;
#define KERNEL extern "C" __attribute__((global, launch_bounds(1024))) void
#define DEVICE __attribute__((device))
#define SHARED __attribute__((shared))
#define X __builtin_amdgcn_workitem_id_x()

static DEVICE void meet() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

KERNEL places(u32* out, u32 gx, u32 gy) {
  const u32 wx = __builtin_amdgcn_workgroup_size_x(), wy = __builtin_amdgcn_workgroup_size_y();
  const u32 thread = (__builtin_amdgcn_workitem_id_z() * wy + __builtin_amdgcn_workitem_id_y()) * wx + X;
  const u32 block = (__builtin_amdgcn_workgroup_id_z() * gy + __builtin_amdgcn_workgroup_id_y()) * gx +
                    __builtin_amdgcn_workgroup_id_x();
  out[block * wx * wy * __builtin_amdgcn_workgroup_size_z() + thread] = block * 10000 + thread;
}

KERNEL leave_early(u32* out, u32 n) {
  if (X >= n) return;
  meet();
  out[X] = X * 2;
}

extern "C" SHARED u32 dynamic[];
KERNEL turn_round(u32* out, u32 n) {
  dynamic[X] = X * 3;
  meet();
  out[X] = dynamic[n - 1 - X];
}

static DEVICE __attribute__((noinline)) u32 table(u32 a, const u32* pair) {
  u32 of[16], sum = 0;
  for (u32 i = 0; i < 16; ++i) of[i] = a * i;
  for (u32 i = 0; i < 16; ++i) sum += of[i * a & 15] ^ pair[i & 1];
  return sum;
}
KERNEL on_the_stack(u32* out) {
  u32 pair[2] = {1, X};
  out[X] = table(X, pair);
}

DEVICE u32 counter = 5;
KERNEL count(u32* out) {
  if (X == 0) counter += 2;
  meet();
  out[X] = counter;
}

KERNEL reduce(u32* out, const u32* in) {
  static SHARED u32 sums[16];
  u32 sum = in[X];
  for (u32 i = 1; i < 64; i *= 2) sum += __builtin_amdgcn_ds_bpermute((X ^ i) * 4, sum);
  if (X % 64 == 0) sums[X / 64] = sum;
  meet();
  if (X < 16) __hip_atomic_fetch_add(out, sums[X], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

KERNEL many_registers(float* out, const float* in) {
  float a[160], sum = 0;
  for (u32 i = 0; i < 160; ++i) a[i] = in[X + i];
  for (u32 k = 0; k < 3; ++k)
    for (u32 i = 0; i < 160; ++i) a[i] = __builtin_fmaf(a[i], a[(i + 7) % 160], 1.0f);
  for (u32 i = 0; i < 160; ++i) sum += a[i];
  out[X] = sum;
}
