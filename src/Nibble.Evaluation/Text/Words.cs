namespace Nibble.Evaluation.Text;

/// <summary>Words as Python's <c>str.split()</c> finds them, which the reference implementations use.</summary>
internal static class Words
{
    /// <summary>.NET's white space, and the four separators that Python adds.</summary>
    private static readonly char[] Separators =
        [.. Enumerable.Range(0, char.MaxValue).Select(code => (char)code).Where(code => char.IsWhiteSpace(code) || code is >= '\x1C' and <= '\x1F')];

    public static string[] Split(string text) => text.Split(Separators, StringSplitOptions.RemoveEmptyEntries);
}
