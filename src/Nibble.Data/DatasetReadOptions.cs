using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>How a dataset is read.</summary>
public sealed record DatasetReadOptions
{
    /// <summary>The form of the records; <see cref="DatasetFormat.Auto"/> decides by the first good one.</summary>
    public DatasetFormat Format { get; init; }

    /// <summary>
    /// Which column a field is read from, such as <c>prompt</c> from <c>question</c>; dots lead into nested values, as in
    /// <c>instances.0.output</c>.
    /// </summary>
    public IReadOnlyDictionary<string, string> Map { get; init; } = new Dictionary<string, string>();

    /// <summary>Is told of each bad line, which is then skipped; null: the first bad line is an error.</summary>
    public Action<BadLine>? OnBadLine { get; init; }
}

/// <summary>A record with where it comes from.</summary>
/// <param name="Line">The line where it begins; in JSON arrays and Parquet files its place, from 1.</param>
/// <param name="Record">The record.</param>
/// <param name="Fields">All fields of the line, mapped ones under both names.</param>
public sealed record DatasetLine(int Line, DatasetRecord Record, JsonObject Fields);

/// <summary>A line that holds no record to learn from.</summary>
/// <param name="Path">The file.</param>
/// <param name="Line">The line where it begins; in JSON arrays and Parquet files its place, from 1.</param>
/// <param name="Code">The kind of problem, one of <see cref="Validation.IssueCodes"/>.</param>
/// <param name="Reason">What is wrong, without file and line.</param>
public sealed record BadLine(string Path, int Line, string Code, string Reason)
{
    /// <summary>File, line and reason.</summary>
    public override string ToString() => $"{Path}:{Line}: {Reason}.";
}
