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

    /// <summary>Told after each row how many of the file have been read.</summary>
    public Action<long>? Progress { get; init; }
}
