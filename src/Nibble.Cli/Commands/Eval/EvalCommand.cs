using System.CommandLine;
using System.Text.Json;
using Nibble.Cli.Commands.Data;
using Nibble.Cli.Commands.Prompts;
using Nibble.Cli.Registry;
using Nibble.Data;
using Nibble.Data.Augmentation;
using Nibble.Evaluation;
using Nibble.Evaluation.Judging;
using Nibble.Evaluation.Predictions;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Commands.Eval;

/// <summary><c>nibble eval</c>: measures a model on examples, or given predictions, or compares two evaluations.</summary>
internal sealed class EvalCommand
{
    private readonly Option<string?> model = new("--model") { Description = "The model's folder.", HelpName = "DIR" };
    private readonly Option<string?> adapter = CommonOptions.Adapter();
    private readonly Option<string?> data = new("--data") { Description = "With --model: examples as .jsonl, .json, .csv, .tsv, .txt (each also .gz) or .parquet.", HelpName = "FILE" };
    private readonly Option<int?> limit = new("--limit") { Description = "Read only this many examples.", HelpName = "N" };
    private readonly Option<bool> againstBase = new("--against-base") { Description = "Measure the model without its adapter as well, and compare." };
    private readonly Option<string?> predictions = new("--predictions") { Description = "In place of a model: its answers, as JSON lines or one a line.", HelpName = "FILE" };
    private readonly Option<string?> references = new("--references") { Description = "With --predictions: what they should be, if that is another file.", HelpName = "FILE" };
    private readonly Option<string?> referenceField = new("--reference-field") { Description = "The field of --references that holds them; by default reference, answer, output or target.", HelpName = "NAME" };
    private readonly Option<string[]> compare = new("--compare") { Description = "Compare two evaluations of the same examples, by their --out folders.", HelpName = "DIR DIR", Arity = new ArgumentArity(2, 2), AllowMultipleArgumentsPerToken = true };
    private readonly Option<string?> output = new("--out") { Description = "Write evaluation.json and predictions.jsonl here; must be new or empty.", HelpName = "DIR" };
    private readonly Option<bool> resume = new("--resume") { Description = "Go on with the answers that an interrupted evaluation left in --out." };
    private readonly Option<string?> dtype = CommonOptions.DType();
    private readonly Option<string> device = CommonOptions.Device();
    private readonly Option<bool> json = CommonOptions.Json();
    private readonly DatasetOptions reading = new();
    private readonly PromptOptions prompts = new();
    private readonly MetricChoice metrics = new();
    private readonly AnswerOptions answers = new();

    public static Command Create()
    {
        var eval = new EvalCommand();
        var command = new Command("eval", "Measure a model on examples, measure given predictions, or compare two evaluations.")
        {
            eval.model, eval.adapter, eval.data, eval.limit, eval.againstBase, eval.predictions, eval.references, eval.referenceField, eval.compare, eval.output, eval.resume,
        };
        eval.reading.AddTo(command);
        eval.prompts.AddTo(command);
        eval.metrics.AddTo(command);
        eval.answers.AddTo(command);
        foreach (Option option in new Option[] { eval.dtype, eval.device, eval.json })
        {
            command.Options.Add(option);
        }

        command.SetAction((result, cancellation) => (result.GetValue(eval.model), result.GetValue(eval.predictions), result.GetValue(eval.compare)) switch
        {
            ({ } folder, null, null or []) => eval.MeasureModelAsync(result, folder, cancellation),
            (null, { } file, null or []) => eval.MeasurePredictionsAsync(result, file, cancellation),
            (null, null, [string first, string second]) => eval.CompareAsync(result, first, second, cancellation),
            _ => throw new UsageException("give --model with --data, or --predictions, or --compare."),
        });
        return command;
    }

