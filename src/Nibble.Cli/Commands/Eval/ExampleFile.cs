using System.Security.Cryptography;
using System.Text.Json;
using Nibble.Data;
using Nibble.Evaluation;
using Nibble.Modeling.Tokenizers;
using Nibble.Training;
using Nibble.Training.Batching;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Commands.Eval;

/// <summary>The examples that a model is measured on.</summary>
/// <param name="Path">Their file.</param>
/// <param name="Sha256">Of the file, of which <paramref name="Examples"/> may be the first few.</param>
/// <param name="Examples">As the model sees them.</param>
internal sealed record ExampleFile(string Path, string Sha256, IReadOnlyList<EvaluationExample> Examples)
{
    /// <summary>Reads them.</summary>
    /// <exception cref="InvalidDataException">A record is malformed, or a metric finds nothing to read in it.</exception>
    public static ExampleFile Read(string path, DatasetReadOptions options, int? limit, ExampleEncoder encoder, HfTokenizer? tokenizer, MetricChoice.ChosenMetrics metrics)
    {
        List<EvaluationExample> examples = [.. EvaluationData.Read(path, encoder, tokenizer, options).Take(limit ?? int.MaxValue)];
        if (examples.Count == 0)
        {
            throw new InvalidDataException($"{path} has no records.");
        }

        if (metrics.ReadAnswers && examples.FindIndex(example => example.References.Count == 0) is >= 0 and var text)
        {
            throw new InvalidDataException($"{path}: record {text + 1} is plain text, in which no answer can be told from its prompt; measure perplexity instead.");
        }

        return new ExampleFile(path, RunHashes.OfFile(path), examples);
    }

    /// <summary>SHA-256 of what answers are compared with.</summary>
    public static string HashOf(IReadOnlyList<EvaluationExample> examples) =>
        Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(examples.Select(example => new { example.Prompt, example.References }))));
}
