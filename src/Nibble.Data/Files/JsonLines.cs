using System.IO.Compression;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>One JSON object a line.</summary>
internal static class JsonLines
{
    public static IEnumerable<SourceRow> Read(TextReader text)
    {
        using (text)
        {
            for (int line = 1; text.ReadLine() is { } content; line++)
            {
                if (!string.IsNullOrWhiteSpace(content))
                {
                    yield return Row(line, content);
                }
            }
        }
    }

    /// <summary>Opens a file to be written, gzipped if its name ends so.</summary>
    public static StreamWriter Create(string path)
    {
        FileStream file = File.Create(path);
        return new StreamWriter(path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionLevel.Optimal) : file) { NewLine = "\n" };
    }

    /// <summary>Writes rows to a file that appears only when it is whole; returns how many.</summary>
    public static int Save(IEnumerable<JsonObject> rows, string path)
    {
        string partial = $"{path}.partial{Path.GetExtension(path)}";
        int count = 0;
        try
        {
            using (StreamWriter writer = Create(partial))
            {
                foreach (JsonObject row in rows)
                {
                    writer.WriteLine(row.ToJsonString(JsonText.Writing));
                    count++;
                }
            }

            File.Move(partial, path, overwrite: true);
            return count;
        }
        catch
        {
            File.Delete(partial);
            throw;
        }
    }

    private static SourceRow Row(int line, string content)
    {
        try
        {
            return SourceRow.Of(line, JsonText.Parse(content));
        }
        catch (JsonException exception)
        {
            return new SourceRow(line, null, JsonText.Reason(exception));
        }
    }
}
