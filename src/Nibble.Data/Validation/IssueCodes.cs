namespace Nibble.Data.Validation;

/// <summary>The kinds of problems that validation finds, as reports name them.</summary>
public static class IssueCodes
{
    /// <summary>The line cannot be read as a record.</summary>
    public const string InvalidRecord = "invalid_record";

    /// <summary>A conversation in which the assistant says nothing.</summary>
    public const string MissingAssistantTurn = "missing_assistant_turn";
}
