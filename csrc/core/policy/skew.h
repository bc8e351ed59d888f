/* The difference between our clock and the service's. Pure.
 *
 * AWS refuses a signature whose time is more than 5 minutes off. From 4 minutes on the clock is corrected;
 * once it is right, it is used as it is. */
#ifndef LM_POLICY_SKEW_H
#define LM_POLICY_SKEW_H

#include <stdbool.h>
#include <stdint.h>

/* Seconds to add to our clock when signing, given the Date of a reply that was received at now_s by our
 * clock. */
int64_t lm_skew_offset(int64_t date_s, int64_t now_s);

/* Whether a signature made with the offset signed_with may be refused where one made with `known` is not. */
bool lm_skew_matters(int64_t signed_with, int64_t known);

#endif
