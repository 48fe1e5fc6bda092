using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Serving.Store;

namespace Nibble.Serving.OpenAi;

/// <summary>A checkpoint that a job's folder has, from which it can go on.</summary>
/// <param name="Id">Its name.</param>
/// <param name="CreatedAt">Seconds since 1970.</param>
/// <param name="FineTuningJobId">The job.</param>
/// <param name="FineTunedModelCheckpoint">The tuned model at that step, to chat with unless it is a whole model.</param>
/// <param name="StepNumber">Optimizer steps.</param>
/// <param name="Metrics">The figures of that step, as far as they were logged.</param>
internal sealed record CheckpointView(string Id, long CreatedAt, string FineTuningJobId, string FineTunedModelCheckpoint, int StepNumber, JsonObject Metrics)
{
    private const string Prefix = "checkpoint-";

    public string Object { get; } = "fine_tuning.job.checkpoint";

    /// <summary>Where a job has the checkpoint of a step.</summary>
    public static string FolderOf(Job job, int step) => Path.Combine(job.Folder, string.Create(CultureInfo.InvariantCulture, $"{Prefix}{step}"));

    /// <summary>Those of a job, the newest first.</summary>
    public static IReadOnlyList<CheckpointView> Of(Job job)
    {
        if (!Directory.Exists(job.Folder))
        {
            return [];
        }

        string log = Path.Combine(job.Folder, "metrics.jsonl");
        ILookup<int, JsonObject> figures = (File.Exists(log) ? File.ReadLines(log) : []).Select(Parse).OfType<JsonObject>().ToLookup(line => line["step"]?.GetValue<int>() ?? -1);
        return
        [
            .. new DirectoryInfo(job.Folder).EnumerateDirectories($"{Prefix}*")
                .Select(folder => (Folder: folder, Step: int.TryParse(folder.Name[Prefix.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out int step) ? step : -1))
                .Where(item => item.Step >= 0).OrderByDescending(item => item.Step)
                .Select(item => new CheckpointView(
                    $"ftckpt-{item.Step}-{job.Id}", new DateTimeOffset(item.Folder.LastWriteTimeUtc).ToUnixTimeSeconds(), job.Id,
                    ModelCatalog.NameOf(job, item.Step), item.Step, Joined(item.Step, figures[item.Step]))),
        ];
    }

    private static JsonObject Joined(int step, IEnumerable<JsonObject> lines)
    {
        var joined = new JsonObject { ["step"] = step };
        foreach ((string name, JsonNode? value) in lines.SelectMany(EventView.Renamed))
        {
            joined[name] = value?.DeepClone();
        }

        return joined;
    }

    /// <summary>Null for a line that is being written.</summary>
    private static JsonObject? Parse(string line)
    {
        try
        {
            return JsonNode.Parse(line) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
