using System.Text;
using System.Text.Unicode;
using Nibble.Data;

namespace Nibble.Serving.Files;

/// <summary>A file of conversations, a JSON object a line, as fine-tunes in OpenAI's shape read it.</summary>
internal static class ChatFile
{
    /// <summary>Reads it to its end.</summary>
    /// <param name="path">Where it lies.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What is wrong with the first bad line, which is named; null where all are good.</returns>
    public static string? ProblemOf(string path, CancellationToken cancellation)
    {
        if (new FileInfo(path).Length == 0)
        {
            return "is empty";
        }

        if (LineWithoutText(path, cancellation) is { } line)
        {
            return $"line {line}: is not UTF-8";
        }

        if (!BeginsWithObject(path))
        {
            return "line 1: expected a JSON object, one on each line";
        }

        BadLine? first = null;
        var options = new DatasetReadOptions { Format = DatasetFormat.Chat, OnBadLine = bad => first ??= bad, Progress = _ => cancellation.ThrowIfCancellationRequested() };
        try
        {
            using IEnumerator<DatasetLine> lines = DatasetReader.ReadLines(path, options).GetEnumerator();
            while (first is null && lines.MoveNext())
            {
            }
        }
        catch (InvalidDataException exception)
        {
            return exception.Message.Replace(path, "the file", StringComparison.Ordinal);
        }

        return first is null ? null : $"line {first.Line}: {first.Reason}";
    }

    /// <summary>The first line that is no UTF-8; what is read as text would have other letters there, silently.</summary>
    private static int? LineWithoutText(string path, CancellationToken cancellation)
    {
        int number = 0;
        foreach (string line in File.ReadLines(path, Encoding.Latin1)) // Each byte a letter.
        {
            cancellation.ThrowIfCancellationRequested();
            number++;
            if (!Utf8.IsValid(Encoding.Latin1.GetBytes(line)))
            {
                return number;
            }
        }

        return null;
    }

    /// <summary>Other containers, and packed ones, are not for uploads: what is packed may be far larger than it looks.</summary>
    private static bool BeginsWithObject(string path)
    {
        using StreamReader reader = File.OpenText(path);
        int next;
        while ((next = reader.Read()) >= 0 && char.IsWhiteSpace((char)next))
        {
        }

        return next == '{';
    }
}
