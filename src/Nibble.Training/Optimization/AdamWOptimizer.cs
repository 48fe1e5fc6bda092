using Nibble.Kernels;
using Nibble.Modeling.Decoder;
using Nibble.Training.Configuration;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Optimization;

/// <summary>AdamW over a fixed list of parameters, with its states in float32 or in eight bits.</summary>
internal sealed class AdamWOptimizer : IDisposable
{
    private readonly TrainingSection config;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly Dictionary<string, Tensor> states = [];

    public AdamWOptimizer(TrainingSection config, IReadOnlyList<Parameter> parameters)
    {
        this.config = config;
        this.parameters = parameters;
        foreach (Parameter parameter in parameters)
        {
            AddStates(parameter);
        }
    }

    /// <summary>The states by name, for checkpoints.</summary>
    public IReadOnlyDictionary<string, Tensor> States => states;

    /// <summary>Updates all parameters from their gradients, which it then drops.</summary>
    /// <param name="step">Counts from 1.</param>
    /// <param name="learningRate">The step's rate.</param>
    /// <param name="gradScale">Factor on the gradients.</param>
    public void Step(int step, double learningRate, double gradScale)
    {
        using IDisposable noGrad = no_grad();
        foreach (Parameter parameter in parameters)
        {
            using DisposeScope scope = NewDisposeScope();
            if (parameter.Value.grad is not { } gradient)
            {
                continue;
            }

            var update = new AdamW(
                learningRate, config.AdamBeta1, config.AdamBeta2, config.AdamEpsilon, parameter.Decays ? config.WeightDecay : 0, gradScale, step);
            Tensor dense = gradient.contiguous();
            if (config.Optim == OptimizerType.Adamw8bit)
            {
                update.Update(parameter.Value, dense, EightBit(parameter));
            }
            else
            {
                update.Update(parameter.Value, dense, states[$"{parameter.Name}.exp_avg"], states[$"{parameter.Name}.exp_avg_sq"]);
            }

            parameter.Value.grad = null;
        }
    }

    public void Dispose()
    {
        foreach (Tensor state in states.Values)
        {
            state.Dispose();
        }
    }

    private void AddStates(Parameter parameter)
    {
        if (config.Optim == OptimizerType.Adamw8bit)
        {
            AdamW.EightBitState zero = AdamW.EightBitState.Zero(parameter.Value.NumberOfElements);
            Add("state1", zero.Codes1);
            Add("state2", zero.Codes2);
            Add("absmax1", zero.Absmax1);
            Add("absmax2", zero.Absmax2);
        }
        else
        {
            Add("exp_avg", zeros_like(parameter.Value, requires_grad: false));
            Add("exp_avg_sq", zeros_like(parameter.Value, requires_grad: false));
        }

        void Add(string name, Tensor state) => states.Add($"{parameter.Name}.{name}", state.DetachFromDisposeScope());
    }

    private AdamW.EightBitState EightBit(Parameter parameter) => new(
        states[$"{parameter.Name}.state1"], states[$"{parameter.Name}.state2"], states[$"{parameter.Name}.absmax1"], states[$"{parameter.Name}.absmax2"]);
}
