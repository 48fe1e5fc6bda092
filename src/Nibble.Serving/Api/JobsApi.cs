using System.Globalization;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Files;
using Nibble.Serving.Jobs;
using Nibble.Serving.Keys;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Api;

/// <summary>Jobs: to create, list, read, pause, resume and cancel.</summary>
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
            catch (Exception exception) when (JobStore.IsUnreachable(exception))
            {
                return Problems.Unreachable();
            }
        });
        jobs.WithTags("Jobs").ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict).ProducesProblem(StatusCodes.Status422UnprocessableEntity);
        jobs.MapPost("", CreateAsync).Takes<JobRequest>().Heeds(KeyHeader, "The same request with the same key makes one job.").Produces<JobView>(StatusCodes.Status201Created).WithSummary("Create a job");
        jobs.MapGet("", ListAsync).Produces<JobPage>().WithSummary("List jobs, the newest first");
        jobs.MapGet("{id}", ReadAsync).Produces<JobView>().WithSummary("Read a job");
        jobs.MapDelete("{id}", (string id, JobStore store, CancellationToken cancellation) => StopAsync(id, JobWish.Cancel, store, cancellation)).Produces<JobView>().WithSummary("Cancel a job").NeedsOwner();
        jobs.MapPost("{id}/pause", (string id, JobStore store, CancellationToken cancellation) => StopAsync(id, JobWish.Pause, store, cancellation)).Produces<JobView>().WithSummary("Pause a job").NeedsOwner();
        jobs.MapPost("{id}/resume", ResumeAsync).Produces<JobView>().WithSummary("Resume a paused job").NeedsOwner();
        jobs.MapEvents();
        jobs.MapPreview();
        jobs.MapRun();
    }

    private static async Task<IResult> CreateAsync(HttpContext context, JobStore store, ServiceOptions options, DeviceMemory memory, DiskQuota quota)
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
        if (Problems.Taken(request, config, options.OutputRoot) is { } taken)
        {
            return taken;
        }

        if (quota.Problem is { } full)
        {
            return Problems.DiskFull(full);
        }

        (string device, long needed) = memory.Predict(config);
        var job = new Job
        {
            Id = $"job-{Guid.CreateVersion7():N}",
            ModelName = request.ModelName,
            TrainingDataPath = request.TrainingDataPath,
            OutputDir = request.OutputDir,
            Folder = config.OutputDir,
            Config = ConfigBinder.ToJson(config),
            Device = device,
            Memory = needed,
            KeyId = context.Key()?.Id,
            IdempotencyKey = key,
            RequestHash = hash,
            Created = DateTimeOffset.UtcNow,
        };
        (Job added, Addition outcome) = await store.AddAsync(job, options.Queue).ConfigureAwait(false);
        return outcome switch
        {
            Addition.FolderTaken => Problems.Conflict("output_dir", $"'{request.OutputDir}', or a folder in it or around it, is written by a job that is not over; choose another"),
            Addition.QueueFull => Problems.QueueFull(options.Queue),
            Addition.Repeated => Repeated(added, hash),
            _ => Results.Created($"/v1/jobs/{added.Id}", JobView.Of(added)),
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

    /// <summary>Answers when the job's worker is gone; with 202 where that takes its time.</summary>
    private static async Task<IResult> StopAsync(string id, JobWish wish, JobStore store, CancellationToken cancellation)
    {
        (Job? job, bool accepted) = await JobStop.WaitAsync(id, wish, store, cancellation).ConfigureAwait(false);
        return !accepted ? job is null ? Problems.NoJob(id) : Refused(job, "only a job that is not over can be paused or cancelled")
            : job!.Wish is not null ? Results.Accepted(value: JobView.Of(job)) : Results.Ok(JobView.Of(job));
    }

    private static async Task<IResult> ResumeAsync(string id, JobStore store)
    {
        (Job? job, bool accepted) = await store.ResumeAsync(id).ConfigureAwait(false);
        return accepted ? Results.Ok(JobView.Of(job!)) : job is null ? Problems.NoJob(id) : Refused(job, "only a paused job can be resumed");
    }

    private static IResult Refused(Job job, string rule) => Problems.Conflict("status", $"is {ConfigBinder.KeyOf(job.Status.ToString())}; {rule}");
}
