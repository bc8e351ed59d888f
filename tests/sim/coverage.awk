# gcov's summary, summed up by folder and for each file: lines and branches that were taken.
/^File / {
  name = $2
  gsub(/'/, "", name)
  sub(/.*csrc\/core\//, "", name)
  folder = name
  sub(/\/.*/, "", folder)
  wanted = name ~ /\.c$/
}
/^(Calls executed|No calls)/ { wanted = 0 } # what follows is of the whole object
wanted && /^(Lines executed|Taken at least once):/ {
  split($0, part, /[:%]/)
  n = $NF
  kind = /^Lines/ ? "lines" : "branches"
  all[folder, kind] += n
  taken[folder, kind] += int(part[2] * n / 100 + 0.5)
  all[name, kind] += n
  taken[name, kind] += int(part[2] * n / 100 + 0.5)
  folders[folder] = 1
  files[name] = 1
}
function line(what) {
  printf "%-24s %5d of %5d lines %5.1f %%   %5d of %5d branches %5.1f %%\n", what,
    taken[what, "lines"], all[what, "lines"], 100 * taken[what, "lines"] / all[what, "lines"],
    taken[what, "branches"], all[what, "branches"],
    all[what, "branches"] ? 100 * taken[what, "branches"] / all[what, "branches"] : 100 | sort
}
END {
  sort = "LC_ALL=C sort"
  for (file in files) line(file)
  close(sort)
  print ""
  for (folder in folders) line(folder)
}
