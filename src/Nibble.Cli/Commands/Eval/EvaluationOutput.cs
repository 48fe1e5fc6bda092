using System.Text.Encodings.Web;
using System.Text.Json;
using Nibble.Evaluation;
using Nibble.Evaluation.Predictions;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Cli.Commands.Eval;

/// <summary>The folder of an evaluation. Its <c>request.json</c> says of what it is, so that an interrupted one goes on only as it began.</summary>
/// <param name="folder">The folder.</param>
internal sealed class EvaluationOutput(string folder)
{
    private const string RequestFile = "request.json";

    /// <summary>How figures are written for machines.</summary>
    public static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
    };

    /// <summary>What the model answered.</summary>
    public string Predictions => Path.Combine(folder, "predictions.jsonl");

    /// <summary>The same of the model without its adapter; a folder in this one.</summary>
    public EvaluationOutput OfBase => new(Path.Combine(folder, "base"));

    /// <summary>Writes answers that were there already.</summary>
    public void Keep(IReadOnlyList<EvaluationExample> examples)
    {
        using var writer = new PredictionWriter(Predictions);
        for (int i = 0; i < examples.Count; i++)
        {
            writer.Write(new Prediction(i, examples[i].Prompt, examples[i].Prediction!, examples[i].References));
        }
    }

    /// <summary>Writes the figures.</summary>
    public void Save(EvaluationReport report)
    {
        Directory.CreateDirectory(folder);
        report.Save(Path.Combine(folder, EvaluationReport.FileName));
    }

    /// <summary>Where a judge's replies are kept.</summary>
    public string JudgeCache => Path.Combine(folder, "judge");

    /// <summary>Makes the folder for a request, or makes sure that it is this request's own.</summary>
    /// <param name="request">What decides the answers.</param>
    /// <param name="resume">Whether the folder may hold answers to that request.</param>
    public void Claim(object request, bool resume)
    {
        string path = Path.Combine(folder, RequestFile);
        string text = JsonSerializer.Serialize(request, Json);
        if (!resume || !File.Exists(path))
        {
            CommonOptions.RequireNew(folder);
            AtomicFile.WriteText(path, text);
        }
        else if (File.ReadAllText(path) != text)
        {
            throw new UsageException($"{folder} holds an evaluation of something else ({path} says of what); choose another --out.");
        }
    }
}
