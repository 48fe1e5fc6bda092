using System.CommandLine;
using Nibble.Evaluation;
using Nibble.Evaluation.Predictions;

namespace Nibble.Cli.Commands.Eval;

/// <summary>Measures a model on the examples of a file.</summary>
/// <param name="metrics">What is measured.</param>
/// <param name="answers">How the model answers.</param>
/// <param name="data">The examples.</param>
internal sealed class ModelEvaluation(MetricChoice.ChosenMetrics metrics, AnswerOptions answers, ExampleFile data)
{
    /// <summary>Measures the model as it is.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="model">The model.</param>
    /// <param name="adapter">Its adapter's folder, or null.</param>
    /// <param name="predictions">Where answers are kept, and found again after an interruption; null: nowhere.</param>
    /// <param name="cancellation">Ends it between tokens or batches.</param>
    public async Task<Measured> RunAsync(ParseResult result, LoadedModel model, string? adapter, string? predictions, CancellationToken cancellation)
    {
        IReadOnlyList<EvaluationExample> examples = metrics.ReadAnswers ? Answer(answers.Generator(result, model), predictions, cancellation) : data.Examples;
        EvaluationSuite suite = await metrics.MeasureAsync(model, examples, cancellation).ConfigureAwait(false);
        return new Measured(new EvaluationReport(model.Folder, adapter, data.Path, data.Sha256, examples.Count, suite.Results), suite.Summary, examples);
    }

    /// <summary>The examples with the model's answers, each written as soon as it is there.</summary>
    private EvaluationExample[] Answer(AnswerGenerator generator, string? path, CancellationToken cancellation)
    {
        EvaluationExample[] examples = [.. data.Examples];
        if (path is not null)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        }

        using PredictionWriter? writer = path is null ? null : new PredictionWriter(path);
        foreach (Prediction kept in writer?.Written ?? [])
        {
            examples[kept.Index] = examples[kept.Index] with { Prediction = kept.Text };
        }

        return Progress.Count("answering", progress =>
        {
            int done = examples.Count(example => example.Prediction is not null);
            foreach ((int i, string answer) in generator.Answer([.. examples], cancellation))
            {
                examples[i] = examples[i] with { Prediction = answer };
                writer?.Write(new Prediction(i, examples[i].Prompt, answer, examples[i].References));
                progress(++done, examples.Length);
            }

            return examples;
        });
    }
}
