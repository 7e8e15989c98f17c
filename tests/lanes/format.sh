#!/usr/bin/env bash
# Fails when clang-format would change a source file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
find agent bpf tests -name '*.cpp' -o -name '*.h' -o -name '*.c' | xargs clang-format-19 --dry-run --Werror