    private async Task<int> MeasureModelAsync(ParseResult result, string folder, CancellationToken cancellation)
    {
        string file = result.GetValue(data) ?? throw new UsageException("--data is missing; name the examples to measure on.");
        string? attached = result.GetValue(adapter);
        if (result.GetValue(againstBase) && attached is null)
        {
            throw new UsageException("--against-base needs --adapter, without which the model is measured already.");
        }

        var skipped = new SkippedLines();
        DatasetReadOptions options = reading.Reading(result, skipped);
        PromptWriting writing = prompts.Of(result, folder, attached);
        writing.WarnOfData(file, options);
        EvaluationOutput? folderOut = result.GetValue(output) is { } path ? new EvaluationOutput(path) : null;
        using MetricChoice.ChosenMetrics chosen = metrics.Choose(result, withModel: true, result.GetValue(device)!, folderOut?.JudgeCache, cancellation);
        using var loaded = new LoadedModel(folder, attached, result.GetValue(dtype), result.GetValue(device)!, cancellation);
        ExampleFile examples = ExampleFile.Read(file, options, result.GetValue(limit), writing.Encoder(loaded.Model.Config, int.MaxValue), loaded.Tokenizer, chosen);
        folderOut?.Claim(
            new { model = folder, adapter = attached, data = examples.Sha256, examples = examples.Examples.Count, prompts = writing.ToString(), answers = answers.Describe(result) }, result.GetValue(resume));
        var evaluation = new ModelEvaluation(chosen, answers, examples);
        Measured found = await evaluation.RunAsync(result, loaded, attached, folderOut?.Predictions, cancellation).ConfigureAwait(false);
        folderOut?.Save(found.Report);
        if (attached is not null || File.Exists(Path.Combine(folder, RunManifest.FileName)))
        {
            RunRegistry.AddMetrics(attached ?? folder, found.Report); // Of weights that a run made.
        }

        if (!result.GetValue(againstBase))
        {
            Show(result, found, skipped);
            return 0;
        }

        loaded.DetachAdapter();
        EvaluationOutput? baseOut = folderOut?.OfBase;
        Measured alone = await evaluation.RunAsync(result, loaded, adapter: null, baseOut?.Predictions, cancellation).ConfigureAwait(false);
        baseOut?.Save(alone.Report);
        Show(result, found, skipped, new ReportComparison((alone.Report, alone.Examples), (found.Report, found.Examples)));
        return 0;
    }

    private async Task<int> MeasurePredictionsAsync(ParseResult result, string file, CancellationToken cancellation)
    {
        EvaluationOutput? folderOut = result.GetValue(output) is { } path ? new EvaluationOutput(path) : null;
        using MetricChoice.ChosenMetrics chosen = metrics.Choose(result, withModel: false, result.GetValue(device)!, folderOut?.JudgeCache, cancellation);
        string about = result.GetValue(references) ?? file;
        IReadOnlyList<EvaluationExample> examples = PredictionFile.Pair(file, result.GetValue(references), result.GetValue(referenceField));
        folderOut?.Claim(new { predictions = RunHashes.OfFile(file), references = RunHashes.OfFile(about) }, resume: false);
        folderOut?.Keep(examples);
        EvaluationSuite suite = await chosen.MeasureAsync(model: null, examples, cancellation).ConfigureAwait(false);
        var found = new Measured(new EvaluationReport(Model: null, Adapter: null, about, ExampleFile.HashOf(examples), examples.Count, suite.Results), suite.Summary, examples);
        folderOut?.Save(found.Report);
        Show(result, found, new SkippedLines());
        return 0;
    }

    private async Task<int> CompareAsync(ParseResult result, string first, string second, CancellationToken cancellation)
    {
        var comparison = new ReportComparison(ReportComparison.Load(first), ReportComparison.Load(second));
        EvaluationResult? verdict = null;
        if (metrics.Judge.IsGiven(result))
        {
            using ResilientChatClient client = metrics.Judge.Connect(result, result.GetValue(device)!, new EvaluationOutput(second).JudgeCache, cancellation);
            verdict = await comparison.JudgeAsync(new PairwiseJudge(client, metrics.Judge.Concurrency(result)), cancellation).ConfigureAwait(false);
        }

        if (result.GetValue(json))
        {
            Console.WriteLine(JsonSerializer.Serialize(new { Metrics = comparison.Figures, Judge = verdict is null ? null : Measured.FiguresOf(verdict) }, EvaluationOutput.Json));
            return 0;
        }

        comparison.Show(Console.Out);
        Console.Write(verdict is null ? "" : $"the judge prefers the second: {Measured.Describe(verdict)}");
        return 0;
    }

    private void Show(ParseResult result, Measured found, SkippedLines skipped, ReportComparison? withBase = null)
    {
        if (result.GetValue(json))
        {
            Console.WriteLine(JsonSerializer.Serialize(
                new { found.Report.Examples, Skipped = skipped.Count, Results = found.Figures, AgainstBase = withBase?.Figures }, EvaluationOutput.Json));
            return;
        }

        Console.Write(found);
        Console.WriteLine($"{found.Report.Examples} examples{skipped}");
        withBase?.Show(Console.Out);
    }
}
