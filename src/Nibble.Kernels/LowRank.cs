using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>A low-rank update of a linear layer (LoRA, arXiv:2106.09685): <c>y += scale · drop(x) · Aᵀ · Bᵀ</c>.</summary>
/// <param name="A">float32 <c>[r, K]</c>.</param>
/// <param name="B">float32 <c>[N, r]</c>.</param>
/// <param name="Scale">alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv:2312.03732).</param>
/// <param name="Dropout">The mask on the update's input; null for none.</param>
public sealed record LowRank(Tensor A, Tensor B, float Scale, DropoutMask? Dropout = null);

/// <summary>
/// A dropout mask that is never stored: element <c>i</c> is decided by Philox4x32-10 of (seed, step, layer, i), so that the
/// backward pass and a recomputation see the same mask.
/// </summary>
/// <param name="Rate">Share of elements set to zero, in [0, 1).</param>
/// <param name="Seed">The run's seed.</param>
/// <param name="Step">Counts forward passes of the run.</param>
/// <param name="Layer">Tells layers of one pass apart.</param>
public readonly record struct DropoutMask(float Rate, ulong Seed, uint Step, uint Layer);
