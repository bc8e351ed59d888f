/* Switches from one stack to another: some ten instructions on supported processors, elsewhere
 * ucontext, which makes a system call for the signal mask each time. */
#ifndef LM_SIM_CONTEXT_H
#define LM_SIM_CONTEXT_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1 /* gcc's name for it */
#endif
#endif

#if defined(__x86_64__) || defined(__aarch64__)
#define SIM_CONTEXT_OWN 1
#else
#include <ucontext.h>
#endif

struct sim_context {
#if defined(SIM_CONTEXT_OWN)
  void *sp; /* the saved registers are on the stack */
#else
  ucontext_t os;
#endif
  const void *stack; /* for AddressSanitizer, as is the rest */
  size_t size;
  void *fake;
};

/* `run`, which never returns, starts at the first swap to it. The stack is borrowed. */
void sim_context_make(struct sim_context *context, void *stack, size_t size, void (*run)(void));
/* The first call that `run` makes. */
void sim_context_entered(struct sim_context *context);
/* Continue at `to`; returns when something swaps back to `from`. */
void sim_context_swap(struct sim_context *from, struct sim_context *to);
/* The same for the last time: nothing swaps back. */
void sim_context_leave(struct sim_context *from, struct sim_context *to);

#endif
