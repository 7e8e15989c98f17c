#!/usr/bin/env bash
# Builds kube-apiserver from Debian's source package `kubernetes` when it is not there yet, and prints its path:
# tests/kube/apiserver.sh [DIRECTORY]. It stays in DIRECTORY, /var/cache/sluice-tests by default. The first time takes
# minutes and needs the packages of `deploy/packages.sh kube`, and the source package from where this machine gets its
# packages.
set -euo pipefail

cache=${1:-${SLUICE_TEST_CACHE:-/var/cache/sluice-tests}}
binary=$cache/kube-apiserver
mkdir -p "$cache"
exec 9> "$cache/.building"
flock 9
if [ -x "$binary" ]; then
  echo "$binary"
  exit 0
fi

work=$(mktemp -d "$cache/building.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The machine's own Debian sources again, of type deb-src, with lists of our own: nothing in /etc/apt is changed.
debian_sources() {
  local release
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] || continue
    awk -v RS='' -v ORS='\n\n' -v release="$release" \
      '$0 ~ "Suites:[^\n]*(^|[ /])" release && sub(/Types:[^\n]*/, "Types: deb-src")' "$file"
  done > "$work/apt/parts/debian.sources"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$file" ] || continue
    grep -E "^deb .* $release(-[a-z]+)?(/[a-z]+)? .*main" "$file" | sed 's/^deb /deb-src /' || true
  done > "$work/apt/parts/debian.list"
}

fetch_source() {
  mkdir -p "$work/apt/parts" "$work/apt/lists/partial"
  debian_sources
  local options=(-q -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$work/apt/parts"
    -o "Dir::State::Lists=$work/apt/lists" -o "APT::Sandbox::User=root")
  apt-get "${options[@]}" update
  mkdir -p "$work/source"
  (cd "$work/source" && apt-get "${options[@]}" -o Dpkg::Use-Pty=0 source --download-only kubernetes)
  dpkg-source --no-check -x "$work"/source/kubernetes_*.dsc "$work/go/src/k8s.io/kubernetes"
}

build() {
  export GO111MODULE=off CGO_ENABLED=0 GOPATH=$work/go GOCACHE=$work/gocache GOFLAGS=-p=2
  export PATH=/usr/lib/go-1.19/bin:$PATH
  cd "$work/go/src/k8s.io/kubernetes"
  # The vendored one crashes with Go 1.18 and later.
  rm -rf vendor/github.com/modern-go/reflect2
  cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/reflect2
  make generated_files
  go build -ldflags '-s -w' -o "$work/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver
}

mkdir -p "$work/go/src/k8s.io"
(fetch_source && build) >&2
mv "$work/kube-apiserver" "$binary"
chmod -R u+w "$work"
echo "$binary"
