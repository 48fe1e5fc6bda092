using System.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>Cosines and sines of the positions that were asked for so far, which every pass takes its rows from.</summary>
internal sealed class RotaryTable(RotaryFrequencies frequencies) : IDisposable
{
    private Tensor? kept;

    /// <summary>The rows of the tokens of sequences, end to end.</summary>
    /// <param name="sequences">Of each, its first position and the one behind its last.</param>
    /// <param name="device">Where they are needed; the same at every call.</param>
    /// <returns>float32 <c>[tokens, head_dim / 2]</c> each; they may be parts of the table.</returns>
    public (Tensor Cos, Tensor Sin) Rows(IReadOnlyList<(int First, int End)> sequences, Device device)
    {
        using DisposeScope scope = NewDisposeScope();
        List<Tensor> rows = [.. sequences.Select(sequence => Rows(sequence.First, sequence.End, device))];
        Tensor all = rows is [Tensor only] ? only : cat(rows, 1);
        return (all[0].MoveToOuterDisposeScope(), all[1].MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void Dispose() => kept?.Dispose();

    /// <summary>float32 <c>[2, end - first, head_dim / 2]</c>.</summary>
    private Tensor Rows(int first, int end, Device device)
    {
        float[] radians = frequencies.For(end);
        if (radians != frequencies.For(0)) // Such angles are of this length alone.
        {
            return Turned(radians, first, end, device);
        }

        if (kept is null || kept.size(1) < end)
        {
            kept?.Dispose();
            kept = Turned(radians, 0, (int)BitOperations.RoundUpToPowerOf2((uint)end), device).DetachFromDisposeScope();
        }

        return kept.narrow(1, first, end - first);
    }

    private Tensor Turned(float[] radians, int first, int end, Device device)
    {
        int half = radians.Length;
        var values = new float[2, end - first, half];
        for (int row = 0; row < end - first; row++)
        {
            for (int i = 0; i < half; i++)
            {
                (float sin, float cos) = MathF.SinCos((first + row) * radians[i]);
                values[0, row, i] = cos * frequencies.AttentionFactor;
                values[1, row, i] = sin * frequencies.AttentionFactor;
            }
        }

        return tensor(values, device: device);
    }
}
