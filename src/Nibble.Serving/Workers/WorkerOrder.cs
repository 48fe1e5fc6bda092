using Nibble.Training.Configuration;

namespace Nibble.Serving.Workers;

/// <summary>What a worker is to do: the first line of its standard input. When that input ends, the worker saves a checkpoint and ends.</summary>
/// <param name="Config">The run.</param>
/// <param name="Resume">Whether an earlier worker may have begun it.</param>
/// <param name="Lock">A file that the worker holds locked, so that no two ever write the same run.</param>
internal sealed record WorkerOrder(RunConfig Config, bool Resume, string Lock)
{
    public string ToLine() => ConfigBinder.ToJson(this).ReplaceLineEndings(" ");

    /// <exception cref="ArgumentException">The line is something else.</exception>
    public static WorkerOrder Parse(string? line)
    {
        try
        {
            return ConfigBinder.FromJson<WorkerOrder>(line ?? "") is { Config: not null, Lock: not null } order ? order : throw new System.Text.Json.JsonException("parts are missing");
        }
        catch (System.Text.Json.JsonException exception)
        {
            throw new ArgumentException($"standard input is no order: {exception.Message} Workers are started by 'nibble serve'.", exception);
        }
    }
}
