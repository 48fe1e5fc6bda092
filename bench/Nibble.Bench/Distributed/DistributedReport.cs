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
    private const int Layers = 8;
    private const int Steps = 6;

    /// <summary>Of the model whose further layers tell what grows with the parameters; two steps meet its peak.</summary>
    private const int ManyLayers = 36;
    private const int FewSteps = 2;

    private static readonly (int Stage, int Processes)[] Runs = [(0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 2), (2, 4), (3, 2), (3, 4)];
    private static readonly (int Stage, int Processes)[] LargeRuns = [(0, 1), (1, 4), (2, 4), (3, 4)];

    /// <summary>Runs everything.</summary>
    /// <param name="folder">Where reports lie.</param>
    /// <returns>The path of the report.</returns>
    public static string Write(string folder)
    {
        string work = Directory.CreateTempSubdirectory("nibble-bench-").FullName;
        try
        {
            double rate = StepBenchmark.MatrixRate();
            var small = Measured.Of(Path.Combine(work, "small"), Layers, Steps, Runs);
            var large = Measured.Of(Path.Combine(work, "large"), ManyLayers, FewSteps, LargeRuns);
            double reached = 8 * small.Parameters * RankRun.BatchPerProcess * RankRun.Length / small.Results[0].Seconds / rate;
            var cluster = new Cluster(FlopsPerGpu: 989e12 * reached, Node: 8, InsideBytesPerSecond: 450e9, BetweenBytesPerSecond: 50e9, Latency: 10e-6);
            string path = Path.Combine(folder, "distributed.md");
            File.WriteAllText(path, string.Create(CultureInfo.InvariantCulture, $"""
                # Several processes

                {MachineInfo.Describe()} Made by `./build.sh --target=BenchDistributed`: full fine-tuning of {small.Parameters / 1e6:0.0} M parameters
                ({Layers} layers) and of {large.Parameters / 1e6:0.0} M ({ManyLayers} such layers), {RankRun.BatchPerProcess} x {RankRun.Length} tokens in each process, bfloat16, no checkpoints, over Open MPI on one machine whose cores
                the processes share.

                ## Memory

                In bytes a parameter. **Peak** is the largest resident size of a process, the model's loading included, less what one process has besides its 16, so that
                its own peak says nothing; that a parameter takes 16 there is measured by the slope.
                The parts are what `nibble train --dry-run` says of them, and for MPI what joining the others took (its libraries and buffers).
                **Theory** (arXiv:1910.02054) has weights and gradients in 2 bytes, masters and states in 12. Here:

                - **Weights** are, beside their masters, 2 bytes only in layers: embedding and norms are computed in float32. With ZeRO 3 there are two units besides the share.
                - **Gradients** of a share are float32, in which they are summed: 2 / N bytes more. With one micro-batch a step, ZeRO 1 needs no more than ZeRO 2.
                - **Messages** are one bucket under way, its own and what the others send, of 4 Mi elements or the largest tensor (here the embedding): it does not
                  grow with the model.
                - **MPI**, {small.JoinedMegabytes:0} MB a process, does not either.

                What does not grow is gone from the **slope**: what a further parameter of the larger model takes, whole peaks compared, against the smaller one.

                {Memory(small, large)}
                ## Time

                - **Sent** is counted by the communicator: what each process sends in a step if sums and gathered parts go along rings. In theory that is,
                  as often as the stage sends them, 2 bytes for a weight and for a gradient that goes to one process, 4 for one that goes to all. Embedding and norms,
                  {small.Model.VocabSize * small.Model.HiddenSize / small.Parameters:P0} of the parameters here, go in float32 also where the stage sends 2 bytes.
                - **Expected** is the time of one process, as many times as there are processes (they share the cores), and the time of what is sent at the speed
                  of sums of 16 MiB just after.

                {Times(small)}
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

    private static string Memory(Measured small, Measured large)
    {
        var rows = new StringBuilder();
        rows.AppendLine("| parameters | ZeRO | processes | weights | gradients | states | messages | MPI | sum | peak | slope | theory |");
        rows.AppendLine("|---|---|---|---|---|---|---|---|---|---|---|---|");
        foreach (Measured model in new[] { small, large })
        {
            foreach ((int stage, int processes) in model.Runs)
            {
                double[] parts = model.Parts(stage, processes);
                string slope = model == large
                    ? Invariant($"{(model.ResultOf(stage, processes).PeakBytes - small.ResultOf(stage, processes).PeakBytes) / (model.Parameters - small.Parameters):0.0}")
                    : "";
                rows.AppendLine(Invariant(
                    $"| {model.Parameters / 1e6:0.0} M | {Stage(stage, processes)} | {processes} | {string.Join(" | ", parts.Append(parts.Sum()).Select(part => Invariant($"{part:0.0}")))} | {model.Peak(stage, processes):0.0} | {slope} | {ZeroFormula.BytesPerParameter(stage, processes):0.0} |"));
            }
        }

        return rows.ToString();
    }

    private static string Times(Measured model)
    {
        var rows = new StringBuilder();
        rows.AppendLine("| ZeRO | processes | sent a step | theory | step | expected |");
        rows.AppendLine("|---|---|---|---|---|---|");
        foreach (((int stage, int processes), RankResult result) in model.Runs.Zip(model.Results))
        {
            double sending = processes == 1 ? 0 : result.SentBytes / result.BytesPerSecond;
            rows.AppendLine(Invariant(
                $"| {Stage(stage, processes)} | {processes} | {result.SentBytes / 1e6:0} MB | {ZeroFormula.SentPerParameter(stage, processes, gradient: 2) * model.Parameters / 1e6:0} MB | {result.Seconds:0.000} s | {(model.Results[0].Seconds * processes) + sending:0.000} s |"));
        }

        return rows.ToString();
    }

    private static string Stage(int stage, int processes) => processes == 1 ? "-" : Invariant($"{stage}");

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

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

    /// <summary>Runs of one model; the first is of one process.</summary>
    private sealed record Measured(string Folder, DecoderConfig Model, double Parameters, int Steps, (int Stage, int Processes)[] Runs, RankResult[] Results)
    {
        public double JoinedMegabytes => Results.Max(result => result.JoinedBytes) / 1e6;

        public static Measured Of(string folder, int layers, int steps, (int Stage, int Processes)[] runs)
        {
            Directory.CreateDirectory(folder);
            DecoderConfig model = RankRun.WriteModel(folder, layers, runs.Max(run => run.Processes), steps);
            double parameters = WeightShapes.Of(model).Sum(item => item.Shape.Aggregate(1.0, (product, length) => product * length));
            return new Measured(folder, model, parameters, steps, runs, [.. runs.Select(run => Measure(folder, run.Stage, run.Processes, steps))]);
        }

        /// <summary>Bytes a parameter at the peak of a run, less what one process has besides 16.</summary>
        public double Peak(int stage, int processes) => ((ResultOf(stage, processes).PeakBytes - Results[0].PeakBytes) / Parameters) + 16;

        /// <summary>Weights, gradients, states, messages and MPI, in bytes a parameter.</summary>
        public double[] Parts(int stage, int processes)
        {
            MemoryEstimate estimate = Estimate(stage, processes);
            return
            [
                .. new double[] { estimate.TrainedParameters, estimate.Gradients, estimate.OptimizerStates, estimate.Workspace - Estimate(0, 1).Workspace, ResultOf(stage, processes).JoinedBytes }
                    .Select(bytes => bytes / Parameters),
            ];
        }

        public RankResult ResultOf(int stage, int processes) => Results[Array.IndexOf(Runs, (stage, processes))];

        private MemoryEstimate Estimate(int stage, int processes) => MemoryEstimate.Of(RankRun.Config(Folder, stage, processes, Steps), Model, gpu: false, processes);
    }

    private static RankResult Measure(string folder, int stage, int processes, int steps)
    {
        string[] own = ["rank", folder, Invariant($"{stage}"), Invariant($"{steps}")];
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
