using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Serving.Store;

namespace Nibble.Serving.OpenAi;

/// <summary>Something that happened to a job.</summary>
/// <param name="Id">Its name.</param>
/// <param name="CreatedAt">Seconds since 1970.</param>
/// <param name="Level">info or error.</param>
/// <param name="Message">In words.</param>
/// <param name="Type">message or metrics.</param>
/// <param name="Data">The figures.</param>
internal sealed record EventView(string Id, long CreatedAt, string Level, string Message, string Type, JsonObject? Data)
{
    private const string Prefix = "ftevent-";

    public string Object { get; } = "fine_tuning.job.event";

    public static EventView Of(JobEvent item)
    {
        JsonObject data = JsonNode.Parse(item.Data)!.AsObject();
        string id = Prefix + item.Number.ToString(CultureInfo.InvariantCulture);
        long time = item.Time.ToUnixTimeSeconds();
        return item.Kind switch
        {
            "status" => new EventView(id, time, (string?)data["status"] == "failed" ? "error" : "info", Words(data), "message", null),
            "log" => new EventView(id, time, "info", (string?)data["message"] ?? "", "message", null),
            _ => new EventView(id, time, "info", Figures(data), "metrics", Renamed(data)),
        };
    }

    /// <summary>The number of an event's name; null where it is none.</summary>
    public static long? NumberOf(string id) =>
        id.StartsWith(Prefix, StringComparison.Ordinal) && long.TryParse(id[Prefix.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : null;

    /// <summary>The figures under OpenAI's names.</summary>
    public static JsonObject Renamed(JsonObject figures)
    {
        JsonObject renamed = figures.DeepClone().AsObject();
        foreach ((string ours, string theirs) in new[] { ("loss", "train_loss"), ("eval_loss", "valid_loss") })
        {
            if (renamed.Remove(ours, out JsonNode? value))
            {
                renamed[theirs] = value;
            }
        }

        return renamed;
    }

    private static string Words(JsonObject data) =>
        $"The job is {FineTuningView.StatusOf(Enum.Parse<JobStatus>((string)data["status"]!, ignoreCase: true))}: {data["reason"]}";

    private static string Figures(JsonObject data) => data["eval_loss"] is { } evaluation
        ? $"Step {data["step"]}: validation loss={evaluation}"
        : $"Step {data["step"]}: training loss={data["loss"]}";
}
