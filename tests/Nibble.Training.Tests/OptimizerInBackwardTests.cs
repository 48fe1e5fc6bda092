using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

public class OptimizerInBackwardTests
{
    [Theory]
    [InlineData("float32", false, OptimizerType.AdamwTorch, 0)]
    [InlineData("bfloat16", false, OptimizerType.AdamwTorch, 3)]
    [InlineData("bfloat16", true, OptimizerType.Adamw8bit, 0)]
    public void Updates_in_the_backward_pass_are_those_after_it_to_the_bit(string dtype, bool rounds, OptimizerType optimizer, int stage)
    {
        using var folder = new TempFolder();
        RunConfig Config(string name, bool inBackward)
        {
            var training = new TrainingSection
            {
                Bf16StochasticRound = rounds,
                Optim = optimizer,
                OptimizerInBwd = inBackward,
                ZeroStage = stage,
                MaxSteps = 5,
                LrGroups = ["model.layers.1.*=0.5"],
            };
            return Bf16WeightTests.Config(folder[name], training) with { Dtype = dtype };
        }

        var norms = new Norms();
        var normsInBackward = new Norms();
        TrainingResult after = new FineTuner(Config("after", false), norms).Run(cancellation: TestContext.Current.CancellationToken);
        TrainingResult within = new FineTuner(Config("within", true), normsInBackward).Run(cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(after.Losses, within.Losses);
        Assert.Equal(Bf16WeightTests.Weights(folder["after"]), Bf16WeightTests.Weights(folder["within"]));
        Assert.Equal(norms.Last, normsInBackward.Last, 1e-4);
    }

    [Fact]
    public void Never_more_gradients_are_there_than_those_of_one_layer_and_of_a_tied_vocabulary()
    {
        using var folder = new TempFolder();
        RunConfig config = Bf16WeightTests.Config(folder["out"], new TrainingSection { OptimizerInBwd = true, ReduceBucketSize = 1 });
        using DecoderModel model = ModelLoader.Load(config.Model, new LoadOptions { DType = ScalarType.Float32 });
        model.UnfreezeAll();
        Parameter[] parameters = [.. model.Parameters];
        using var optimizer = new ParallelOptimizer(config, model, parameters, new SingleProcess());
        Action<int> update = model.UnitFinished!;
        var found = new List<int>();
        model.UnitFinished = unit =>
        {
            found.AddRange(Layers().Distinct());
            update(unit);
            Assert.Empty(Layers());
        };
        optimizer.BeginStep(1, 1e-3);
        optimizer.BeginPass(last: true);
        using (DisposeScope scope = NewDisposeScope())
        {
            BackwardOf(model.TokenLosses(TokenBatch.Of([[1, 5, 6, 7]])));
        }

        Assert.Equal(Enumerable.Range(1, model.Config.NumHiddenLayers).Reverse(), found);
        optimizer.EndPass();
        Assert.Empty(Layers());
        Assert.All(parameters, parameter => Assert.Null(parameter.Value.grad));

        IEnumerable<int> Layers()
        {
            using DisposeScope scope = NewDisposeScope();
            return [.. parameters.Where(parameter => parameter.Value.grad is not null).Select(parameter => model.UnitOf(parameter.Name)).Where(unit => unit > 0 && unit <= model.Config.NumHiddenLayers)];
        }

        static void BackwardOf(Tensor losses) => Kernels.BackwardPass.Run(losses.sum());
    }

    [Fact]
    public void A_gradient_that_is_not_finite_ends_the_run()
    {
        using var folder = new TempFolder();
        RunConfig config = Bf16WeightTests.Config(folder["out"], new TrainingSection { OptimizerInBwd = true });
        config = config with { Training = config.Training with { LearningRate = 1e30 } };
        Assert.Contains("is not finite", Assert.Throws<TrainingDivergedException>(() => { Bf16WeightTests.Run(config); }).Message, StringComparison.Ordinal);
    }

    private sealed class Norms : ITrainingObserver
    {
        public double Last { get; private set; }

        public void Logged(Reporting.StepMetrics metrics) => Last = metrics.GradNorm;
    }
}
