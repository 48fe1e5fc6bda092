#!/usr/bin/env bash
# The benchmark through .NET as a folder that a GPU machine can run without .NET and NuGet: bench/gpu/publish-dotnet.sh FOLDER.
# libtorch stays out of it; run-dotnet.sh, which lies in the folder, takes the one of Python's torch.
set -euo pipefail
out=$(realpath -m "${1:?usage: publish-dotnet.sh FOLDER}")
cd "$(dirname "$0")/../.."
./build.sh --target=Cuda
# An artifacts folder of its own: the other builds of this tree were restored with a libtorch.
dotnet publish bench/Nibble.Bench.Gpu -c Release -r linux-x64 --self-contained -p:TorchBackend=none --artifacts-path artifacts/gpu/dotnet -o "$out"
cp bench/gpu/run-dotnet.sh "$out"
