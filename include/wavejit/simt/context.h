// Switching between stacks: what a fiber is made of. Assembly for x86-64 and aarch64, ucontext
// elsewhere (or with WAVEJIT_SIMT_UCONTEXT); ucontext makes a system call per switch and is some
// thirty times slower.
//
//   start_context(c, bottom, top, main)  the next switch to `c` calls main() on that stack
//   switch_context(from, to)             returns when somebody switches back to `from`
#pragma once

#include <stddef.h>
#include <stdint.h>

#if !defined(WAVEJIT_SIMT_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define WAVEJIT_SIMT_UCONTEXT 1
#endif

#ifdef WAVEJIT_SIMT_UCONTEXT

#include <ucontext.h>

namespace wavejit::simt {

using Context = ucontext_t;

inline void start_context(Context& context, char* bottom, char* top, void (*main)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = bottom;
  context.uc_stack.ss_size = static_cast<size_t>(top - bottom);
  context.uc_link = nullptr;
  makecontext(&context, main, 0);
}

inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

}  // namespace wavejit::simt

#else

// The symbol is local to its translation unit, so libraries in one process cannot share it. Only
// the registers that a call preserves are saved; the rounding mode is the launch's, not a lane's.
#if defined(__x86_64__)

asm(R"(
    .pushsection .text
    .p2align 4
    .type wavejit_simt_switch, @function
wavejit_simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size wavejit_simt_switch, . - wavejit_simt_switch
    .popsection
)");

namespace wavejit::simt {
// Words from the stack pointer: six registers, the return address, and a null return address of
// main() itself, which also leaves the stack aligned as after a call.
inline constexpr int kFrameWords = 8;
inline constexpr int kFrameReturn = 6;
}  // namespace wavejit::simt

#else

asm(R"(
    .pushsection .text
    .p2align 4
    .type wavejit_simt_switch, %function
wavejit_simt_switch:
    stp x19, x20, [sp, #-160]!
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    ldp x19, x20, [sp], #160
    ret
    .size wavejit_simt_switch, . - wavejit_simt_switch
    .popsection
)");

namespace wavejit::simt {
inline constexpr int kFrameWords = 20;
inline constexpr int kFrameReturn = 11;  // x30
}  // namespace wavejit::simt

#endif

extern "C" [[gnu::visibility("hidden")]] void wavejit_simt_switch(void** save, void* resume);

namespace wavejit::simt {

struct Context {
  void* sp;
};

inline void start_context(Context& context, char* /*bottom*/, char* top, void (*main)()) {
  void** frame = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
  frame -= kFrameWords;
  for (int i = 0; i < kFrameWords; ++i) frame[i] = nullptr;
  frame[kFrameReturn] = reinterpret_cast<void*>(main);
  context.sp = frame;
}

inline void switch_context(Context& from, Context& to) { wavejit_simt_switch(&from.sp, to.sp); }

}  // namespace wavejit::simt

#endif
