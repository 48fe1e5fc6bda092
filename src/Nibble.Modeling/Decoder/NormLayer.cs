using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>A named RMS norm; its weight is float32 whatever the compute dtype.</summary>
internal sealed class NormLayer(string name, Tensor initial, float epsilon) : IDisposable
{
    public string Name => name;

    public Tensor Weight { get; private set; } = initial;

    public IEnumerable<Parameter> Parameters => Weight.requires_grad ? [new Parameter($"{name}.weight", Weight, Decays: false)] : [];

    /// <summary>Makes the weight learn, as a copy: a loaded weight may be a view of a read-only file.</summary>
    public void Unfreeze()
    {
        if (!Weight.requires_grad)
        {
            Tensor frozen = Weight;
            Weight = frozen.clone().DetachFromDisposeScope().requires_grad_();
            frozen.Dispose();
        }
    }

    public Tensor Forward(Tensor x) => RmsNorm.Apply(x, Weight, epsilon);

    public (Tensor Stream, Tensor Normed) ForwardBeside(Tensor stream) => RmsNorm.ApplyBeside(stream, Weight, epsilon);

    public (Tensor Sum, Tensor Normed) ForwardSum(Tensor residual, Tensor update) => RmsNorm.ApplyToSum(residual, update, Weight, epsilon);

    public void Dispose() => Weight.Dispose();
}
