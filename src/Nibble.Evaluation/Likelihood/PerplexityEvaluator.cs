using System.Text;
using Nibble.Evaluation.Statistics;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Evaluation.Likelihood;

/// <summary>
/// Perplexity of the labelled tokens, weighted by their number. Examples that are longer than the window are read through
/// overlapping windows, each label scored once with the context that its window gives it.
/// Reads <see cref="EvaluationExample.Tokens"/>.
/// </summary>
public sealed class PerplexityEvaluator : IEvaluator
{
    private readonly DecoderModel model;
    private readonly HfTokenizer? tokenizer;
    private readonly int window;
    private readonly int stride;

    /// <summary>Measures a model, with whatever adapter is attached.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Tells how many bytes were predicted, for bits per byte; null for none.</param>
    /// <param name="window">Tokens read at once at most; null for the model's positions.</param>
    /// <param name="stride">Tokens by which the window moves on; null for half of it.</param>
    /// <exception cref="ArgumentException">The window is longer than the model's positions, or the stride not shorter than the window.</exception>
    public PerplexityEvaluator(DecoderModel model, HfTokenizer? tokenizer = null, int? window = null, int? stride = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        this.model = model;
        this.tokenizer = tokenizer;
        int positions = model.Config.MaxPositionEmbeddings;
        this.window = window ?? positions;
        this.stride = stride ?? Math.Max(1, this.window / 2);
        if (this.window < 2 || this.window > positions)
        {
            throw new ArgumentException($"window is {this.window}; it must lie between 2 and the model's {positions} positions.");
        }

        if (this.stride < 1 || this.stride >= this.window)
        {
            throw new ArgumentException($"stride is {this.stride}; it must be positive and shorter than the window of {this.window} tokens.");
        }
    }

    /// <inheritdoc/>
    public string Metric => "perplexity";

    /// <summary>Tokens computed together.</summary>
    public int BatchTokens { get; init; } = 2048;

    /// <summary>Told how many windows were read, of how many.</summary>
    public Action<int, int>? Progress { get; init; }

    /// <inheritdoc/>
    public Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(examples);
        List<(int Example, EncodedExample Tokens)> windows =
        [
            .. examples.SelectMany((example, i) => Windows(TokensOf(example, i)).Select(tokens => (i, tokens))),
        ];
        var losses = new EvaluationLoss[examples.Count];
        int done = 0;
        foreach (EvaluationLoss loss in EvaluationLoss.OfEach(model, EncodedExample.Batches(windows.Select(item => item.Tokens), BatchTokens), cancellation))
        {
            losses[windows[done++].Example] += loss;
            Progress?.Invoke(done, windows.Count);
        }

        return Task.FromResult(Result(examples, losses));
    }

    private EvaluationResult Result(IReadOnlyList<EvaluationExample> examples, EvaluationLoss[] losses)
    {
        EvaluationLoss total = losses.Aggregate(default(EvaluationLoss), EvaluationLoss.Add);
        var details = new Dictionary<string, double> { ["loss"] = total.Mean, ["tokens"] = total.Tokens };
        if (tokenizer is not null)
        {
            long bytes = examples.Sum(example => (long)Bytes(tokenizer, example.Tokens!.Labels));
            details["bytes"] = bytes;
            details["bits_per_byte"] = total.Sum / Math.Log(2) / Math.Max(1, bytes);
        }

        return new EvaluationResult(Metric, total.Perplexity, details)
        {
            HigherIsBetter = false,
            Interval = Bootstrap.Corpus([.. losses.Select(loss => new[] { loss.Sum, loss.Tokens })], sums => Math.Exp(sums[0] / Math.Max(1, sums[1]))),
            Values = [.. losses.Select(loss => loss.Tokens == 0 ? (double?)null : loss.Perplexity)],
        };
    }

    /// <summary>Bytes of UTF-8 that the labels spell, special tokens aside.</summary>
    internal static int Bytes(HfTokenizer tokenizer, int[] labels) =>
        Encoding.UTF8.GetByteCount(tokenizer.Decode(labels.Skip(1).Where(label => label >= 0), skipSpecialTokens: true));

    private static EncodedExample TokensOf(EvaluationExample example, int index) =>
        example.Tokens ?? throw new InvalidDataException($"example {index + 1} has no tokens.");

    private IEnumerable<EncodedExample> Windows(EncodedExample example)
    {
        int length = example.InputIds.Length;
        int scored = 0;
        for (int start = 0; scored < length; start += stride)
        {
            int end = Math.Min(start + window, length);
            int[] labels = example.Labels[start..end];
            Array.Fill(labels, -100, 0, scored - start);
            scored = end;
            if (labels.Skip(1).Any(label => label >= 0))
            {
                yield return new EncodedExample(example.InputIds[start..end], labels);
            }
        }
    }
}
