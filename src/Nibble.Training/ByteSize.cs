using System.Globalization;

namespace Nibble.Training;

/// <summary>Amounts of memory as people write them.</summary>
public static class ByteSize
{
    private static readonly (string Unit, long Bytes)[] Units = [("GiB", 1L << 30), ("MiB", 1L << 20), ("GB", 1_000_000_000), ("MB", 1_000_000)];

    /// <summary>Fewer bytes than so many are a number whose unit was forgotten.</summary>
    private const long LeastWithoutUnit = 1L << 20;

    /// <summary>Reads a number with its unit, such as <c>8GiB</c> or <c>1.5 GB</c>, or of bytes, a MiB at least.</summary>
    /// <exception cref="ArgumentException">It is not one.</exception>
    public static long Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long plain) && plain >= LeastWithoutUnit)
        {
            return plain;
        }

        (string unit, long bytes) = Units.FirstOrDefault(unit => text.EndsWith(unit.Unit, StringComparison.Ordinal));
        return unit is not null && double.TryParse(text[..^unit.Length], NumberStyles.AllowDecimalPoint | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out double number)
            && number > 0 && number * bytes < long.MaxValue
            ? (long)(number * bytes)
            : throw new ArgumentException($"'{text}' is no amount of memory; write a number and GiB, MiB, GB or MB, such as 8GiB, or bytes.");
    }

    /// <summary>Writes an amount in GiB, or in MiB where it is smaller.</summary>
    public static string Format(long bytes) => bytes >= 1L << 30
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.0} GiB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):0.#} MiB");
}
