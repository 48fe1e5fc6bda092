using System.Text.RegularExpressions;

namespace Nibble.Evaluation.Text;

/// <summary>sacrebleu's tokenizer 13a, which is that of NIST's mteval-v13a: punctuation stands alone, but for points and commas within numbers.</summary>
internal static partial class BleuTokens
{
    public static string[] Of(string text)
    {
        string line = text.TrimEnd().Replace("<skipped>", "", StringComparison.Ordinal).Replace("-\n", "", StringComparison.Ordinal).Replace('\n', ' ');
        line = line
            .Replace("&quot;", "\"", StringComparison.Ordinal)
            .Replace("&amp;", "&", StringComparison.Ordinal)
            .Replace("&lt;", "<", StringComparison.Ordinal)
            .Replace("&gt;", ">", StringComparison.Ordinal);
        line = Punctuation().Replace($" {line} ", " $0 ");
        line = AfterNoDigit().Replace(line, "$1 $2 ");
        line = BeforeNoDigit().Replace(line, " $1 $2");
        return Words.Split(DashAfterDigit().Replace(line, "$1 $2 "));
    }

    [GeneratedRegex(@"[!-&(-+/:-@\[-`{-~]")]
    private static partial Regex Punctuation();

    [GeneratedRegex("([^0-9])([.,])")]
    private static partial Regex AfterNoDigit();

    [GeneratedRegex("([.,])([^0-9])")]
    private static partial Regex BeforeNoDigit();

    [GeneratedRegex("([0-9])(-)")]
    private static partial Regex DashAfterDigit();
}
