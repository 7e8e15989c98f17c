#!/usr/bin/env bash
# Installs the Debian packages that Sluice is built, run and tested with: deploy/packages.sh [bench|kube]
# With "bench" also those that only the benchmark needs, with "kube" those of the tests against a real API server.
# Does nothing when all are there.
set -euo pipefail

build=(
  cmake ninja-build ccache g++ clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev pkg-config
  bpftool libbpf-dev libelf-dev zlib1g-dev linux-libc-dev
  libssl-dev libnl-3-dev libnl-route-3-dev libspdlog-dev libfmt-dev
  libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev
  libc-ares-dev libnghttp2-dev libyaml-cpp-dev libcli11-dev prometheus-cpp-dev libre2-dev libnghttp2-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
scene=( # what the demo and the network tests play with
  git iproute2 iputils-ping util-linux procps nftables tcpdump strace curl openssl ca-certificates
  nginx-light libnginx-mod-stream haproxy dnsmasq-base nodejs python3 python3-pytest python3-scapy python3-yaml runc
  # clients and servers for the ingress: HTTP/2 by the frame and by the page, WebSocket, gRPC
  nghttp2-client python3-h2 python3-hyperframe python3-hpack python3-websockets python3-grpcio node-ws
  chromium fonts-dejavu-core libnss3-tools python3-pil
)
# Peers to compare with, besides those of the scene, and what measuring takes. python3-munkres: what else python3-fonttools
# takes depends on a libboost-dev that conflicts with ours.
bench=(sniproxy squid-openssl conntrack python3-matplotlib python3-munkres)
# An API server with its store and its client, and what tests/kube/apiserver.sh builds the server with.
kube=(etcd-server golang-1.19-go golang-github-modern-go-reflect2-dev dpkg-dev make rsync)
# Other packages of kubectl have the same file, and any of them will do.
command -v kubectl > /dev/null || kube+=(kubernetes-client)

wanted=("${build[@]}" "${scene[@]}")
case "${1-}" in
  "") ;;
  bench) wanted+=("${bench[@]}") ;;
  kube) wanted+=("${kube[@]}") ;;
  *) echo "packages.sh: no list $1; there are: bench, kube" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "packages.sh: missing ${missing[*]}: run as root, or install them with apt-get" >&2
  exit 1
fi

# A freshly installed nginx must not start as a service of this machine: it would hold port 80.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
fi

echo "installing ${#missing[@]} Debian packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q -o DPkg::Lock::Timeout=600
apt-get install -y -q -o DPkg::Lock::Timeout=600 --no-install-recommends "${missing[@]}"
