using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using Nibble.Tests;
using Nibble.Training.Configuration;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

/// <summary>Rates and freezing by the names of parameters.</summary>
public class ParameterGroupTests
{
    private static readonly string Model = SharedFolder.Path("models", "stories260K", "hf");

    [Theory]
    [InlineData(OptimizerType.AdamwTorch)]
    [InlineData(OptimizerType.Adamw8bit)]
    public void A_group_steps_as_a_run_with_its_rate_and_the_others_as_one_without_groups(OptimizerType optimizer)
    {
        using var folder = new TempFolder();
        TrainingSection training = Training with { Optim = optimizer };
        Run(folder["whole"], training);
        Run(folder["half"], training with { LearningRate = training.LearningRate / 2 });
        Run(folder["groups"], training with { LrGroups = ["model.layers.1.*=0", "model.layers.*=0.5"] });
        using SafetensorsFile first = SafetensorsFile.Open(Path.Combine(Model, "model.safetensors"));
        using SafetensorsFile whole = Weights(folder["whole"]);
        using SafetensorsFile half = Weights(folder["half"]);
        using SafetensorsFile groups = Weights(folder["groups"]);
        Assert.All(groups.Tensors.Keys, name => Assert.Equal(0, Distance(groups, Group(name), name)));
        Assert.True(Distance(whole, half, "model.layers.0.mlp.up_proj.weight") > 0);

        SafetensorsFile Group(string name) => name.StartsWith("model.layers.1.", StringComparison.Ordinal) ? first : name.StartsWith("model.layers.", StringComparison.Ordinal) ? half : whole;
    }

    [Fact]
    public void Frozen_modules_stay_to_the_bit_and_have_no_states_while_the_others_step_as_they_would_in_any_case()
    {
        using var folder = new TempFolder();
        Run(folder["whole"], Training);
        string[] freeze = ["model.embed_tokens", "model.layers.0.*", "*.k_proj", "model.norm"];
        TrainingResult result = Run(folder["frozen"], Training with { Freeze = freeze });
        using SafetensorsFile first = SafetensorsFile.Open(Path.Combine(Model, "model.safetensors"));
        using SafetensorsFile whole = Weights(folder["whole"]);
        using SafetensorsFile frozen = Weights(folder["frozen"]);
        using SafetensorsFile states = SafetensorsFile.Open(Path.Combine(folder["frozen"], "checkpoint-1", "optimizer.safetensors"));
        string[] learned = [.. frozen.Tensors.Keys.Where(name => !IsFrozen(name))];
        Assert.Equal(learned.SelectMany(name => new[] { $"{name}.exp_avg", $"{name}.exp_avg_sq" }).Order(), states.Tensors.Keys.Order());
        Assert.All(frozen.Tensors.Keys.Where(IsFrozen), name => Assert.Equal(0, Distance(first, frozen, name)));
        Assert.All(learned, name => Assert.InRange(Distance(whole, frozen, name), 0, 1e-3 * Distance(first, whole, name)));
        Assert.All(learned, name => Assert.True(Distance(first, frozen, name) > 0, name));
        Assert.Equal(learned.Sum(name => whole.Tensors[name].Shape.Aggregate(1L, (product, length) => product * length)), result.TrainableParameters);
        var config = new RunConfig { Model = Model, Method = Method.Full, Dtype = "float32", Training = Training with { Freeze = freeze } };
        Assert.Equal(4 * result.TrainableParameters, MemoryEstimate.Of(config, ConfigReader.Read(Model), gpu: false).TrainedParameters);

        static bool IsFrozen(string name) => name.Contains("embed_tokens", StringComparison.Ordinal) || name.Contains("layers.0.", StringComparison.Ordinal)
            || name.Contains("k_proj", StringComparison.Ordinal) || name == "model.norm.weight";
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void Frozen_modules_of_a_float32_model_stay_to_the_bit_though_they_are_computed_with_in_bfloat16(int stage)
    {
        using var folder = new TempFolder();
        Run(folder["out"], Training with { Freeze = ["model.embed_tokens", "model.layers.0.*"], ZeroStage = stage }, "bfloat16");
        using SafetensorsFile first = SafetensorsFile.Open(Path.Combine(Model, "model.safetensors"));
        using SafetensorsFile frozen = Weights(folder["out"]);
        Assert.All(
            frozen.Tensors.Keys,
            name => Assert.Equal(name.Contains("embed_tokens", StringComparison.Ordinal) || name.Contains("layers.0.", StringComparison.Ordinal), Distance(first, frozen, name) == 0));
    }

    [Theory]
    [InlineData("embed", "training.freeze has 'embed', which matches nothing; there are model.layers.N.self_attn.q_proj, ")]
    [InlineData("lm_head", "training.freeze has 'lm_head', which matches nothing")]
    [InlineData("*", "training.freeze leaves nothing to learn")]
    public void A_pattern_that_freezes_nothing_or_everything_is_refused(string pattern, string problem)
    {
        using var folder = new TempFolder();
        Assert.StartsWith(problem, Assert.Throws<ArgumentException>(() => { Run(folder["out"], Training with { Freeze = [pattern] }); }).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("model.layers.9.*=0.5", "training.lr_groups has 'model.layers.9.*', which matches nothing; there are model.embed_tokens.weight, ")]
    [InlineData("model.layers.0.*", "training.lr_groups has 'model.layers.0.*'; it must be pattern=factor")]
    [InlineData("model.layers.0.*=-1", "training.lr_groups has 'model.layers.0.*=-1'; it must be pattern=factor")]
    public void A_group_that_is_of_no_parameter_or_without_a_factor_is_refused(string group, string problem)
    {
        using var folder = new TempFolder();
        Assert.StartsWith(problem, Assert.Throws<ArgumentException>(() => { Run(folder["out"], Training with { LrGroups = [group] }); }).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Beside_an_adapter_there_is_nothing_to_freeze()
    {
        var config = new RunConfig { Model = Model, Data = new DataSection { Train = "train.jsonl" }, Training = new TrainingSection { Freeze = ["model.norm"] } };
        Assert.Contains("training.freeze is for method full", Assert.Throws<ArgumentException>(() => config.Validated()).Message, StringComparison.Ordinal);
    }

    /// <summary>One step, unclipped; the large epsilon makes it a smooth function of the gradients.</summary>
    private static TrainingSection Training => new() { MaxSteps = 1, WarmupRatio = 0, LearningRate = 1e-2, MaxGradNorm = 0, AdamEpsilon = 1, GradientAccumulationSteps = 1, SaveSteps = 1 };

    private static TrainingResult Run(string output, TrainingSection training, string dtype = "float32") => new FineTuner(new RunConfig
    {
        Model = Model,
        Method = Method.Full,
        Dtype = dtype,
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "full", "train.jsonl"), MaxLength = 256 },
        Training = training,
    }).Run(cancellation: TestContext.Current.CancellationToken);

    private static SafetensorsFile Weights(string folder) => SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));

    /// <summary>The largest difference between two files' values of a tensor.</summary>
    private static double Distance(SafetensorsFile a, SafetensorsFile b, string name)
    {
        using DisposeScope scope = NewDisposeScope();
        return (a.View(name).to(ScalarType.Float64) - b.View(name).to(ScalarType.Float64)).abs().max().item<double>();
    }
}
