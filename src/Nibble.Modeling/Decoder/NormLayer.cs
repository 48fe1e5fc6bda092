using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>A named RMS norm; its weight is float32 whatever the compute dtype.</summary>
internal sealed class NormLayer(string name, Tensor weight, float epsilon) : IDisposable
{
    public string Name => name;

    public Tensor Weight => weight;

    public IEnumerable<Parameter> Parameters => weight.requires_grad ? [new Parameter($"{name}.weight", weight, Decays: false)] : [];

    public void Unfreeze() => weight.requires_grad_();

    public Tensor Forward(Tensor x) => RmsNorm.Apply(x, weight, epsilon);

    public void Dispose() => weight.Dispose();
}
