using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>What a linear layer does to its input: <c>x · Wᵀ + b + scale · drop(x) · Aᵀ · Bᵀ</c>.</summary>
/// <param name="Weight"><c>[N, K]</c>, NF4 or dense; takes no gradient.</param>
/// <param name="Bias"><c>[N]</c> of x's dtype; takes no gradient.</param>
/// <param name="Update">The adapter; A and B receive gradients.</param>
public sealed record Projection(LinearWeight Weight, Tensor? Bias = null, LowRank? Update = null)
{
    internal bool Learns => Update is { A.requires_grad: true } or { B.requires_grad: true };
}
