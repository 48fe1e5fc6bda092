using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>
/// Plain text: documents with <c>&lt;|endoftext|&gt;</c> between them, as corpora for language models are often written; a text without
/// that mark is one document a line.
/// </summary>
internal static class PlainText
{
    private const string Mark = "<|endoftext|>";

    /// <summary>How far the mark is looked for.</summary>
    private const int Sample = 1 << 20;

    /// <param name="open">Opens the text from its beginning.</param>
    public static IEnumerable<SourceRow> Read(Func<TextReader> open)
    {
        bool marked = HasMark(open);
        using TextReader text = open();
        var document = new StringBuilder();
        (int line, int first) = (0, 1);
        while (text.ReadLine() is { } content)
        {
            line++;
            string[] parts = marked ? content.Split(Mark) : [content, ""];
            for (int i = 0; i < parts.Length; i++)
            {
                if (i > 0)
                {
                    if (Row(document, first) is { } row)
                    {
                        yield return row;
                    }

                    document.Clear();
                }

                first = document.Length == 0 ? line : first;
                document.Append(document.Length > 0 ? "\n" : "").Append(parts[i]);
            }
        }

        if (Row(document, first) is { } last)
        {
            yield return last;
        }
    }

    private static bool HasMark(Func<TextReader> open)
    {
        using TextReader text = open();
        char[] sample = new char[Sample];
        return sample.AsSpan(0, text.ReadBlock(sample)).Contains(Mark, StringComparison.Ordinal);
    }

    private static SourceRow? Row(StringBuilder document, int line) =>
        document.ToString().Trim() is { Length: > 0 } text ? new SourceRow(line, new JsonObject { ["text"] = text }) : null;
}
