using System.Text.Json.Nodes;
using Nibble.Data.Files;

namespace Nibble.Evaluation.Predictions;

/// <summary>What a model answered to one example of a file.</summary>
/// <param name="Index">The example's place in its file, from 0.</param>
/// <param name="Prompt">What the model was given.</param>
/// <param name="Text">What it answered.</param>
/// <param name="References">Accepted answers; may be empty.</param>
public sealed record Prediction(int Index, string Prompt, string Text, IReadOnlyList<string> References)
{
    /// <summary>As the fields <c>index</c>, <c>prompt</c>, <c>prediction</c> and <c>references</c>.</summary>
    internal string ToJson() => new JsonObject
    {
        ["index"] = Index,
        ["prompt"] = Prompt,
        ["prediction"] = Text,
        ["references"] = new JsonArray([.. References.Select(reference => JsonValue.Create(reference))]),
    }.ToJsonString(JsonText.Writing);

    /// <exception cref="FormatException">A field is missing or of another type.</exception>
    internal static Prediction Of(JsonObject fields) => new(
        Field.Number(fields, "index"), Field.Text(fields, "prompt"), Field.Text(fields, "prediction"), Field.Texts(fields, "references"));
}
