#!/usr/bin/env bash
# Measures Sluice in the lab, alone and against other proxies: sudo tests/bench/run.sh [ROW...] [-- OPTIONS]
#
#   node-hop     pod -> agent -> origin standing in for the gateway (transport raw), against haproxy, nginx, sniproxy and
#                squid in the agent's place, and against the direct way
#   gateway-hop  node -> gateway -> origin, against haproxy and nginx
#   whole-path   pod -> agent -> gateway -> origin, against two haproxy in a row and two nginx in a row
#   delay        the direct way, the agent alone and the whole path over 1, 40 and 200 ms, without loss and with 1 %, with
#                CUBIC and BBR; the gateway is at the near end
#   connections  50,000 connections a minute through agent and gateway: none lost, each recorded, nothing left behind
#
# Without a name every row. OPTIONS go to each row that is named; `run.sh ROW -- --help` tells a row's own, for instance
#   run.sh node-hop -- --rounds 2 --seconds 1 --competitors direct,sluice --measures bulk-up-1,connect-64
#
# How it measures: each round every competitor has its turn, in which it is started, alone, and all of it is gone
# afterwards; whoever was first is last in the next round. All have the same allow list (1,000 hosts), the same number of
# threads (one; sniproxy and squid know no more) and are redirected to with nftables. They write no log; Sluice records
# each connection. Figures are medians of the rounds, ratios medians of the rounds' own ratios. Memory of an idle
# connection is that of the processes and the kernel's objects, less what it is the direct way. Caller and origin speak a
# ClientHello and bytes (load/load.h); every reset, short read or wrong total is told and, of ours, a failure.
# A quiet machine is needed: everything shares its cores.
#
# Each row prints tables and writes build/bench/ROW.json and, where competitors are compared, build/bench/ROW.svg. Exit
# status 1 when what a row claims is not so. The binary is build/sluice, or $SLUICE_BINARY.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_rows=(node-hop gateway-hop whole-path delay connections)

rows=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [[ " ${all_rows[*]} " == *" $1 "* ]] || { echo "no row $1; there are: ${all_rows[*]}" >&2; exit 2; }
  rows+=("$1")
  shift
done
[ $# -eq 0 ] || shift
[ ${#rows[@]} -gt 0 ] || rows=("${all_rows[@]}")

bash "$here/../../deploy/packages.sh" bench

status=0
for row in "${rows[@]}"; do
  /usr/bin/python3 -B "$here/${row//-/_}.py" "$@" || status=1
done
exit $status
