using Nibble.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>
/// A named linear layer in one of its two lives: frozen (NF4 or dense, with or without a low-rank adapter) or trained itself
/// (float32 masters, cast to the compute dtype at use, or the compute dtype where others keep the masters).
/// </summary>
public sealed class LinearLayer : IDisposable
{
    /// <summary>A plain + makes such a scalar for each call, and the collector may free it while libtorch reads it.</summary>
    private static readonly Scalar One = 1;

    private LinearWeight weight;
    private Tensor? bias;
    private LoraPair? adapter;
    private readonly uint index;

    internal LinearLayer(string name, uint index, LinearWeight weight, Tensor? bias)
    {
        Name = name;
        this.index = index;
        this.weight = weight;
        this.bias = bias;
    }

    /// <summary>Path in the checkpoint, such as <c>model.layers.0.self_attn.q_proj</c>.</summary>
    public string Name { get; }

    /// <summary>The weight, frozen or trained.</summary>
    public LinearWeight Weight => weight;

    /// <summary>The bias, <c>[N]</c>, where the layer has one.</summary>
    public Tensor? Bias => bias;

    /// <summary>The adapter, where one is attached.</summary>
    public LoraPair? Adapter => adapter;

    /// <summary>Whether the weight itself learns.</summary>
    public bool Trains => weight is DenseWeight { Values.requires_grad: true };

    internal IEnumerable<Parameter> Parameters
    {
        get
        {
            if (Trains)
            {
                yield return new Parameter($"{Name}.weight", ((DenseWeight)weight).Values, Decays: true);
                if (bias is not null)
                {
                    yield return new Parameter($"{Name}.bias", bias, Decays: false);
                }
            }
        }
    }

    /// <summary>Hangs a low-rank update on the layer, or takes it off (null); the pair stays the caller's.</summary>
    /// <exception cref="ArgumentException">Its shapes do not fit the weight.</exception>
    public void Attach(LoraPair? pair)
    {
        if (pair is not null && (pair.A.size(1) != weight.InFeatures || pair.B.size(0) != weight.OutFeatures || pair.A.size(0) != pair.B.size(1)))
        {
            throw new ArgumentException(
                $"{Name} is [{weight.OutFeatures}, {weight.InFeatures}], but the adapter has A [{string.Join(", ", pair.A.shape)}] and B [{string.Join(", ", pair.B.shape)}].");
        }

        adapter = pair;
    }

    /// <summary>Makes the weight and the bias learn, as copies of what they were.</summary>
    internal void Unfreeze(ScalarType dtype = ScalarType.Float32)
    {
        if (!Trains)
        {
            Replace(weight.Dequantize(dtype), bias?.detach().to(dtype, copy: true));
        }
    }

    /// <summary>Gives the layer a trained weight of its own, leaving a shared one alone.</summary>
    internal void Replace(Tensor values, Tensor? newBias)
    {
        weight = new DenseWeight(values.DetachFromDisposeScope().requires_grad_());
        bias = newBias?.DetachFromDisposeScope().requires_grad_();
    }

    /// <param name="x"><c>[tokens, K]</c>.</param>
    /// <param name="context">The pass.</param>
    internal Tensor Forward(Tensor x, ForwardContext context) => Trains ? ForwardTrained(x) : Linear.Apply(x, Frozen(context));

    /// <summary>Adds the layer's output to a residual stream.</summary>
    /// <param name="residual"><c>[tokens, N]</c>.</param>
    /// <param name="x"><c>[tokens, K]</c>.</param>
    /// <param name="context">The pass.</param>
    /// <param name="outputNeeded">False where only the graph of the result is needed, not its values.</param>
    internal Tensor ForwardSum(Tensor residual, Tensor x, ForwardContext context, bool outputNeeded)
    {
        if (!Trains)
        {
            return Linear.Apply(x, Frozen(context), residual, outputNeeded);
        }

        using Tensor update = ForwardTrained(x);
        using Profiler.Scope measured = Profiler.Operator("Residual");
        return residual.add(update, One);
    }

    /// <summary>Layers that share their input, whose gradient is made in one go where none of them trains.</summary>
    internal static IReadOnlyList<Tensor> ForwardAll(Tensor x, ForwardContext context, params IReadOnlyList<LinearLayer> layers) =>
        layers.Any(layer => layer.Trains)
            ? [.. layers.Select(layer => layer.Forward(x, context))]
            : Linear.Apply(x, [.. layers.Select(layer => layer.Frozen(context))]);

    private Tensor ForwardTrained(Tensor x)
    {
        using Profiler.Scope measured = Profiler.Operator("Linear, trained");
        using DisposeScope scope = NewDisposeScope();
        Tensor values = ((DenseWeight)weight).Values;
        return nn.functional.linear(x, values.to(x.dtype), bias?.to(x.dtype)).MoveToOuterDisposeScope();
    }

    private Projection Frozen(ForwardContext context)
    {
        DropoutMask? mask = adapter is { Dropout: > 0 } && context.Dropout is { } state
            ? new DropoutMask(adapter.Dropout, state.Seed, state.Pass, index)
            : null;
        return new Projection(weight, bias, adapter is null ? null : new LowRank(adapter.A, adapter.B, adapter.Scale, mask));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        weight.Dispose();
        bias?.Dispose();
    }
}

/// <summary>The two trained matrices of a LoRA adapter on one layer.</summary>
/// <param name="A">float32 <c>[r, K]</c>.</param>
/// <param name="B">float32 <c>[N, r]</c>.</param>
/// <param name="Scale">Factor on the update.</param>
/// <param name="Dropout">Dropout rate on the update's input during training.</param>
public sealed record LoraPair(Tensor A, Tensor B, float Scale, float Dropout);
