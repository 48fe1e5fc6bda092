using System.Buffers;
using System.Text.RegularExpressions;

namespace Nibble.Data.Validation;

/// <summary>Problems that show in a text by itself.</summary>
internal static partial class TextChecks
{
    // Characters of Windows-1252 for the bytes 80 to BF, which follow the first byte of a longer UTF-8 character.
    private const string Continuation = @"[\u0080-\u00BF\u20AC\u201A\u0192\u201E\u2026\u2020\u2021\u02C6\u2030\u0160\u2039\u0152\u017D\u2018\u2019\u201C\u201D\u2022\u2013\u2014\u02DC\u2122\u0161\u203A\u0153\u017E\u0178]";

    private static readonly SearchValues<char> Suspects = SearchValues.Create(
        [.. Enumerable.Range(0, 0xA0).Select(code => (char)code).Where(code => char.IsControl(code) && code is not '\t' and not '\n' and not '\r'), '\uFFFD', 'Ã', 'Â', 'â', 'ð', 'Ð', 'Ñ']);

    /// <summary>Code and message of each problem, each kind once.</summary>
    public static IEnumerable<(string Code, string Message)> Problems(string text)
    {
        if (Encoding(text) is { } broken)
        {
            yield return (IssueCodes.BrokenEncoding, broken);
        }

        if (SecretShape().Match(text) is { Success: true } secret)
        {
            yield return (IssueCodes.Secret, $"holds what looks like a secret ({secret.Value[..Math.Min(4, secret.Length)]}..., {secret.Length} characters)");
        }

        if (text.Contains('@') && Email().Match(text) is { Success: true } email)
        {
            yield return (IssueCodes.EmailAddress, $"holds an e-mail address ({email.Value[0]}...{email.Value[email.Value.IndexOf('@')..]})");
        }

        if (text.Contains("{{", StringComparison.Ordinal) && Placeholder().Match(text) is { Success: true } placeholder)
        {
            yield return (IssueCodes.UnfilledPlaceholder, $"holds the placeholder {placeholder.Value}");
        }

        if (text.Contains("<<", StringComparison.Ordinal) && Calculation().Match(text) is { Success: true } calculation)
        {
            yield return (IssueCodes.CalculatorMark, $"holds the calculator's mark {calculation.Value}");
        }
    }

    private static string? Encoding(string text)
    {
        int first = text.AsSpan().IndexOfAny(Suspects);
        if (first < 0)
        {
            return null;
        }

        foreach (char character in text.AsSpan(first))
        {
            if (character == '\uFFFD' || (char.IsControl(character) && character is not '\t' and not '\n' and not '\r'))
            {
                return character == '\uFFFD' ? "holds the replacement character U+FFFD" : $"holds the control character U+{(int)character:X4}";
            }
        }

        return Mojibake().Match(text, first) is { Success: true } wrong ? $"holds '{wrong.Value}', which looks like UTF-8 read as Windows-1252" : null;
    }

    [GeneratedRegex($@"[\u00C2\u00C3]{Continuation}|\u00E2{Continuation}{{2}}|\u00F0\u0178{Continuation}{{2}}|(?:[\u00D0\u00D1]{Continuation}){{2}}")]
    private static partial Regex Mojibake();

    [GeneratedRegex(@"AKIA[0-9A-Z]{16}\b|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,}|hf_[A-Za-z0-9]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.|-----BEGIN [A-Z ]*PRIVATE KEY-----")]
    private static partial Regex SecretShape();

    [GeneratedRegex(@"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b")]
    private static partial Regex Email();

    [GeneratedRegex(@"\{\{\s*[A-Za-z_][A-Za-z0-9_.]*\s*\}\}")]
    private static partial Regex Placeholder();

    [GeneratedRegex(@"<<[^<>\n]*=[^<>\n]*>>")]
    private static partial Regex Calculation();
}
