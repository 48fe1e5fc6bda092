using System.Text.Encodings.Web;
using System.Text.Json;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Training.Reporting;

/// <summary>An evaluation example, as the model answered it before training and after.</summary>
/// <param name="Prompt">What the model was given.</param>
/// <param name="Expected">The file's answer.</param>
/// <param name="Before">The answer before the first step.</param>
/// <param name="After">The answer of the finished run; null before its end.</param>
public sealed record RunSample(string Prompt, string Expected, string Before, string? After = null);

/// <summary><c>samples.jsonl</c>: one sample a line.</summary>
public static class RunSamples
{
    /// <summary>The file's name in the run's folder.</summary>
    public const string FileName = "samples.jsonl";

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The samples of a run's folder; none where it has no such file.</summary>
    /// <exception cref="InvalidDataException">The file is damaged.</exception>
    public static IReadOnlyList<RunSample> Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            return File.Exists(path) ? [.. File.ReadLines(path).Select(line => JsonSerializer.Deserialize<RunSample>(line, Json) ?? throw new JsonException("a line is null."))] : [];
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} is damaged: {exception.Message}", exception);
        }
    }

    internal static void Save(string folder, IReadOnlyList<RunSample> samples)
    {
        string path = Path.Combine(folder, FileName);
        if (samples.Count > 0)
        {
            AtomicFile.WriteText(path, string.Concat(samples.Select(sample => JsonSerializer.Serialize(sample, Json) + "\n")));
        }
        else
        {
            File.Delete(path); // Of an earlier process, with other settings.
        }
    }
}
