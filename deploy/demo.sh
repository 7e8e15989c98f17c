#!/usr/bin/env bash
# Installs, builds and shows Sluice at work on this machine: sudo ./deploy/demo.sh
# Everything it plays with lives in network namespaces of its own and is gone afterwards, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "$(id -u)" -ne 0 ]; then
  echo "demo.sh makes network namespaces and loads BPF programs: run it as root (sudo ./deploy/demo.sh)" >&2
  exit 1
fi

bash deploy/packages.sh

build=build
if [ ! -f "$build/build.ninja" ]; then
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo
fi
echo "building $build/sluice"
ninja -C "$build" -j "$(nproc)" sluice

# exec: a signal to this script is a signal to the lab, which cleans up.
exec env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 deploy/demo.py
