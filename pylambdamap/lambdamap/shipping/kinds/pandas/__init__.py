"""pandas, of which nothing is imported before the program has.

`columns` has the arrays (a new dtype goes there), `values` what is made of them, each on its own:
scalars, indexes, series and frames, whose columns `frames` finds; `lists` has what frames of one list
share. `alike` says when two parts are the same, `checks` what must be seen before pandas sees it, and
`offsets` has the frequencies.
"""
