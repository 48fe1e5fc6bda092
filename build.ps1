# Starts build.cake. The native core needs a C++20 compiler and CMake 3.25 on the PATH.
$ErrorActionPreference = 'Stop'
Set-Location $PSScriptRoot
dotnet tool restore | Out-Null
dotnet cake build.cake @args
exit $LASTEXITCODE
