"""pandas; none of it is imported unless the program has done so.

`columns` has the arrays (a new dtype goes there); `values` the scalars, indexes, Series and frames
made of them; `frames` the columns of a frame; `lists` what frames or Series of one list share.
`alike` says when two parts are the same, `checks` what is checked before pandas sees it, and
`offsets` has the frequencies.
"""
