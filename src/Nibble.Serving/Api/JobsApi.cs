using System.Globalization;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Jobs;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Serving.Api;

/// <summary>Jobs: to create, list, read and cancel.</summary>
internal static class JobsApi
{
    private const string KeyHeader = "Idempotency-Key";
    private const int LongestKey = 255;
    private const int LargestPage = 100;

    public static void MapJobs(this IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder jobs = routes.MapGroup("/v1/jobs").AddEndpointFilter(async (context, next) =>
        {
            try
            {
                return await next(context).ConfigureAwait(false);
            }
            catch (FieldException exception)
            {
                return Problems.Unprocessable(exception);
            }
            catch (BadHttpRequestException exception)
            {
                return Results.Problem(exception.Message, statusCode: exception.StatusCode);
            }
        });
        jobs.MapPost("", CreateAsync);
        jobs.MapGet("", ListAsync);
        jobs.MapGet("{id}", ReadAsync);
        jobs.MapDelete("{id}", CancelAsync);
        jobs.MapEvents();
    }

    private static async Task<IResult> CreateAsync(HttpContext context, JobStore store, ServiceOptions options)
    {
        string? key = context.Request.Headers.TryGetValue(KeyHeader, out Microsoft.Extensions.Primitives.StringValues header) ? header.ToString() : null;
        if (key is { Length: 0 or > LongestKey })
        {
            throw new FieldException(KeyHeader, $"must have 1 to {LongestKey} characters");
        }

        (JobRequest request, byte[] bytes) = await RequestBody.ReadAsync<JobRequest>(context).ConfigureAwait(false);
        string hash = Convert.ToHexStringLower(SHA256.HashData(bytes));
        // Before the request is looked at: what the first one made would stand in the way of the second.
        Job? earlier = key is null ? null : await store.FindByKeyAsync(key, context.RequestAborted).ConfigureAwait(false);
        if (earlier is not null)
        {
            return Repeated(earlier, hash);
        }

        RunConfig config = JobConfiguration.Of(request, options);
        if (File.Exists(Path.Combine(config.OutputDir, RunManifest.FileName)))
        {
            return Problems.Conflict("output_dir", $"'{request.OutputDir}' holds another run; choose another");
        }

        var job = new Job
        {
            Id = $"job-{Guid.CreateVersion7():N}",
            ModelName = request.ModelName,
            TrainingDataPath = request.TrainingDataPath,
            OutputDir = request.OutputDir,
            Folder = config.OutputDir,
            Config = ConfigBinder.ToJson(config),
            IdempotencyKey = key,
            RequestHash = hash,
            Created = DateTimeOffset.UtcNow,
        };
        return await store.AddAsync(job).ConfigureAwait(false) switch
        {
            null => Problems.Conflict("output_dir", $"'{request.OutputDir}' is written by a job that is not over; choose another"),
            (Job added, true) => Results.Created($"/v1/jobs/{added.Id}", JobView.Of(added)),
            (Job other, false) => Repeated(other, hash),
        };
    }

    private static IResult Repeated(Job job, string hash) => job.RequestHash == hash
        ? Results.Ok(JobView.Of(job))
        : throw new FieldException(KeyHeader, "was used for another request");

    private static async Task<IResult> ListAsync(JobStore store, string? limit, string? after, string? status, CancellationToken cancellation)
    {
        int count = limit is null ? 20
            : int.TryParse(limit, NumberStyles.None, CultureInfo.InvariantCulture, out int asked) && asked is > 0 and <= LargestPage ? asked
            : throw new FieldException("limit", $"is '{limit}'; it must lie in 1..{LargestPage}");
        JobStatus? only = status is null ? null
            : Enum.GetValues<JobStatus>().Cast<JobStatus?>().FirstOrDefault(known => ConfigBinder.KeyOf(known.ToString()!) == status)
            ?? throw new FieldException("status", $"is '{status}'; it must be one of {string.Join(", ", Enum.GetNames<JobStatus>().Select(ConfigBinder.KeyOf))}");
        Job? last = after is null ? null : await store.FindAsync(after, cancellation).ConfigureAwait(false) ?? throw new FieldException("after", $"there is no job '{after}'");
        IReadOnlyList<Job> jobs = await store.ListAsync(count + 1, last, only, cancellation).ConfigureAwait(false);
        return Results.Ok(new JobPage([.. jobs.Take(count).Select(JobView.Of)], jobs.Count > count));
    }

    private static async Task<IResult> ReadAsync(string id, JobStore store, CancellationToken cancellation) =>
        await store.FindAsync(id, cancellation).ConfigureAwait(false) is { } job ? Results.Ok(JobView.Of(job)) : Problems.NoJob(id);

    /// <summary>Answers when the job's worker is gone.</summary>
    private static async Task<IResult> CancelAsync(string id, JobStore store, JobRunner runner)
    {
        if (await store.FindAsync(id).ConfigureAwait(false) is { IsOver: true } over)
        {
            return Problems.Conflict("status", $"is {ConfigBinder.KeyOf(over.Status.ToString())}; only a job that is not over can be cancelled");
        }

        if (await store.RequestCancelAsync(id).ConfigureAwait(false) is not { } job)
        {
            return Problems.NoJob(id);
        }

        await runner.StopAsync(job).ConfigureAwait(false);
        return Results.Ok(JobView.Of((await store.FindAsync(id).ConfigureAwait(false))!));
    }
}
