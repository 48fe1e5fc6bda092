using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

public class MemoryLimitTests
{
    private const int Layers = 5;

    [Theory]
    [InlineData("lora")]
    [InlineData("qlora")]
    [InlineData("full")]
    public void Layers_that_keep_their_activations_are_not_computed_again_and_change_no_loss_to_the_bit(string method)
    {
        using var folder = new TempFolder();
        RunConfig config = Config(folder["least"], method);
        long least = MemoryEstimate.Of(config, ConfigReader.Read(config.Model), gpu: false).Total;
        TrainingResult recomputing = Run(config);
        TrainingResult keeping = Run(config with { OutputDir = folder["all"], MemoryLimit = "8GiB" });
        Assert.Equal(Layers, Recomputed(recomputing.Profile!));
        Assert.Equal(0, Recomputed(keeping.Profile!));
        Assert.Equal(recomputing.Losses, keeping.Losses);

        TrainingResult without = Run(config with { OutputDir = folder["without"], Training = config.Training with { GradientCheckpointing = false } });
        Assert.Equal(0, Recomputed(without.Profile!));
        Assert.Equal(recomputing.Losses, without.Losses);

        long each = MemoryEstimate.Of(config with { MemoryLimit = "8GiB" }, ConfigReader.Read(config.Model), gpu: false).KeptActivations / (Layers - 1);
        string limit = FormattableString.Invariant($"{(least + (2 * each) + 1000) / 1e6:0.000}MB");
        TrainingResult some = Run(config with { OutputDir = folder["some"], MemoryLimit = limit });
        Assert.Equal(Layers - 2, Recomputed(some.Profile!));
        Assert.Equal(recomputing.Losses, some.Losses);
    }

    [Fact]
    public void A_limit_below_what_the_run_needs_keeps_nothing_and_is_said()
    {
        using var folder = new TempFolder();
        var lines = new Lines();
        TrainingResult result = new FineTuner(Config(folder["out"], "lora") with { MemoryLimit = "10MiB" }, lines) { Profiles = true }
            .Run(cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(Layers, Recomputed(result.Profile!));
        Assert.Contains(lines.Messages, message => message.StartsWith("memory_limit is 10MiB, but the run needs about ", StringComparison.Ordinal));
        Assert.Contains("give one of them", Assert.Throws<ArgumentException>(
            () => new RunConfig { Model = "m", Data = new DataSection { Train = "t" }, MemoryLimit = "8GiB", Training = new TrainingSection { GradientCheckpointing = false } }.Validated()).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Config(folder["out"], "lora") with { MemoryLimit = "much" } is var config ? config.Validated() : null);
    }

    [Fact]
    public void A_dry_run_says_how_many_layers_the_run_will_keep_where_much_of_an_embedding_is_never_read()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["config.json"], """
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 16384, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
             "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
             "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
            """);
        RandomWeights.Write(folder.Path, seed: 1, ScalarType.BFloat16);
        File.WriteAllText(folder["train.jsonl"], """{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}""");
        RunConfig config = Config(folder["out"], "lora") with { Model = folder.Path, Data = new DataSection { Train = folder["train.jsonl"], MaxLength = 256 } };
        long whole = MemoryEstimate.Of(config, ConfigReader.Read(config.Model), gpu: false).Total;
        config = config with { MemoryLimit = FormattableString.Invariant($"{whole / 1e6:0.000}MB") };
        Assert.Equal(6, new FineTuner(config).DryRun().Memory.KeptLayers); // What is never read is 8.4 MB, and a layer keeps 1.3.
        Assert.Equal(8 - 6, Recomputed(Run(config).Profile!));
    }

    /// <summary>Layers that are computed again in a step.</summary>
    private static int Recomputed(Profile profile) =>
        (profile.Operators.SingleOrDefault(item => item is { Name: "CausalAttention", Pass: "recomputation" })?.Calls ?? 0) / profile.Steps;

    private static TrainingResult Run(RunConfig config) => new FineTuner(config) { Profiles = true }.Run(cancellation: TestContext.Current.CancellationToken);

    private static RunConfig Config(string output, string method) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = Enum.Parse<Method>(method, ignoreCase: true),
        Device = "cpu",
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 256 },
        Lora = new LoraSection { LoraDropout = 0.1 },
        Training = new TrainingSection { MaxSteps = 4, PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 1, LearningRate = 1e-3 },
    };

    private sealed class Lines : ITrainingObserver
    {
        public List<string> Messages { get; } = [];

        public void Info(string message) => Messages.Add(message);
    }
}
