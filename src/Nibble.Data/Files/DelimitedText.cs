using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>Comma- or tab-separated values with a header (RFC 4180): quoted cells may hold delimiters, doubled quotes and line breaks.</summary>
internal static class DelimitedText
{
    /// <exception cref="FormatException">The header names a column twice, or a quoted cell has no end.</exception>
    public static IEnumerable<SourceRow> Read(TextReader text, char delimiter)
    {
        using (text)
        {
            var cells = new Cells(text, delimiter);
            string[]? header = null;
            while (cells.ReadRow() is { } row)
            {
                if (row is [""])
                {
                    continue; // A blank line.
                }

                if (header is null)
                {
                    header = Header(row);
                    continue;
                }

                yield return row.Count == header.Length
                    ? new SourceRow(cells.FirstLine, new JsonObject(header.Zip(row, (name, cell) => KeyValuePair.Create(name, (JsonNode?)cell))))
                    : new SourceRow(cells.FirstLine, null, $"has {row.Count} cells where the header has {header.Length}");
            }
        }
    }

    private static string[] Header(List<string> row) =>
        row.GroupBy(name => name).FirstOrDefault(group => group.Count() > 1) is { } twice
            ? throw new FormatException($"the header names the column '{twice.Key}' twice")
            : [.. row];

    /// <summary>Cuts the text into rows of cells.</summary>
    private sealed class Cells(TextReader text, char delimiter)
    {
        private readonly StringBuilder cell = new();
        private int line = 1;

        /// <summary>Where the last row begins.</summary>
        public int FirstLine { get; private set; }

        public List<string>? ReadRow()
        {
            if (text.Peek() < 0)
            {
                return null;
            }

            FirstLine = line;
            var row = new List<string>();
            do
            {
                row.Add(text.Peek() == '"' ? Quoted() : Plain());
            }
            while (More());
            return row;
        }

        private string Plain()
        {
            cell.Clear();
            while (text.Peek() is >= 0 and not '\r' and not '\n' && text.Peek() != delimiter)
            {
                cell.Append((char)text.Read());
            }

            return cell.ToString();
        }

        private string Quoted()
        {
            int began = line;
            cell.Clear();
            text.Read();
            for (int next; (next = text.Read()) != '"' || text.Peek() == '"';)
            {
                if (next < 0)
                {
                    throw new FormatException($"the quoted cell that begins on line {began} has no end");
                }

                if (next == '"')
                {
                    text.Read();
                }

                line += next == '\n' ? 1 : 0;
                cell.Append((char)next);
            }

            // What follows a closing quote belongs to the cell, as spreadsheets read it.
            while (text.Peek() is >= 0 and not '\r' and not '\n' && text.Peek() != delimiter)
            {
                cell.Append((char)text.Read());
            }

            return cell.ToString();
        }

        /// <summary>Past a delimiter, or past the end of the row.</summary>
        private bool More()
        {
            if (text.Peek() == delimiter)
            {
                text.Read();
                return true;
            }

            if (text.Peek() == '\r')
            {
                text.Read();
            }

            if (text.Peek() == '\n')
            {
                text.Read();
            }

            line++;
            return false;
        }
    }
}
