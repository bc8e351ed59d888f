#include "context.h"

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(SIM_CONTEXT_OWN)

static void
prepare(struct sim_context *context, void *stack, size_t size, void (*run)(void))
{
  getcontext(&context->os);
  context->os.uc_stack.ss_sp = stack;
  context->os.uc_stack.ss_size = size;
  context->os.uc_link = NULL;
  makecontext(&context->os, run, 0);
}

static void
swap(struct sim_context *from, struct sim_context *to)
{
  swapcontext(&from->os, &to->os);
}

#elif defined(__x86_64__)

enum { SAVED = 6 /* rbx, rbp, r12 to r15 */ };

__asm__(".text\n"
        ".globl sim_swap_stacks\n"
        ".type sim_swap_stacks, @function\n"
        "sim_swap_stacks:\n"
        "  pushq %rbx\n"
        "  pushq %rbp\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbp\n"
        "  popq %rbx\n"
        "  ret\n"
        ".size sim_swap_stacks, .-sim_swap_stacks\n");

void sim_swap_stacks(void **from, void *to);

static void
prepare(struct sim_context *context, void *stack, size_t size, void (*run)(void))
{
  uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
  uintptr_t *sp = (uintptr_t *)top;
  *--sp = 0; /* in place of a return address: the stack is 8 off from 16 */
  *--sp = (uintptr_t)run;
  for (int i = 0; i < SAVED; i++)
    *--sp = 0;
  context->sp = sp;
}

static void
swap(struct sim_context *from, struct sim_context *to)
{
  sim_swap_stacks(&from->sp, to->sp);
}

#else

enum { SAVED = 20 /* x19 to x30, d8 to d15 */ };

__asm__(".text\n"
        ".globl sim_swap_stacks\n"
        ".type sim_swap_stacks, %function\n"
        "sim_swap_stacks:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp, #0]\n"
        "  stp x21, x22, [sp, #16]\n"
        "  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n"
        "  stp x27, x28, [sp, #64]\n"
        "  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n"
        "  stp d10, d11, [sp, #112]\n"
        "  stp d12, d13, [sp, #128]\n"
        "  stp d14, d15, [sp, #144]\n"
        "  mov x2, sp\n"
        "  str x2, [x0]\n"
        "  mov sp, x1\n"
        "  ldp x19, x20, [sp, #0]\n"
        "  ldp x21, x22, [sp, #16]\n"
        "  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n"
        "  ldp x27, x28, [sp, #64]\n"
        "  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n"
        "  ldp d10, d11, [sp, #112]\n"
        "  ldp d12, d13, [sp, #128]\n"
        "  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n"
        "  ret\n"
        ".size sim_swap_stacks, .-sim_swap_stacks\n");

void sim_swap_stacks(void **from, void *to);

static void
prepare(struct sim_context *context, void *stack, size_t size, void (*run)(void))
{
  enum { RETURN = 11 /* x30 */ };
  uintptr_t top = ((uintptr_t)stack + size) & ~(uintptr_t)15;
  uintptr_t *sp = (uintptr_t *)top - SAVED;
  for (int i = 0; i < SAVED; i++)
    sp[i] = 0;
  sp[RETURN] = (uintptr_t)run;
  context->sp = sp;
}

static void
swap(struct sim_context *from, struct sim_context *to)
{
  sim_swap_stacks(&from->sp, to->sp);
}

#endif

void
sim_context_make(struct sim_context *context, void *stack, size_t size, void (*run)(void))
{
  context->stack = stack;
  context->size = size;
  context->fake = NULL;
  prepare(context, stack, size, run);
}

#if defined(__SANITIZE_ADDRESS__)

static struct sim_context *came_from; /* whose stack is not known yet: the thread's own */

/* AddressSanitizer is told about each switch; it frees the fake frames of a stack that is left
 * for good. */
static void
start_switch(struct sim_context *from, void **fake, const struct sim_context *to)
{
  came_from = from;
  __sanitizer_start_switch_fiber(fake, to->stack, to->size);
}

void
sim_context_entered(struct sim_context *context)
{
  __sanitizer_finish_switch_fiber(context->fake, &came_from->stack, &came_from->size);
}

#else

static void
start_switch(struct sim_context *from, void **fake, const struct sim_context *to)
{
  (void)from, (void)fake, (void)to;
}

void
sim_context_entered(struct sim_context *context)
{
  (void)context;
}

#endif

void
sim_context_swap(struct sim_context *from, struct sim_context *to)
{
  start_switch(from, &from->fake, to);
  swap(from, to);
  sim_context_entered(from);
}

void
sim_context_leave(struct sim_context *from, struct sim_context *to)
{
  start_switch(from, NULL, to);
  swap(from, to);
}
