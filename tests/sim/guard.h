/* The simulation in a process of its own, so that there is one left to say what it was at when it crashed or
 * was killed for its memory. */
#ifndef LM_SIM_GUARD_H
#define LM_SIM_GUARD_H

/* What `run` returns, in a child. 2: it did not return, and what it was at has been printed. */
int sim_guarded(int (*run)(const void *argument), const void *argument);

/* In `run`: what it is at from here on. */
void sim_guard_at(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
