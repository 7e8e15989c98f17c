#!/usr/bin/env bash
# Installs, builds and runs every test: sudo ./tests/run.sh [ctest options...]
# Two builds: gcc, which all tests run on, and clang with ASan and UBSan, for its warnings and the unit tests. They, the
# format check and clang-tidy are rows of ctest, whose summary comes last and whose exit status is this script's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "$(id -u)" -ne 0 ]; then
  echo "run.sh makes network namespaces and loads BPF programs: run it as root (sudo ./tests/run.sh)" >&2
  exit 1
fi

started=$SECONDS
say() { printf '== %02d:%02d %s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) "$*"; }
jobs=$(nproc)

say "packages"
bash deploy/packages.sh kube
bash tests/kube/apiserver.sh > /dev/null

say "build with gcc: build/"
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSLUICE_LANES=ON > /dev/null
ninja -C build -j "$jobs"

# A failure here is told by the test lane.clang, which builds what is left to build.
say "build with clang, ASan and UBSan: build/clang/"
bash tests/lanes/clang.sh build/clang || say "the clang build failed: see lane.clang below"

say "tests"
exec ctest --test-dir build -j "$jobs" --output-on-failure "$@"
