using System.Text.Json;
using System.Text.Json.Serialization;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Evaluation;

/// <summary>What was measured, on what, and what it came to; <c>evaluation.json</c> holds one.</summary>
/// <param name="Model">The base model's folder; null when given predictions were measured.</param>
/// <param name="Adapter">The adapter's folder, or null.</param>
/// <param name="Data">The file of examples or references.</param>
/// <param name="DataSha256">Of that file, so that reports over different examples are not compared.</param>
/// <param name="Examples">How many were measured.</param>
/// <param name="Results">One for each metric.</param>
public sealed record EvaluationReport(string? Model, string? Adapter, string Data, string DataSha256, int Examples, IReadOnlyList<EvaluationResult> Results)
{
    /// <summary>The file's usual name.</summary>
    public const string FileName = "evaluation.json";

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        WriteIndented = true,
    };

    /// <summary>Writes the report, all of it or nothing.</summary>
    public void Save(string path) => AtomicFile.WriteText(path, JsonSerializer.Serialize(this, Json));

    /// <summary>Reads a report.</summary>
    /// <param name="path">The file, or a folder that holds one under its usual name.</param>
    /// <exception cref="InvalidDataException">There is none, or it is damaged.</exception>
    public static EvaluationReport Load(string path)
    {
        string file = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        if (!File.Exists(file))
        {
            throw new InvalidDataException($"{file} does not exist; 'nibble eval --out DIR' writes one.");
        }

        try
        {
            EvaluationReport? report = JsonSerializer.Deserialize<EvaluationReport>(File.ReadAllText(file), Json);
            return report is { Results: not null, DataSha256: not null } ? report : throw new InvalidDataException($"{file} is no evaluation report: it has no results.");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{file} is no evaluation report: {exception.Message}", exception);
        }
    }
}
