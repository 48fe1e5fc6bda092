using Microsoft.AspNetCore.Http;
using Nibble.Serving.Jobs;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Serving.Api;

/// <summary>Refusals, as RFC 9457 describes them; <c>errors</c> names the field.</summary>
internal static class Problems
{
    public static IResult NoJob(string id) => Results.Problem($"There is no job '{id}'.", statusCode: StatusCodes.Status404NotFound);

    /// <summary>Null where neither the output folder nor one that it lies in holds a run yet: what is written into a run's folder may pass for its checkpoints.</summary>
    public static IResult? Taken(JobRequest request, RunConfig config, PathRoot outputs)
    {
        for (string folder = config.OutputDir; outputs.Holds(folder); folder = Path.GetDirectoryName(folder)!)
        {
            if (File.Exists(folder) || File.Exists(Path.Combine(folder, RunManifest.FileName)))
            {
                string place = folder == config.OutputDir ? "" : $"lies in '{outputs.Below(folder)}', which ";
                return Conflict("output_dir", $"'{request.OutputDir}' {place}{(File.Exists(folder) ? "is a file" : "holds another run")}; choose another");
            }
        }

        return null;
    }

    public static IResult Conflict(string field, string problem) => Field(field, problem, StatusCodes.Status409Conflict);

    public static IResult Unprocessable(FieldException exception) => Field(exception.Name, exception.Problem, StatusCodes.Status422UnprocessableEntity);

    /// <summary>The database does not answer; the request can be sent again.</summary>
    public static IResult Unreachable() => Results.Problem("The jobs cannot be read or written at the moment.", statusCode: StatusCodes.Status503ServiceUnavailable);

    public static IResult QueueFull(int queue) => Results.Problem($"{queue} jobs wait already, as many as may (--queue).", statusCode: StatusCodes.Status429TooManyRequests);

    public static IResult DiskFull(string problem) => Results.Problem($"{problem}.", statusCode: StatusCodes.Status507InsufficientStorage);

    private static IResult Field(string field, string problem, int status) =>
        Results.Problem($"{field}: {problem}", statusCode: status, extensions: [new("errors", new Dictionary<string, string[]> { [field] = [problem] })]);
}
