using System.Text;

namespace Nibble.Evaluation;

/// <summary>Rows of cells as lines of text, the first column to the left, figures to the right.</summary>
public static class TextTable
{
    /// <summary>The lines, each with its end.</summary>
    /// <param name="rows">The first is the header; all have as many cells.</param>
    public static string Of(IReadOnlyList<IReadOnlyList<string>> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        int[] widths = [.. Enumerable.Range(0, rows[0].Count).Select(column => rows.Max(row => row[column].Length))];
        var table = new StringBuilder();
        foreach (IReadOnlyList<string> row in rows)
        {
            table.Append(string.Join("  ", row.Select((cell, column) => column == 0 ? cell.PadRight(widths[column]) : cell.PadLeft(widths[column])))).Append('\n');
        }

        return table.ToString();
    }
}
