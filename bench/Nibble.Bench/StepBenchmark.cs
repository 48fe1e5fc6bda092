using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Bench;

/// <summary>
/// Whole QLoRA steps (r 16 on q, k, v, o) through the trainer, on a model of random weights: tokens a second, peak memory, and the
/// share of the bf16 matrix rate that libtorch reaches in the same run.
/// </summary>
internal static class StepBenchmark
{
    /// <param name="Config">As in config.json.</param>
    /// <param name="Batch">Sequences in a step.</param>
    /// <param name="Length">Tokens of a sequence.</param>
    /// <param name="Steps">Steps of the run; the first warms up, and short ones need more until .NET has compiled what they call.</param>
    private sealed record Setting(JsonObject Config, int Batch, int Length, int Steps = 6);

    private static readonly Dictionary<string, Setting> Settings = new()
    {
        ["small"] = new(Llama(hidden: 512, intermediate: 1536, layers: 8, heads: 8, keyValueHeads: 8, vocab: 32000), Batch: 4, Length: 256, Steps: 120),
        ["1b"] = new(Llama1B(), Batch: 1, Length: 512),
        ["1b-4096"] = new(Llama1B(), Batch: 1, Length: 4096, Steps: 2),
        ["8b"] = new(Llama(hidden: 4096, intermediate: 14336, layers: 32, heads: 32, keyValueHeads: 8, vocab: 128256, tied: false), Batch: 1, Length: 512, Steps: 2),
    };

    /// <summary>Runs one setting and describes the result as a row of a Markdown table.</summary>
    /// <exception cref="ArgumentException">There is no setting of that name.</exception>
    public static string Run(string name)
    {
        Setting setting = Named(name);
        string folder = Directory.CreateTempSubdirectory("nibble-bench-").FullName;
        try
        {
            double before = double.Parse(OwnProcess.Run("model", name, folder), CultureInfo.InvariantCulture); // It takes memory that training does not.
            DecoderConfig model = ConfigReader.Read(folder);
            var clock = new Clock();
            RunConfig config = Configure(folder, setting);
            TrainingResult result = new FineTuner(config, clock) { Profiles = true }.Run();
            Console.Error.WriteLine(result.Profile);
            long memory = PeakMemory.Bytes;
            double peak = Math.Max(before, MatrixRate()); // The machine may have been slow at one of the two times.
            double seconds = clock.MedianStep;
            double tokens = setting.Batch * setting.Length;
            double share = FlopsPerToken(model) * tokens / seconds / peak;
            return string.Create(
                CultureInfo.InvariantCulture,
                $"| {name} | {tokens / seconds:0.0} tokens/s | {seconds:0.000} s a step | {share:P0} of {peak / 1e9:0} GFLOP/s | peak {memory / 1048576.0:0} MB, predicted {new FineTuner(config).DryRun().Memory.Total / 1048576.0:0} |");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Writes a setting's model and data, and gives the rate that <see cref="MatrixRate"/> finds beside.</summary>
    public static string Prepare(string name, string folder)
    {
        Setting setting = Named(name);
        WriteModel(folder, setting.Config, setting.Batch * setting.Steps, setting.Length);
        return MatrixRate().ToString(CultureInfo.InvariantCulture);
    }

    private static Setting Named(string name) =>
        Settings.GetValueOrDefault(name) ?? throw new ArgumentException($"No setting '{name}'; there are {string.Join(", ", Settings.Keys)}.");

    /// <summary>What the method needs: layers forward, recomputed and to their inputs; head forward and to its input.</summary>
    private static double FlopsPerToken(DecoderConfig model)
    {
        double layers = WeightShapes.Of(model).Where(item => item.Shape.Length == 2 && item.Name.StartsWith("model.layers.", StringComparison.Ordinal)).Sum(item => item.Shape[0] * item.Shape[1]);
        double head = (double)model.VocabSize * model.HiddenSize;
        return 2 * ((3 * layers) + (2 * head));
    }

    /// <summary>The best of several bfloat16 products of libtorch, in operations a second.</summary>
    internal static double MatrixRate()
    {
        const int Size = 2048;
        using Tensor a = randn(Size, Size).to(ScalarType.BFloat16);
        using Tensor b = randn(Size, Size).to(ScalarType.BFloat16);
        double best = double.MaxValue;
        for (int i = 0; i < 20; i++)
        {
            var watch = Stopwatch.StartNew();
            using Tensor product = matmul(a, b);
            best = Math.Min(best, watch.Elapsed.TotalSeconds);
        }

        return 2.0 * Size * Size * Size / best;
    }

    /// <summary>A model of random weights, and train.jsonl with examples of so many tokens.</summary>
    internal static DecoderConfig WriteModel(string folder, JsonObject config, int records, int length)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        RandomWeights.Write(folder, seed: 1, ScalarType.BFloat16);
        DecoderConfig model = ConfigReader.Read(folder);
        IEnumerable<string> lines = Enumerable.Range(0, records).Select(record =>
        {
            var ids = new JsonArray([.. Enumerable.Range(0, length).Select(i => (JsonNode)(((record * 7919) + (i * 104729)) % model.VocabSize))]);
            return new JsonObject { ["input_ids"] = ids, ["labels"] = ids.DeepClone() }.ToJsonString();
        });
        File.WriteAllLines(Path.Combine(folder, "train.jsonl"), lines);
        return model;
    }

    private static RunConfig Configure(string folder, Setting setting) => new()
    {
        Model = folder,
        Method = Method.Qlora,
        OutputDir = Path.Combine(folder, "out"),
        Data = new DataSection { Train = Path.Combine(folder, "train.jsonl"), MaxLength = setting.Length, Packing = false },
        Lora = new LoraSection { R = 16, LoraDropout = 0 },
        Training = new TrainingSection { MaxSteps = setting.Steps, PerDeviceTrainBatchSize = setting.Batch, GradientAccumulationSteps = 1 },
    };

    private static JsonObject Llama1B() => Llama(hidden: 2048, intermediate: 8192, layers: 16, heads: 32, keyValueHeads: 8, vocab: 128256);

    internal static JsonObject Llama(int hidden, int intermediate, int layers, int heads, int keyValueHeads, int vocab, bool tied = true) => new()
    {
        ["model_type"] = "llama",
        ["architectures"] = new JsonArray("LlamaForCausalLM"),
        ["vocab_size"] = vocab,
        ["hidden_size"] = hidden,
        ["intermediate_size"] = intermediate,
        ["num_hidden_layers"] = layers,
        ["num_attention_heads"] = heads,
        ["num_key_value_heads"] = keyValueHeads,
        ["max_position_embeddings"] = 4096,
        ["rms_norm_eps"] = 1e-5,
        ["rope_theta"] = 10000.0,
        ["hidden_act"] = "silu",
        ["tie_word_embeddings"] = tied,
        ["torch_dtype"] = "bfloat16",
    };

    /// <summary>Time between the ends of steps; the first, which warms up, is not among them.</summary>
    internal sealed class Clock : ITrainingObserver
    {
        private readonly List<double> seconds = [];
        private readonly Stopwatch watch = new();

        public IReadOnlyList<double> Seconds => seconds;

        public double MedianStep => seconds.Order().ElementAt(seconds.Count / 2);

        public void Progress(int done, int totalSteps, double loss)
        {
            if (watch.IsRunning)
            {
                seconds.Add(watch.Elapsed.TotalSeconds);
            }

            watch.Restart();
        }
    }
}
