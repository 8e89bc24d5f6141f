#!/usr/bin/env bash
# Installs Icarus Verilog and Verilator, which simulate the FPGA engine, where apt and the right to use it are there.
# Elsewhere it says what stays untested and ends well: everything but these simulations works without them.
set -u
missing=()
for program in iverilog verilator make g++; do
    command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1 && exit 0
fi
echo "simulations of Verilog are not tested: ${missing[*]} not found, and apt-get could not install them" >&2
