#!/usr/bin/env bash
# Measures agent and gateway in the lab: sudo tests/bench/run.sh [ROW...] [-- OPTIONS]
# Without a name every row; OPTIONS go to each of them (--help tells a row's own). Each prints a table and writes
# build/bench/ROW.json. Exit status 1 when what a row claims is not so. The binary is build/sluice, or $SLUICE_BINARY.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_rows=(connections)

rows=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [[ " ${all_rows[*]} " == *" $1 "* ]] || { echo "no row $1; there are: ${all_rows[*]}" >&2; exit 2; }
  rows+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ ${#rows[@]} -gt 0 ] || rows=("${all_rows[@]}")

status=0
for row in "${rows[@]}"; do
  python3 -B "$here/$row.py" "$@" || status=1
done
exit $status
