using System.Text.Json;
using Nibble.Kernels;

namespace Nibble.Training.Reporting;

/// <summary>The trace event format of Chrome, which Perfetto and chrome://tracing show: passes, and in them the operators.</summary>
internal static class ChromeTrace
{
    /// <summary>Writes spans of one thread as complete events; times are in microseconds from the first.</summary>
    public static void Write(string path, IReadOnlyCollection<ProfiledSpan> spans)
    {
        long origin = spans.Min(span => span.Start);
        using FileStream file = File.Create(path);
        using var json = new Utf8JsonWriter(file);
        json.WriteStartObject();
        json.WriteString("displayTimeUnit", "ms");
        json.WriteStartArray("traceEvents");
        foreach (ProfiledSpan span in spans.OrderBy(span => span.Start))
        {
            json.WriteStartObject();
            json.WriteString("name", span.Name);
            json.WriteString("cat", span.Pass ?? "pass");
            json.WriteString("ph", "X");
            json.WriteNumber("ts", (span with { Start = origin, End = span.Start }).Duration.TotalMicroseconds);
            json.WriteNumber("dur", span.Duration.TotalMicroseconds);
            json.WriteNumber("pid", Environment.ProcessId);
            json.WriteNumber("tid", 1);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }
}
