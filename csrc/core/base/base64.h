/* Base64 (RFC 4648 section 4: standard alphabet, padded, no line breaks). Pure; any thread. */
#ifndef LM_BASE_BASE64_H
#define LM_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Characters for n bytes, without a NUL. n is at most SIZE_MAX / 4 * 3 - 3. */
size_t lm_base64_encoded_size(size_t n);

/* Write exactly lm_base64_encoded_size(n) characters. */
void lm_base64_encode(const uint8_t *bytes, size_t n, char *text);

/* Decoded size of n characters, from their number and padding alone: 0 and *size, or -1 if n is not a
 * multiple of 4. */
int lm_base64_decoded_size(const char *text, size_t n, size_t *size, struct lm_error *err);

/* Write the number of bytes that lm_base64_decoded_size returned. Strict: -1 for a character outside
 * the alphabet, for padding anywhere but at the end, and for unused bits that are not zero. */
int lm_base64_decode(const char *text, size_t n, uint8_t *bytes, struct lm_error *err);

#endif
