using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Generation;

/// <summary>Continues texts token by token with a key-value cache.</summary>
public static class TextGenerator
{
    /// <summary>Continues several prompts together; a finished one no longer costs anything.</summary>
    /// <param name="model">The model, with whatever adapter is attached.</param>
    /// <param name="prompts">Token ids of each prompt, none empty.</param>
    /// <param name="options">How tokens are chosen and when a text ends.</param>
    /// <param name="onToken">Told of each new token: which prompt, which token.</param>
    /// <param name="cancellation">Ends generation between tokens.</param>
    /// <returns>The new tokens of each prompt; one that ended by itself has its end token last.</returns>
    /// <exception cref="ArgumentException">A prompt is empty, or leaves no room in the model's context.</exception>
    public static int[][] Generate(
        DecoderModel model,
        IReadOnlyList<IReadOnlyList<int>> prompts,
        GenerationOptions options,
        Action<int, int>? onToken = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(prompts);
        ArgumentNullException.ThrowIfNull(options);
        Require(model, prompts);
        var ends = new HashSet<int>(options.Validated().EosTokenIds ?? model.Config.EosTokenIds);
        var sampler = new Sampler(options);
        List<int>[] results = [.. prompts.Select(_ => new List<int>())];
        List<int> running = [.. Enumerable.Range(0, prompts.Count)];
        IReadOnlyList<int>[] fresh = [.. prompts];
        using IDisposable noGrad = no_grad();
        using var cache = new KvCache(model.Config.NumHiddenLayers, prompts.Count);
        while (running.Count > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            int[] next = Step(model, fresh, cache, sampler, running, results);
            var unfinished = new List<int>();
            for (int i = 0; i < running.Count; i++)
            {
                List<int> result = results[running[i]];
                result.Add(next[i]);
                onToken?.Invoke(running[i], next[i]);
                bool room = result.Count < options.MaxNewTokens && prompts[running[i]].Count + result.Count < model.Config.MaxPositionEmbeddings;
                if (room && !ends.Contains(next[i]) && options.StopWhen?.Invoke(result) != true)
                {
                    unfinished.Add(i);
                }
            }

            if (unfinished.Count < running.Count)
            {
                cache.Keep(unfinished);
            }

            running = [.. unfinished.Select(i => running[i])];
            fresh = [.. unfinished.Select(i => new[] { next[i] })];
        }

        return [.. results.Select(result => result.ToArray())];
    }

    private static int[] Step(
        DecoderModel model, IReadOnlyList<int>[] fresh, KvCache cache, Sampler sampler, List<int> running, List<int>[] results)
    {
        using DisposeScope scope = NewDisposeScope();
        TokenBatch batch = TokenBatch.Of(fresh);
        Tensor hidden = model.Forward(batch, cache);
        long[] last = new long[batch.Lengths.Length];
        long end = 0;
        for (int i = 0; i < last.Length; i++)
        {
            end += batch.Lengths[i];
            last[i] = end - 1;
        }

        float[] logits = model.Logits(hidden.index_select(0, tensor(last, device: model.Device))).cpu().contiguous().data<float>().ToArray();
        int vocab = model.Config.VocabSize;
        return [.. running.Select((sequence, i) => sampler.Next(logits.AsSpan(i * vocab, vocab), sequence, results[sequence].Count))];
    }

    private static void Require(DecoderModel model, IReadOnlyList<IReadOnlyList<int>> prompts)
    {
        foreach (IReadOnlyList<int> prompt in prompts)
        {
            if (prompt.Count == 0)
            {
                throw new ArgumentException("A prompt is empty; generation needs at least one token to start from.");
            }

            if (prompt.Count >= model.Config.MaxPositionEmbeddings)
            {
                throw new ArgumentException(
                    $"A prompt has {prompt.Count} tokens, but the model reads at most {model.Config.MaxPositionEmbeddings} including the answer.");
            }
        }
    }
}
