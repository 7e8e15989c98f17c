#!/usr/bin/env bash
# clang-tidy over the agent's sources. usage: tidy.sh BUILD_DIRECTORY (a clang build, for its compile commands)
# A file that was clean stays so while it, the headers and the checks are the same; the stamp tells.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$1
stamp=$build/tidy.stamp
shared=$(find agent bpf .clang-tidy CMakeLists.txt -name '*.h' -o -name .clang-tidy -o -name CMakeLists.txt | sort |
  xargs sha256sum | sha256sum)
[ "$(cat "$stamp.shared" 2>/dev/null)" = "$shared" ] || rm -f "$stamp"
touch "$stamp"
mapfile -t files < <(find agent -name '*.cpp' | sort)
todo=()
for file in "${files[@]}"; do
  grep -qxF "$(sha256sum "$file")" "$stamp" || todo+=("$PWD/$file")
done
echo "clang-tidy: ${#todo[@]} of ${#files[@]} files to look at"
[ ${#todo[@]} -eq 0 ] || run-clang-tidy-19 -quiet -j "$(nproc)" -p "$build" "${todo[@]}"
sha256sum "${files[@]}" > "$stamp"
echo "$shared" > "$stamp.shared"
