#!/usr/bin/env bash
# Measures Sluice in the lab, alone and against other proxies: sudo tests/bench/run.sh [ROW...] [-- OPTIONS]
#
#   node-hop     pod -> agent -> origin standing in for the gateway (transport raw), against haproxy, nginx, sniproxy and
#                squid in the agent's place, and against the direct way
#   gateway-hop  node -> gateway -> origin, against haproxy and nginx
#   ingress      clients -> ingress -> web server: HTTP/1.1, HTTP/2 and TLS, against haproxy and nginx
#   whole-path   pod -> agent -> gateway -> origin, against two haproxy in a row and two nginx in a row
#   delay        the direct way, the agent alone and the whole path over 1, 40 and 200 ms, without loss and with 1 %, with
#                CUBIC and BBR; the gateway is at the near end
#   growth       the agent alone: a packet with 100 and 200,000 open flows, a connection with 10 and 100,000 allowed hosts
#   fair-queue   the agent alone: one pod's calls while another begins 10,000 a second
#   connections  50,000 connections a minute through agent and gateway: none lost, each recorded, nothing left behind
#   short-calls  1,000,000 connections through agent and gateway, as fast as they go: the same
#   transfers    1 GiB both ways at once, and around it hundreds of connections that rest, stop reading, end a half or
#                reset, by agent and gateway and by the agent alone, IPv4 and IPv6: every byte compared, every SHA-256 right
#   lossy-hello  100,000 connections on a way that loses, doubles and delays 3 % of packets each: none stuck, none denied
#   restarts     the agent killed every second under 1,000 transfers and 200 new calls a second: what is open completes,
#                new calls complete or are refused, nothing undecided leaves, records are complete
#
# Without a name every row. OPTIONS go to each row that is named; `run.sh ROW -- --help` tells a row's own, for instance
#   run.sh node-hop -- --rounds 2 --seconds 1 --competitors direct,sluice --measures bulk-up-1,connect-64
# tests/netns/test_rows.py runs those about correctness, small.
#
# How it measures: each round every competitor has its turn, in which it is started, alone, and all of it is gone
# afterwards; whoever was first is last in the next round. All have the same allow list (1,000 hosts), the same number of
# threads (one; sniproxy and squid know no more) and are redirected to with nftables. They write no log; Sluice records
# each connection. Figures are medians of the rounds, ratios medians of the rounds' own ratios. Memory of an idle
# connection is that of the processes and the kernel's objects, less what it is the direct way. Caller and origin speak a
# ClientHello and bytes (load/load.h); every reset, short read or wrong total is told and, of ours, a failure.
# A quiet machine is needed: everything shares its cores.
#
# The ingress and its competitors have two threads each, and clients are h2load and tls_calls/. None of them writes a log;
# "sluice recording" writes its records, one for each request, as it does unless it is told not to.
#
# Growth and fair-queue have rounds of their own; ends that are measured with them are made of raw segments (crowd/), and
# hold no files. In the rows about correctness time is nothing: they may share the machine.
#
# Each row prints tables and writes build/bench/ROW.json and, where competitors are compared, build/bench/ROW.svg. Exit
# status 1 when what a row claims is not so. The binary is build/sluice, or $SLUICE_BINARY; the directory for what is
# written build/bench, or $SLUICE_BENCH_DIRECTORY.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all_rows=(
  node-hop gateway-hop ingress whole-path delay growth fair-queue connections short-calls transfers lossy-hello restarts
)

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
