namespace Nibble.Data;

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
