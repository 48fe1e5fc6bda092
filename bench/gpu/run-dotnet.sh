#!/usr/bin/env bash
# Runs what publish-dotnet.sh made, from its folder on a machine with a GPU, and leaves report-dotnet.md there. Needs a libtorch
# for GPUs of the version that TorchSharp binds to (2.10): NIBBLE_LIBTORCH names its folder, else it is that of python3's torch.
set -euo pipefail
cd "$(dirname "$0")"
if [ -z "${NIBBLE_LIBTORCH:-}" ]; then
    NIBBLE_LIBTORCH=$(python3 -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')
    export NIBBLE_LIBTORCH
fi
./Nibble.Bench.Gpu "$@" | tee report-dotnet.md
