using System.Globalization;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Nibble.Bench;
using Nibble.Bench.Distributed;
using Nibble.Bench.Kernels;
using Nibble.Bench.Peers;
using Nibble.Bench.Reports;
using Nibble.Bench.Serving;
using Nibble.Kernels.Runtime;
using Perfolizer.Horology;

// report FOLDER: everything, as a report. step NAME: a whole QLoRA step, of a model that model NAME FOLDER makes. full NAME: full fine-tuning,
// its memory or its checkpoints. distributed FOLDER: several processes, as a report; each of them is started as rank MODEL STAGE STEPS. service
// FOLDER: the training service under load, as a section of its report. Anything else is BenchmarkDotNet's (--filter '*Rope*', --list flat), and
// the kernels among it are shown as a report would.
LibTorch.EnsureLoaded();
if (args is ["step", ..])
{
    Console.WriteLine(StepBenchmark.Run(args.Length > 1 ? args[1] : "small"));
    return;
}

if (args is ["model", string made, string where])
{
    Console.WriteLine(StepBenchmark.Prepare(made, where));
    return;
}

if (args is ["full", string setting])
{
    Console.WriteLine(FullBenchmark.Run(setting));
    return;
}

if (args is ["rank", string model, string stage, string steps])
{
    RankRun.Run(model, int.Parse(stage, CultureInfo.InvariantCulture), int.Parse(steps, CultureInfo.InvariantCulture));
    return;
}

if (args is ["distributed", string reports])
{
    Console.WriteLine(DistributedReport.Write(reports));
    return;
}

if (args is ["service", string served])
{
    Console.WriteLine(await ServiceReport.WriteAsync(served).ConfigureAwait(false));
    return;
}

// In this process, so that libtorch and the native core are the ones that this build found. Cases are short: what is compared
// has to be measured within seconds of each other where a machine is shared.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.Default
        .WithToolchain(InProcessEmitToolchain.Instance)
        .WithWarmupCount(1)
        .WithIterationCount(7)
        .WithIterationTime(TimeInterval.FromMilliseconds(60))
        .WithMinInvokeCount(1)
        .WithUnrollFactor(1)
        .WithEvaluateOverhead(false))
    .AddFilter(new SimpleFilter(item => Bitsandbytes.Present || !item.Descriptor.WorkloadMethod.Name.StartsWith(nameof(Bitsandbytes), StringComparison.Ordinal)))
    .WithOption(ConfigOptions.DisableLogFile, true)
    .WithArtifactsPath("artifacts/bench");
Type[] kernels = [.. typeof(Program).Assembly.GetTypes().Where(type => type.IsSubclassOf(typeof(KernelBenchmark)) && !type.IsAbstract)];

if (args is ["report", string folder])
{
    Console.WriteLine(Report.Write(folder, () => kernels.Select(kernel => BenchmarkRunner.Run(kernel, config))));
    return;
}

foreach (Summary summary in BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config).Where(summary => kernels.Contains(summary.BenchmarksCases[0].Descriptor.Type)))
{
    Console.WriteLine(new KernelTable(summary).ToMarkdown());
}
