using Nibble.Data;
using Nibble.Evaluation.Answers;
using Nibble.Evaluation.Structured;
using Nibble.Evaluation.Text;

namespace Nibble.Evaluation;

/// <summary>Metrics of text by name, as a command line gives them.</summary>
public static class Metrics
{
    private static readonly (string Name, Func<MetricOptions, IEvaluator> Create)[] Known =
    [
        ("exact_match", options => new ExactMatchEvaluator(options.Normalization, Extraction(options))),
        ("f1", options => new TokenF1Evaluator(Extraction(options))),
        ("numeric", options => new NumericEvaluator(options.Tolerance, Extraction(options))),
        .. new[] { "rouge1", "rouge2", "rouge3", "rouge4", "rougeL", "rougeLsum" }.Select(Rouge),
        ("bleu", _ => new BleuEvaluator()),
        ("chrf", _ => new ChrfEvaluator()),
        ("chrf++", _ => new ChrfEvaluator(words: true)),
        ("ter", _ => new TerEvaluator()),
        ("json_schema", options => new JsonSchemaEvaluator(options.Schema ?? throw new ArgumentException("The metric json_schema needs a schema's file."))),
    ];

    /// <summary>All names.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Known.Select(metric => metric.Name)];

    /// <summary>The metric of a name.</summary>
    /// <exception cref="ArgumentException">There is no such metric (the message names the nearest), or an option does not fit it.</exception>
    public static IEvaluator Create(string name, MetricOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(name);
        Func<MetricOptions, IEvaluator> create = Array.Find(Known, metric => metric.Name == name).Create
            ?? throw new ArgumentException($"'{name}' is not a metric; the nearest is '{NearestName.Of(name, Names, known => known)}'.");
        return create(options ?? new MetricOptions());
    }

    private static (string Name, Func<MetricOptions, IEvaluator> Create) Rouge(string name) => (name, options => new RougeEvaluator(name, options.UseStemmer));

    private static AnswerExtraction? Extraction(MetricOptions options) => options.Extract is { } pattern ? new AnswerExtraction(pattern) : null;
}
