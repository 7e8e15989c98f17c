#!/usr/bin/env bash
# Builds everything with clang, ASan and UBSan; any warning is an error. usage: clang.sh DIRECTORY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ ! -f "$1/build.ninja" ]; then
  cmake -S . -B "$1" -G Ninja -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DSLUICE_SANITIZE=address,undefined -DSLUICE_FUZZ=ON > /dev/null
fi
ninja -k 0 -C "$1" -j "$(nproc)"
