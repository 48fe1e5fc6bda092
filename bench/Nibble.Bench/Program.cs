using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Nibble.Bench;
using Nibble.Kernels.Runtime;

// step NAME: whole QLoRA step. Anything else is BenchmarkDotNet's: --filter '*Linear*', --list flat.
LibTorch.EnsureLoaded();
if (args is ["step", ..])
{
    Console.WriteLine(StepBenchmark.Run(args.Length > 1 ? args[1] : "small"));
    return;
}

// In this process, so that libtorch and the native core are the ones that this build found.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .WithArtifactsPath("artifacts/bench");
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config);
