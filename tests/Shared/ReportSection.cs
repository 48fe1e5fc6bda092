namespace Nibble.Tests;

/// <summary>A section of a report in Markdown that several programs write, each its own.</summary>
public static class ReportSection
{
    private const string Mark = "## ";

    /// <summary>Puts a section in the place of the one with the same heading, or at the end.</summary>
    /// <param name="path">The report, which is made where there is none.</param>
    /// <param name="title">Its first line.</param>
    /// <param name="heading">Of the section.</param>
    /// <param name="text">Of the section.</param>
    public static void Put(string path, string title, string heading, string text)
    {
        List<string> lines = File.Exists(path) ? [.. File.ReadAllLines(path)] : [$"# {title}"];
        int begin = lines.IndexOf(Mark + heading);
        int next = begin < 0 ? -1 : lines.FindIndex(begin + 1, line => line.StartsWith(Mark, StringComparison.Ordinal));
        int end = next < 0 ? lines.Count : next;
        begin = begin < 0 ? lines.Count : begin;
        string[] before = [.. lines[..begin]];
        string[] after = [.. lines[end..]];
        File.WriteAllText(path, string.Join('\n', [string.Join('\n', before).TrimEnd(), "", Mark + heading, "", text.TrimEnd(), .. after.Length > 0 ? ["", .. after] : after]).TrimEnd() + "\n");
    }
}
