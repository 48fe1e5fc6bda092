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

if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then
        as_root=()
    elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
        as_root=(sudo)
    else
        echo "build.sh: install these first: ${missing[*]} (g++ 12 or newer, cmake 3.25 or newer)" >&2
        exit 1
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
fi

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
dotnet tool restore > /dev/null
exec dotnet cake build.cake "$@"
