#!/usr/bin/env bash
# Starts build.cake; before that, makes sure of what native code needs.
set -euo pipefail
cd "$(dirname "$0")"

newer_than() { # version, least
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

missing=()
{ command -v g++ > /dev/null && newer_than "$(g++ -dumpversion)" 12; } || missing+=(g++)
{ command -v cmake > /dev/null && newer_than "$(cmake --version | awk 'NR == 1 { print $3 }')" 3.25; } || missing+=(cmake)
command -v make > /dev/null || missing+=(make)
[ -e /usr/include/gtest/gtest.h ] || missing+=(libgtest-dev)

# The CUDA kernels need nvcc, or a clang that needs no toolkit; several processes need MPI, and their tests Slurm and networks; the service's page is
# compiled by Node.js, its tests start PostgreSQL, Slurm and a browser. Where these cannot be had, their tests skip.
wanted=()
case "$*" in
    *Cuda* | *Test* | *Pack*) command -v nvcc clang++-19 > /dev/null || wanted+=(clang-19) ;;
esac
case "$*" in
    *Distributed* | *Test*) { command -v mpirun && command -v mpicxx; } > /dev/null || wanted+=(openmpi-bin libopenmpi-dev)
        for program in slurmctld:slurm-wlm munged:munge ip:iproute2; do
            PATH=$PATH:/usr/sbin:/sbin command -v "${program%:*}" > /dev/null || wanted+=("${program#*:}")
        done ;;
esac
case "$*" in
    *Test*) compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null || wanted+=(postgresql) ;;
esac
case "$*" in
    *Test* | *Pack* | *Build* | '') { command -v node && command -v npm; } > /dev/null || wanted+=(nodejs npm) ;;
esac
case "$*" in
    *Test*) [ -e "${NIBBLE_CHROMIUM:-/usr/bin/chromium}" ] || wanted+=(chromium) ;;
esac

as_root=()
if [ "$(id -u)" != 0 ]; then
    if command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
        as_root=(sudo)
    elif [ ${#missing[@]} -gt 0 ]; then
        echo "build.sh: install these first: ${missing[*]} (g++ 12 or newer, cmake 3.25 or newer)" >&2
        exit 1
    else
        wanted=()
    fi
fi

if [ $((${#missing[@]} + ${#wanted[@]})) -gt 0 ]; then
    "${as_root[@]}" apt-get update -qq
fi
if [ ${#missing[@]} -gt 0 ]; then
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
fi
for package in "${wanted[@]}"; do # One by one: the want of one is no reason to do without another.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" ||
        echo "build.sh: went on without $package; what needs it is left out" >&2
done

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
dotnet tool restore > /dev/null
exec dotnet cake build.cake "$@"
