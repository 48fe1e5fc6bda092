using System.CommandLine;
using Nibble.Cli.Commands.Chat;
using Nibble.Data.Augmentation;
using Nibble.Evaluation;
using Nibble.Evaluation.Answers;
using Nibble.Evaluation.Judging;
using Nibble.Evaluation.Likelihood;

namespace Nibble.Cli.Commands.Eval;

/// <summary>The metrics that a command measures, with what they need to know.</summary>
internal sealed class MetricChoice
{
    private const string Perplexity = "perplexity";
    private const string Accuracy = "acc";
    private const string NormalizedAccuracy = "acc_norm";
    private const string LlmJudge = "llm_judge";

    private readonly Option<string?> names = new("--metrics")
    {
        Description = $"With commas between: {Perplexity} (the default with --model), {Accuracy}, {NormalizedAccuracy}, {LlmJudge}, or {string.Join(", ", Metrics.Names)}.",
        HelpName = "NAMES",
    };

    private readonly Option<int?> window = new("--window") { Description = "Perplexity: tokens read at once; by default the model's positions." };
    private readonly Option<int?> stride = new("--stride") { Description = "Perplexity of long texts: tokens by which the window moves on; by default half of it." };
    private readonly Option<bool> stemmer = new("--stemmer") { Description = "ROUGE: compare the stems of English words." };
    private readonly Option<string> normalize = new("--normalize") { Description = "exact_match and f1: trim (blanks at the ends, case) or squad (also punctuation and articles).", DefaultValueFactory = _ => "trim" };
    private readonly Option<string?> extract = new("--extract") { Description = "exact_match, f1, numeric: a regular expression whose group is the answer, such as '#### (.+)'.", HelpName = "REGEX" };
    private readonly Option<double> tolerance = new("--tolerance") { Description = "numeric: how far a number may be off." };
    private readonly Option<string?> schema = new("--schema") { Description = "json_schema: the JSON Schema that answers must satisfy.", HelpName = "FILE" };

    public MetricChoice() => normalize.AcceptOnlyFromAmong("trim", "squad");

    /// <summary>Who marks answers, or chooses between them.</summary>
    public AskedModel Judge { get; } = new("judge");

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { names, window, stride, stemmer, normalize, extract, tolerance, schema })
        {
            command.Options.Add(option);
        }

        Judge.AddTo(command);
    }

    /// <summary>The evaluators that the command line names, those of answers made already, so that a mistake shows before a model is loaded.</summary>
    /// <exception cref="UsageException">A name is unknown, or needs what is not there.</exception>
    public ChosenMetrics Choose(ParseResult result, bool withModel, string device, string? judgeCache, CancellationToken cancellation)
    {
        string[] wanted = (result.GetValue(names) ?? (withModel ? Perplexity : throw new UsageException("--metrics is missing; name what to measure.")))
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (wanted.Length == 0)
        {
            throw new UsageException("--metrics is empty; name what to measure.");
        }

        if (!withModel && wanted.FirstOrDefault(NeedsModel) is { } likelihood)
        {
            throw new UsageException($"{likelihood} needs a model; give --model and --data.");
        }

        var options = new MetricOptions
        {
            UseStemmer = result.GetValue(stemmer),
            Normalization = result.GetValue(normalize) == "squad" ? AnswerNormalization.Squad : AnswerNormalization.Trim,
            Extract = result.GetValue(extract),
            Tolerance = result.GetValue(tolerance),
            Schema = result.GetValue(schema),
        };
        ResilientChatClient? client = wanted.Contains(LlmJudge) ? Judge.Connect(result, device, judgeCache, cancellation) : null;
        (string Name, IEvaluator? Evaluator)[] chosen =
        [
            .. wanted.Distinct().Select(name => (name, NeedsModel(name) ? null : name == LlmJudge ? new LlmJudgeEvaluator(client!, concurrency: Judge.Concurrency(result)) : Metrics.Create(name, options))),
        ];
        return new ChosenMetrics(chosen, client, result.GetValue(window), result.GetValue(stride));
    }

    private static bool NeedsModel(string name) => name is Perplexity or Accuracy or NormalizedAccuracy;

    /// <summary>Metrics in the order in which they were named.</summary>
    /// <param name="Named">Those of likelihood have no evaluator before there is a model.</param>
    /// <param name="JudgeClient">Who is asked by a judge, if there is one.</param>
    /// <param name="Window">For perplexity.</param>
    /// <param name="Stride">For perplexity.</param>
    internal sealed record ChosenMetrics((string Name, IEvaluator? Evaluator)[] Named, ResilientChatClient? JudgeClient, int? Window, int? Stride) : IDisposable
    {
        /// <summary>Whether any of them reads answers.</summary>
        public bool ReadAnswers => Named.Any(item => item.Evaluator is not null);

        /// <summary>Measures examples by all of them.</summary>
        public Task<EvaluationSuite> MeasureAsync(LoadedModel? model, IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation) => Progress.Count("measuring", async progress =>
        {
            var suite = new EvaluationSuite();
            foreach ((string name, IEvaluator? evaluator) in Named)
            {
                suite.Add(evaluator ?? OfLikelihood(name, model!, progress));
            }

            await suite.RunAsync(examples, cancellation).ConfigureAwait(false);
            return suite;
        });

        private IEvaluator OfLikelihood(string name, LoadedModel model, Action<int, int> progress) => name == Perplexity
            ? new PerplexityEvaluator(model.Model, model.Tokenizer, Window, Stride) { Progress = progress }
            : new MultipleChoiceEvaluator(model.Model, model.RequiredTokenizer, normalized: name == NormalizedAccuracy) { Progress = progress };

        public void Dispose() => JudgeClient?.Dispose();
    }
}
