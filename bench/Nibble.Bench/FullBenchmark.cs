using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Bench;

/// <summary>Full fine-tuning of random weights in bfloat16: what its memory goes to, and what a step takes in which a checkpoint is begun.</summary>
internal static class FullBenchmark
{
    private const int Length = 128;

    /// <summary>322 M parameters, for memory, and 32 M, for checkpoints.</summary>
    private static readonly JsonObject Large = StepBenchmark.Llama(hidden: 1024, intermediate: 2816, layers: 20, heads: 16, keyValueHeads: 16, vocab: 32000, tied: false);
    private static readonly JsonObject Small = StepBenchmark.Llama(hidden: 512, intermediate: 1536, layers: 8, heads: 8, keyValueHeads: 8, vocab: 8192);

    private static readonly TrainingSection Memory = new() { MaxSteps = 3 };
    private static readonly TrainingSection Checkpoints = new() { MaxSteps = 37, SaveSteps = 1000, SaveTotalLimit = 1 };

    private static readonly Dictionary<string, (JsonObject Model, TrainingSection Training)> Settings = new()
    {
        ["masters"] = (Large, Memory),
        ["rounded"] = (Large, Memory with { Bf16StochasticRound = true }),
        ["in-backward"] = (Large, Memory with { OptimizerInBwd = true }),
        ["4-bytes"] = (Large, Memory with { Bf16StochasticRound = true, OptimizerInBwd = true, Optim = OptimizerType.Adamw8bit }),
        ["unsaved"] = (Small, Checkpoints),
        ["saved"] = (Small, Checkpoints with { SaveSteps = 12, SaveAsync = false }),
        ["saved-async"] = (Small, Checkpoints with { SaveSteps = 12, SaveAsync = true }),
    };

    /// <summary>Runs one setting and describes the result as a row of a Markdown table.</summary>
    /// <exception cref="ArgumentException">There is no setting of that name.</exception>
    public static string Run(string name)
    {
        if (!Settings.TryGetValue(name, out (JsonObject Model, TrainingSection Training) setting))
        {
            throw new ArgumentException($"No setting '{name}'; there are {string.Join(", ", Settings.Keys)}.");
        }

        string folder = Directory.CreateTempSubdirectory("nibble-bench-").FullName;
        try
        {
            DecoderConfig model = StepBenchmark.WriteModel(folder, setting.Model, setting.Training.MaxSteps, Length);
            double parameters = WeightShapes.Of(model).Sum(item => item.Shape.Aggregate(1.0, (product, length) => product * length));
            var config = new RunConfig
            {
                Model = folder,
                Method = Method.Full,
                Device = "cpu",
                OutputDir = Path.Combine(folder, "out"),
                Data = new DataSection { Train = Path.Combine(folder, "train.jsonl"), MaxLength = Length, Packing = false },
                Training = setting.Training with { PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 1, MaxGradNorm = 0, ReportSamples = 0 },
            };
            PeakMemory.Reset(); // To make the model took memory too.
            var clock = new StepBenchmark.Clock();
            new FineTuner(config, clock).Run();
            double[] saving = [.. clock.Seconds.Where((_, i) => setting.Training.SaveSteps > 0 && (i + 1) % setting.Training.SaveSteps == 0)];
            double predicted = MemoryEstimate.Of(config, model, gpu: false).Total;
            return string.Create(
                CultureInfo.InvariantCulture,
                $"| {name} | {PeakMemory.Bytes / 1048576.0:0} MB, {PeakMemory.Bytes / parameters:0.0} bytes a parameter | predicted {predicted / 1048576.0:0} MB | step {clock.MedianStep:0.000} s, mean {clock.Seconds.Average():0.000} s, with a save {string.Join(", ", saving.Select(seconds => $"{seconds:0.000}"))} s |");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
