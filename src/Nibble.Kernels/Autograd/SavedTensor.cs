namespace Nibble.Kernels.Autograd;

/// <summary>A tensor that a <see cref="GraphNode"/> keeps for its backward pass.</summary>
/// <param name="Handle">A torch::autograd::SavedVariable.</param>
internal readonly record struct SavedTensor(nint Handle);
