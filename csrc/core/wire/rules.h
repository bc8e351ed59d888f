/* Shared by lm_mpcheck and the readers that build values: the costs of values, and error messages. */
#ifndef LM_WIRE_RULES_H
#define LM_WIRE_RULES_H

/* Bytes of CPython objects, rounded up, counted before anything is built. The estimate of lm_mpcheck
 * may be too high, but not below what the readers count. */
enum {
  LM_COST_OBJECT = 64, /* a text, list or date, without its items */
  LM_COST_NUMBER = 40,
  LM_COST_SLOT = 8,    /* of a list or tuple */
  LM_COST_PAIR = 104,  /* of a dict */
  LM_COST_MEMBER = 80, /* of a set */
  LM_COST_KIND = 128,  /* made by lambdamap.shipping.kinds, without its parts */
  LM_COST_FRAME = 4096 /* a pandas frame */
};

#define LM_WRONG_TOKEN "truncated value or invalid type byte"
#define LM_WRONG_TAIL "extra bytes after the value"
#define LM_WRONG_EXT_TAIL "extra bytes after the value of an extension"
#define LM_WRONG_ARRAY "extension does not contain an array"
#define LM_WRONG_BIG_INT "BIG_INT extension has no digits"
#define LM_WRONG_EXT "unknown extension type %d (1 to %d and %d are supported)"
#define LM_WRONG_DEPTH "the value is nested too deeply"
#define LM_WRONG_SAME_KEY "duplicate key in a dict"
#define LM_WRONG_SECTIONS "section has numbers that no column refers to"

#endif
