using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Nibble.Bench.Machine;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training;

namespace Nibble.Bench.Distributed;

/// <summary><c>bench/reports/distributed.md</c>: full fine-tuning in 1, 2 and 4 processes over MPI, and what it would be on many GPUs.</summary>
internal static class DistributedReport
{
    private static readonly (int Stage, int Processes)[] Runs = [(0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 2), (2, 4), (3, 2), (3, 4)];

    /// <summary>Runs everything.</summary>
    /// <param name="folder">Where reports lie.</param>
    /// <returns>The path of the report.</returns>
    public static string Write(string folder)
    {
        string work = Directory.CreateTempSubdirectory("nibble-bench-").FullName;
        try
        {
            DecoderConfig model = RankRun.WriteModel(work, Runs.Max(run => run.Processes));
            double parameters = WeightShapes.Of(model).Sum(item => item.Shape.Aggregate(1.0, (product, length) => product * length));
            double rate = StepBenchmark.MatrixRate();
            RankResult[] results = [.. Runs.Select(run => Measure(work, run.Stage, run.Processes))];
            double alone = results[0].Seconds;
            double reached = 8 * parameters * RankRun.BatchPerProcess * RankRun.Length / alone / rate;
            var cluster = new Cluster(FlopsPerGpu: 989e12 * reached, Node: 8, InsideBytesPerSecond: 450e9, BetweenBytesPerSecond: 50e9, Latency: 10e-6);
            string path = Path.Combine(folder, "distributed.md");
            File.WriteAllText(path, string.Create(CultureInfo.InvariantCulture, $"""
                # Several processes

                {MachineInfo.Describe()} Made by `./build.sh --target=BenchDistributed`: full fine-tuning of {parameters / 1e6:0.0} M parameters,
                {RankRun.BatchPerProcess} x {RankRun.Length} tokens in each process, bfloat16, over Open MPI on one machine whose cores the processes share.

                - **Memory** is the largest resident size of a process, the model's loading included, less what one process has besides its 16 bytes a parameter.
                - **Estimate** is what `nibble train --dry-run` says, less the same. Theory has no more than 16 bytes, shared out. Besides, a process holds
                  gradients of its share in float32, in which they are summed (2 / N bytes); embedding and norms in float32; with ZeRO 3 two units; and two
                  buckets under way between processes, each with what the others send, of at least the largest tensor: 2 bytes a parameter of this small model,
                  a hundredth of a byte of one of 8B.
                - **Sent** is counted by the communicator: what each process sends in a step if sums and gathered parts go along rings. In theory that is
                  4 bytes for a gradient and 2 for a weight, as often as the stage sends them.
                - **Expected time** is that of one process, as many times as there are processes (they share the cores), and the time of what is sent at the speed
                  of a sum of 16 MiB just before.

                | ZeRO | processes | bytes a parameter | estimate | theory | sent a step | theory | step | expected |
                |---|---|---|---|---|---|---|---|---|
                {Rows(results, [.. Runs.Select(run => (double)MemoryEstimate.Of(RankRun.Config(work, run.Stage, run.Processes), model, gpu: false, run.Processes).Total)], parameters)}
                ## Many GPUs, simulated

                Nobody ran these. GPUs are taken to compute at {reached:P0} of 989 TFLOP/s, the share of its matrix rate that one process reached above; to send
                450 GB/s to each other within a node of 8 and 50 GB/s between nodes, one way; with 10 us a message and link of each ring; and to transfer beside
                half of their computing. A step has 8,192 tokens for each GPU. The figure is the share of time in which GPUs compute; `-` where a GPU of 80 GB has
                not the memory of the formulas, without activations.

                {Simulation(cluster)}
                """));
            return path;
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    private static string Rows(RankResult[] results, double[] estimates, double parameters)
    {
        double besides = results[0].PeakBytes - (16 * parameters);
        double besidesInEstimate = estimates[0] - (16 * parameters);
        var rows = new StringBuilder();
        foreach (((int stage, int processes), RankResult result, double estimate) in Runs.Zip(results, estimates))
        {
            double sent = processes == 1 ? 0 : result.SentBytes / result.BytesPerSecond;
            rows.AppendLine(CultureInfo.InvariantCulture, $"| {(processes == 1 ? "-" : stage)} | {processes} | {(result.PeakBytes - besides) / parameters:0.0} | {(estimate - besidesInEstimate) / parameters:0.0} | {ZeroFormula.BytesPerParameter(stage, processes):0.0} | {result.SentBytes / 1e6:0} MB | {ZeroFormula.SentPerParameter(stage, processes) * parameters / 1e6:0} MB | {result.Seconds:0.000} s | {(results[0].Seconds * processes) + sent:0.000} s |");
        }

        return rows.ToString();
    }

    private static string Simulation(Cluster cluster)
    {
        const double Tokens = 8192;
        const double GpuMemory = 80e9;
        const double Overlap = 0.5;
        ModelShape[] models = [new("8B", 8.03e9, 32), new("70B", 70.6e9, 80)];
        int[] gpus = [8, 16, 32, 64, 128, 256, 512, 1024];
        var table = new StringBuilder();
        table.AppendLine(CultureInfo.InvariantCulture, $"| model | ZeRO | {string.Join(" | ", gpus)} |");
        table.AppendLine(CultureInfo.InvariantCulture, $"|---|---{string.Concat(gpus.Select(_ => "|---"))}|");
        foreach (ModelShape model in models)
        {
            for (int stage = 0; stage <= 3; stage++)
            {
                IEnumerable<string> cells = gpus.Select(count => ZeroFormula.BytesPerParameter(stage, count) * model.Parameters > GpuMemory
                    ? "-"
                    : cluster.Step(model, stage, count, Tokens, Overlap).Efficiency.ToString("P0", CultureInfo.InvariantCulture));
                table.AppendLine(CultureInfo.InvariantCulture, $"| {model.Name} | {stage} | {string.Join(" | ", cells)} |");
            }
        }

        return table.ToString();
    }

    private static RankResult Measure(string folder, int stage, int processes)
    {
        string[] own = ["rank", folder, stage.ToString(CultureInfo.InvariantCulture)];
        ProcessStartInfo start = processes == 1
            ? new ProcessStartInfo(Environment.ProcessPath!, own)
            : new ProcessStartInfo("mpirun", ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", $"{processes}", Environment.ProcessPath!, .. own]);
        start.RedirectStandardOutput = true;
        using var process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        string? line = output.Split('\n').LastOrDefault(text => text.Contains('{', StringComparison.Ordinal));
        return process.ExitCode == 0 && line is not null
            ? JsonSerializer.Deserialize<RankResult>(line[line.IndexOf('{', StringComparison.Ordinal)..])!
            : throw new InvalidOperationException($"Stage {stage} in {processes} processes ended with {process.ExitCode}.");
    }
}
