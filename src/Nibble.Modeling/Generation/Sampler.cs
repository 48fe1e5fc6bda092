namespace Nibble.Modeling.Generation;

/// <summary>Chooses the next token from its scores.</summary>
internal sealed class Sampler(GenerationOptions options)
{
    /// <summary>The chosen token.</summary>
    /// <param name="logits">Scores of the vocabulary.</param>
    /// <param name="sequence">Which sequence of the batch, and</param>
    /// <param name="position">which of its new tokens: together with the seed they decide the draw.</param>
    public int Next(ReadOnlySpan<float> logits, int sequence, int position)
    {
        if (options.Temperature == 0)
        {
            return Likeliest(logits);
        }

        (int[] tokens, double[] weights) = Candidates(logits);
        double draw = Uniform(sequence, position) * weights.Sum();
        for (int i = 0; i < tokens.Length; i++)
        {
            draw -= weights[i];
            if (draw < 0)
            {
                return tokens[i];
            }
        }

        return tokens[^1];
    }

    private static int Likeliest(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
        {
            if (logits[i] > logits[best])
            {
                best = i;
            }
        }

        return best;
    }

    /// <summary>Tokens from likely to unlikely with unnormalised probabilities, cut by top-k and top-p.</summary>
    private (int[] Tokens, double[] Weights) Candidates(ReadOnlySpan<float> logits)
    {
        float[] keys = logits.ToArray();
        int[] tokens = [.. Enumerable.Range(0, keys.Length)];
        Array.Sort(keys, tokens);
        Array.Reverse(keys);
        Array.Reverse(tokens);
        int kept = Math.Min(options.TopK ?? keys.Length, keys.Length);
        double[] weights = [.. keys.Take(kept).Select(logit => Math.Exp((logit - keys[0]) / options.Temperature))];
        double limit = options.TopP * weights.Sum();
        double sum = 0;
        int nucleus = 0;
        while (nucleus < kept && sum < limit)
        {
            sum += weights[nucleus++];
        }

        return (tokens[..nucleus], weights[..nucleus]);
    }

    /// <summary>A number in [0, 1) from (seed, sequence, position) by the finaliser of SplitMix64, so that any draw can be replayed.</summary>
    private double Uniform(int sequence, int position)
    {
        ulong z = options.Seed + (0x9E3779B97F4A7C15UL * (((ulong)(uint)sequence << 32) + (uint)position + 1));
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return ((z ^ (z >> 31)) >> 11) * (1.0 / (1UL << 53));
    }
}
