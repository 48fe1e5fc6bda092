using Nibble.Training.Configuration;

namespace Nibble.Serving.Workers;

/// <summary>
/// What a worker is to do: the first line of its standard input. Each further line says that its server still has the job. When none comes
/// for the length of a lease, or the input ends, the worker saves a checkpoint and ends.
/// </summary>
/// <param name="Config">The run.</param>
/// <param name="Job">The job's name.</param>
/// <param name="Attempt">Which of the job's attempts this is; all but the first resume.</param>
/// <param name="LeaseSeconds">For how long its server has the job without saying so again.</param>
internal sealed record WorkerOrder(RunConfig Config, string Job, int Attempt, double LeaseSeconds)
{
    public string ToLine() => ConfigBinder.ToJson(this).ReplaceLineEndings(" ");

    /// <exception cref="ArgumentException">The line is something else.</exception>
    public static WorkerOrder Parse(string? line)
    {
        try
        {
            return ConfigBinder.FromJson<WorkerOrder>(line ?? "") is { Config: not null, Job: not null } order ? order : throw new System.Text.Json.JsonException("parts are missing");
        }
        catch (System.Text.Json.JsonException exception)
        {
            throw new ArgumentException($"standard input is no order: {exception.Message} Workers are started by 'nibble serve'.", exception);
        }
    }
}
