using Nibble.Data;

namespace Nibble.Cli.Commands.Data;

/// <summary>Bad lines that were left out.</summary>
internal sealed class SkippedLines
{
    /// <summary>Bad lines that are shown; the others are only counted.</summary>
    private const int Shown = 10;

    public long Count { get; private set; }

    public void Add(BadLine line)
    {
        if (++Count <= Shown)
        {
            Console.Error.WriteLine($"skipped {line}");
        }
    }

    /// <summary>Says how many there were, where there were any.</summary>
    public override string ToString() => Count == 0 ? "" : $", {Count} bad lines skipped";
}
