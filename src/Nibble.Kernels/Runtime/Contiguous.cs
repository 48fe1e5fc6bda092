using static TorchSharp.torch;

namespace Nibble.Kernels.Runtime;

/// <summary>A tensor as kernels read it, its elements one behind the other: itself where they lie so, else a copy that goes with this.</summary>
internal readonly ref struct Contiguous : IDisposable
{
    private readonly bool isOurs;

    private Contiguous(Tensor tensor, bool isOurs) => (Tensor, this.isOurs) = (tensor, isOurs);

    /// <summary>The tensor or its copy; null in a default one, which stands for an argument that is not there.</summary>
    public Tensor Tensor { get; }

    public static implicit operator Tensor(in Contiguous contiguous) => contiguous.Tensor;

    /// <summary>Of a tensor that stays its owner's.</summary>
    public static Contiguous Of(Tensor tensor) => tensor.is_contiguous() ? new(tensor, isOurs: false) : new(tensor.contiguous(), isOurs: true);

    /// <summary>Of a tensor that goes with this as well.</summary>
    public static Contiguous Own(Tensor tensor)
    {
        if (tensor.is_contiguous())
        {
            return new(tensor, isOurs: true);
        }

        using (tensor)
        {
            return new(tensor.contiguous(), isOurs: true);
        }
    }

    public void Dispose()
    {
        if (isOurs)
        {
            Tensor.Dispose();
        }
    }
}
