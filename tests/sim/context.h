/* From one stack to another. Some ten instructions where this knows the processor, and ucontext, which asks
 * the kernel for the signal mask each time, elsewhere. */
#ifndef LM_SIM_CONTEXT_H
#define LM_SIM_CONTEXT_H

#include <stddef.h>

#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(__SANITIZE_ADDRESS__)
#define SIM_CONTEXT_OWN 1
struct sim_context {
  void *sp; /* what the callee saves is on the stack */
};
#else
#include <ucontext.h>
struct sim_context {
  ucontext_t os;
};
#endif

/* `run`, which never returns, starts at the first swap to it. The stack is borrowed. */
void sim_context_make(struct sim_context *context, void *stack, size_t size, void (*run)(void));
/* Go on at `to`; returns when somebody swaps back to `from`. */
void sim_context_swap(struct sim_context *from, struct sim_context *to);

#endif
