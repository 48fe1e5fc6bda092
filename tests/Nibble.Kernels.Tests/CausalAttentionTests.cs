using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Tests;

/// <summary>The engine's attention against libtorch's.</summary>
public class CausalAttentionTests
{
    [Theory]
    [InlineData(new[] { 40, 40, 40 }, 4, 4, 64, null)]
    [InlineData(new[] { 5, 130, 1, 64 }, 6, 2, 16, null)]
    [InlineData(new[] { 100, 70 }, 4, 1, 24, 33)]
    public void Output_and_gradients_are_those_of_libtorch(int[] lengths, int heads, int keyHeads, int headDim, int? window)
    {
        using DisposeScope scope = NewDisposeScope();
        int tokens = lengths.Sum();
        Tensor[] inputs = [randn(tokens, heads, headDim), randn(tokens, keyHeads, headDim), randn(tokens, keyHeads, headDim)];
        Tensor[] ours = [.. inputs.Select(input => input.clone().requires_grad_())];
        Tensor[] theirs = [.. inputs.Select(input => input.clone().requires_grad_())];
        Tensor gradient = randn(tokens, heads, headDim);
        Tensor output = CausalAttention.Apply(ours[0], ours[1], ours[2], lengths, window);
        Tensor expected = CausalAttention.ApplyLibTorch(theirs[0], theirs[1], theirs[2], lengths, window);
        BackwardPass.Run(output, gradient);
        BackwardPass.Run(expected, gradient);
        AssertClose(expected, output);
        for (int i = 0; i < inputs.Length; i++)
        {
            AssertClose(theirs[i].grad!, ours[i].grad!);
        }
    }

    private static void AssertClose(Tensor expected, Tensor found) =>
        Assert.True((expected - found).abs().max().item<float>() <= 1e-5f * expected.abs().max().item<float>());
}
