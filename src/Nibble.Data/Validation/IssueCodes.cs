namespace Nibble.Data.Validation;

/// <summary>The kinds of problems that <see cref="DataValidator"/> finds, as reports name them.</summary>
public static class IssueCodes
{
    /// <summary>Error: the line cannot be read as a record.</summary>
    public const string InvalidRecord = "invalid_record";

    /// <summary>Error: nothing is asked.</summary>
    public const string EmptyInstruction = "empty_instruction";

    /// <summary>Error: nothing is answered.</summary>
    public const string EmptyOutput = "empty_output";

    /// <summary>Error: a conversation in which the assistant says nothing.</summary>
    public const string MissingAssistantTurn = "missing_assistant_turn";

    /// <summary>Error: an evaluation example asks what a training example asks.</summary>
    public const string Leakage = "leakage";

    /// <summary>An evaluation example asks nearly what a training example asks.</summary>
    public const string NearLeakage = "near_leakage";

    /// <summary>An answer has fewer than three words, counted by white space.</summary>
    public const string ShortOutput = "short_output";

    /// <summary>An instruction came before, perhaps with another input.</summary>
    public const string DuplicateInstruction = "duplicate_instruction";

    /// <summary>Nearly the same was asked before.</summary>
    public const string NearDuplicate = "near_duplicate";

    /// <summary>The same instruction and input were answered differently before.</summary>
    public const string ConflictingAnswers = "conflicting_answers";

    /// <summary>Text was decoded wrongly, or holds control or replacement characters.</summary>
    public const string BrokenEncoding = "broken_encoding";

    /// <summary>Turns of a conversation do not alternate as they should.</summary>
    public const string RoleOrder = "role_order";

    /// <summary>What looks like a key or an access token.</summary>
    public const string Secret = "secret";

    /// <summary>An e-mail address.</summary>
    public const string EmailAddress = "email_address";

    /// <summary>A template's placeholder that nobody filled, such as {{name}}.</summary>
    public const string UnfilledPlaceholder = "unfilled_placeholder";

    /// <summary>A calculator's annotation, such as &lt;&lt;2*3=6&gt;&gt;, which a model would learn to write.</summary>
    public const string CalculatorMark = "calculator_mark";

    /// <summary>More tokens than the longest example may have.</summary>
    public const string TooLong = "too_long";

    /// <summary>Whether data with such a problem should not be trained on; the others are warnings.</summary>
    public static bool IsError(string code) => code is InvalidRecord or EmptyInstruction or EmptyOutput or MissingAssistantTurn or Leakage;
}
