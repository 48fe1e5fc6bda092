using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Evaluation.Answers;

/// <summary>
/// The share of predictions whose last number is that of a reference: 1,234 is 1234.0 is $1,234. Numbers are decimal, up to 7.9e28 and with up
/// to 28 digits.
/// </summary>
/// <remarks>Reads prediction and references; a prediction without a number is unextracted.</remarks>
public sealed partial class NumericEvaluator : AnswerEvaluator
{
    private readonly decimal tolerance;

    /// <summary>Equal up to a tolerance.</summary>
    /// <param name="tolerance">How far a number may lie from the reference's; 0: not at all.</param>
    /// <param name="extraction">Finds the answer in prediction and reference; null: all of the text, of which the last number counts.</param>
    /// <exception cref="ArgumentException">The tolerance is negative or no number.</exception>
    public NumericEvaluator(double tolerance = 0, AnswerExtraction? extraction = null)
        : base(extraction) =>
        this.tolerance = tolerance is >= 0 and < 1e28 ? (decimal)tolerance : throw new ArgumentException($"The tolerance is {tolerance}; expected a number from 0.", nameof(tolerance));

    /// <inheritdoc/>
    public override string Metric => "numeric";

    private protected override double? Compare(string answer, string reference) =>
        Number(answer) is { } found ? Close(found, Number(reference)!.Value) ? 1 : 0 : null;

    private protected override void CheckReferences(string[] references, int index)
    {
        if (Array.Find(references, reference => Number(reference) is null) is { } text)
        {
            throw new InvalidDataException($"Example {index} has the reference '{text}', in which there is no number to compare with.");
        }
    }

    // Differences of large numbers of opposite sign leave decimal's range.
    private bool Close(decimal a, decimal b) => Math.Sign(a) * Math.Sign(b) < 0 ? Math.Abs((double)a - (double)b) <= (double)tolerance : Math.Abs(a - b) <= tolerance;

    private static decimal? Number(string text)
    {
        decimal? last = null;
        foreach (Match match in Numbers().Matches(text))
        {
            string digits = match.Groups["number"].Value.Replace(",", "", StringComparison.Ordinal);
            last = decimal.TryParse(digits, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal number)
                ? match.Groups["minus"].Success ? -number : number
                : null;
        }

        return last;
    }

    /// <summary>A sign is one only where no number or word precedes it: 3-4 is no -4. Commas group thousands or end the number.</summary>
    [GeneratedRegex(
        @"((?<![\w)\]])(?<minus>[-\u2212]))?(\p{Sc}(?<minus>[-\u2212])?\s?)?(?<number>([0-9]{1,3}(,[0-9]{3})+(?![0-9])|[0-9]+)(\.[0-9]+)?([eE][-+]?[0-9]+)?|\.[0-9]+)",
        RegexOptions.ExplicitCapture)]
    private static partial Regex Numbers();
}
