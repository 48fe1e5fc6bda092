namespace Nibble.Data.Validation;

/// <summary>A place in a file.</summary>
/// <param name="File">The file.</param>
/// <param name="Line">The line; in JSON arrays and Parquet files the place, from 1.</param>
public sealed record DataPlace(string File, int Line);

/// <summary>One problem of one record.</summary>
/// <param name="Code">Its kind, one of <see cref="IssueCodes"/>.</param>
/// <param name="Place">Where the record is.</param>
/// <param name="Message">What is wrong; secrets are not repeated in it.</param>
/// <param name="DuplicateOf">The earlier record that it repeats or contradicts, where there is one.</param>
public sealed record ValidationIssue(string Code, DataPlace Place, string Message, DataPlace? DuplicateOf = null)
{
    /// <summary><c>error</c> or <c>warning</c>.</summary>
    public string Severity => IssueCodes.IsError(Code) ? "error" : "warning";
}
