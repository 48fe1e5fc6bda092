using Nibble.Kernels;
using Nibble.Kernels.Paging;
using Nibble.Modeling.Decoder;
using Nibble.Training.Configuration;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Optimization;

/// <summary>A parameter, or the part of it that this process updates.</summary>
/// <param name="Parameter">Its values.</param>
/// <param name="Number">The whole parameter's place among all of the run.</param>
/// <param name="Start">First element of the part.</param>
internal readonly record struct Updated(Parameter Parameter, int Number, long Start);

/// <summary>AdamW over a fixed list of parameters, with its states in float32 or in eight bits, on their device or paged to it, or in a file.</summary>
internal sealed class AdamWOptimizer : IDisposable
{
    private readonly TrainingSection config;
    private readonly ulong seed;
    private readonly IReadOnlyList<Updated> parameters;
    private readonly IReadOnlyList<double> factors;
    private readonly Dictionary<string, int> numbers;
    private readonly Dictionary<string, Tensor> states = [];
    private readonly PagedAdamW? pages;
    private readonly MappedFile? file;

    /// <exception cref="ArgumentException">States are to lie on the disk, and parameters on a GPU; or states are paged to a GPU, and updates are made in the backward pass.</exception>
    /// <exception cref="IOException">The disk has no space for the states.</exception>
    public AdamWOptimizer(RunConfig run, IReadOnlyList<Updated> parameters)
    {
        config = run.Training;
        seed = run.Seed;
        this.parameters = parameters;
        factors = new RateGroups(config.LrGroups).Of(parameters.Select(item => item.Parameter));
        numbers = parameters.Index().ToDictionary(item => item.Item.Parameter.Name, item => item.Index);
        pages = config.Optim is OptimizerType.PagedAdamw8bit or OptimizerType.PagedAdamw32bit
            ? PagedAdamW.For([.. parameters.Select(item => item.Parameter.Value)], EightBit)
            : null;
        bool onDisk = config.OffloadOptimizer == OffloadDevice.Disk;
        if (onDisk && (pages is not null || parameters.Any(item => item.Parameter.Value.device_type != DeviceType.CPU)))
        {
            throw new ArgumentException("training.offload_optimizer is disk, which is for the CPU; on a GPU training.optim can be paged_adamw_32bit or paged_adamw_8bit.");
        }

        if (config.OptimizerInBwd && pages is not null)
        {
            pages.Dispose();
            throw new ArgumentException("training.optimizer_in_bwd updates layer by layer, but training.optim pages all states through the GPU at once; set it to adamw_torch or adamw_8bit.");
        }

        file = onDisk ? new MappedFile(run.OutputDir, parameters.Sum(item => BytesOf(item.Parameter))) : null;
        for (int i = 0; i < parameters.Count; i++)
        {
            using DisposeScope scope = NewDisposeScope();
            foreach ((string name, Tensor state) in pages is null ? ZeroStates(parameters[i].Parameter) : Named(parameters[i].Parameter, pages.StatesOf(i)))
            {
                states.Add(name, (file?.Add(state.shape, state.dtype).copy_(state) ?? state).DetachFromDisposeScope());
            }

            file?.Release();
        }
    }

    /// <summary>The states by name, for checkpoints; valid until the next step.</summary>
    public IReadOnlyDictionary<string, Tensor> States
    {
        get
        {
            Release();
            return states;
        }
    }

    /// <summary>Frees the GPU memory that paged states hold between steps; false when there is none.</summary>
    public bool Release() => pages?.Release() ?? false;

    /// <summary>Updates all parameters from their gradients, which it then drops.</summary>
    /// <param name="step">Counts from 1.</param>
    /// <param name="learningRate">The step's rate.</param>
    /// <param name="gradScale">Factor on the gradients.</param>
    /// <param name="updated">Is called after each parameter that is not paged; null for nothing.</param>
    public void Step(int step, double learningRate, double gradScale, Action? updated = null)
    {
        if (pages is null)
        {
            Array.ForEach([.. parameters], item => Update(item.Parameter, step, learningRate, gradScale, updated));
            return;
        }

        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        pages.Update([.. parameters.Select(item => item.Parameter.Value.grad?.contiguous())], i => UpdateOf(i, step, learningRate, gradScale));
        foreach (Updated item in parameters)
        {
            item.Parameter.Value.grad = null;
        }
    }

    /// <summary>Updates one of the parameters, whose states are not paged, from its gradient, which it then drops; otherwise as above.</summary>
    public void Update(Parameter parameter, int step, double learningRate, double gradScale, Action? updated = null)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        if (parameter.Value.grad is { } gradient)
        {
            Update(parameter, gradient.contiguous(), UpdateOf(numbers[parameter.Name], step, learningRate, gradScale));
            parameter.Value.grad = null;
            file?.Release();
            updated?.Invoke();
        }
    }

    public void Dispose()
    {
        foreach (Tensor state in states.Values)
        {
            state.Dispose();
        }

        pages?.Dispose();
        file?.Dispose();
    }

    /// <summary>The states of a parameter that was never updated, by name.</summary>
    public IEnumerable<(string Name, Tensor State)> ZeroStates(Parameter parameter) => Named(parameter, Zero(parameter.Value));

    private bool EightBit => config.Optim is OptimizerType.Adamw8bit or OptimizerType.PagedAdamw8bit;

    private string[] StateNames => EightBit ? ["state1", "state2", "absmax1", "absmax2"] : ["exp_avg", "exp_avg_sq"];

    private IEnumerable<(string Name, Tensor State)> Named(Parameter parameter, IReadOnlyList<Tensor> parts) =>
        StateNames.Zip(parts, (name, part) => ($"{parameter.Name}.{name}", part));

    private AdamW UpdateOf(int i, int step, double learningRate, double gradScale) => new(
        learningRate * factors[i], config.AdamBeta1, config.AdamBeta2, config.AdamEpsilon, parameters[i].Parameter.Decays ? config.WeightDecay : 0, gradScale, step)
    {
        Rounding = new AdamW.StochasticRounding(seed, (uint)parameters[i].Number, parameters[i].Start),
    };

    private long BytesOf(Parameter parameter)
    {
        using DisposeScope scope = NewDisposeScope();
        return Zero(parameter.Value).Sum(state => MappedFile.Rounded(state.NumberOfElements * state.ElementSize));
    }

    private IReadOnlyList<Tensor> Zero(Tensor parameter)
    {
        if (!EightBit)
        {
            return [zeros(parameter.shape, ScalarType.Float32, parameter.device), zeros(parameter.shape, ScalarType.Float32, parameter.device)];
        }

        AdamW.EightBitState zero = AdamW.EightBitState.Zero(parameter.NumberOfElements, parameter.device);
        return [zero.Codes1, zero.Codes2, zero.Absmax1, zero.Absmax2];
    }

    private void Update(Parameter parameter, Tensor gradient, AdamW update)
    {
        Tensor[] parts = [.. StateNames.Select(name => states[$"{parameter.Name}.{name}"])];
        if (EightBit)
        {
            update.Update(parameter.Value, gradient, new AdamW.EightBitState(parts[0], parts[1], parts[2], parts[3]));
        }
        else
        {
            update.Update(parameter.Value, gradient, parts[0], parts[1]);
        }
    }
}
