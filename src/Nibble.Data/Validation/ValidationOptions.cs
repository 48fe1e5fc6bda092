namespace Nibble.Data.Validation;

/// <summary>How data is validated.</summary>
public sealed record ValidationOptions
{
    /// <summary>The form of the records; <see cref="DatasetFormat.Auto"/> decides by the first good one.</summary>
    public DatasetFormat Format { get; init; }

    /// <summary>See <see cref="DatasetReadOptions.Map"/>.</summary>
    public IReadOnlyDictionary<string, string> Map { get; init; } = new Dictionary<string, string>();

    /// <summary>How many tokens a record is to a model; null where no model is known.</summary>
    /// <remarks>A <see cref="FormatException"/> makes the record an <see cref="IssueCodes.InvalidRecord"/>: it does not fit the model.</remarks>
    public Func<DatasetRecord, int>? CountTokens { get; init; }

    /// <summary>Tokens of an example at most; only with <see cref="CountTokens"/>.</summary>
    public int? MaxLength { get; init; }

    /// <summary>Issues of one kind that a report keeps; all are counted.</summary>
    public int KeptIssues { get; init; } = 1000;

    /// <summary>Told after each row how many of the file have been read.</summary>
    public Action<long>? Progress { get; init; }
}
