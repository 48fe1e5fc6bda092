using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Api;
using Nibble.Serving.Files;
using Nibble.Serving.Jobs;
using Nibble.Serving.Keys;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;
using Nibble.Training.Configuration;

namespace Nibble.Serving.OpenAi;

/// <summary>The jobs of <c>/v1/jobs</c> in OpenAI's shape: to create, list, read, pause, resume and cancel.</summary>
internal static class FineTuningApi
{
    private const int LargestPage = 100;

    public static void MapFineTuning(this IEndpointRouteBuilder group)
    {
        RouteGroupBuilder jobs = group.MapGroup("/fine_tuning/jobs").WithTags("Fine-tuning");
        jobs.MapPost("", CreateAsync).Takes<FineTuningRequest>().Produces<FineTuningView>().WithSummary("Create a fine-tuning job");
        jobs.MapGet("", ListAsync).Produces<Page<FineTuningView>>().WithSummary("List fine-tuning jobs, the newest first");
        jobs.MapGet("{id}", async (string id, JobStore store, CancellationToken cancellation) => FineTuningView.Of(await FindAsync(store, id, cancellation).ConfigureAwait(false)))
            .WithSummary("Read a fine-tuning job");
        jobs.MapGet("{id}/events", EventsAsync).Produces<Page<EventView>>().WithSummary("List what happened to a fine-tuning job, the newest first");
        jobs.MapGet("{id}/checkpoints", CheckpointsAsync).Produces<Page<CheckpointView>>().WithSummary("List a fine-tuning job's checkpoints, the newest first");
        jobs.MapPost("{id}/cancel", (string id, JobStore store, CancellationToken cancellation) => StopAsync(id, JobWish.Cancel, store, cancellation))
            .Produces<FineTuningView>().WithSummary("Cancel a fine-tuning job").NeedsOwner();
        jobs.MapPost("{id}/pause", (string id, JobStore store, CancellationToken cancellation) => StopAsync(id, JobWish.Pause, store, cancellation))
            .Produces<FineTuningView>().WithSummary("Pause a fine-tuning job").NeedsOwner();
        jobs.MapPost("{id}/resume", ResumeAsync).Produces<FineTuningView>().WithSummary("Resume a paused fine-tuning job").NeedsOwner();
    }

    private static async Task<IResult> CreateAsync(
        HttpContext context, JobStore store, ServiceOptions options, DeviceMemory memory, DiskQuota quota, FileLibrary files, ModelCatalog models)
    {
        (FineTuningRequest request, byte[] bytes) = await RequestBody.ReadAsync<FineTuningRequest>(context).ConfigureAwait(false);
        if (quota.Problem is { } full)
        {
            throw new RefusedException(StatusCodes.Status507InsufficientStorage, $"{full}.");
        }

        string id = $"job-{Guid.CreateVersion7():N}";
        string model = models.FindBase(request.Model) ?? throw ModelsApi.NoModel(request.Model);
        string training = await PathAsync("training_file", request.TrainingFile).ConfigureAwait(false);
        string? validation = request.ValidationFile is { } file ? await PathAsync("validation_file", file).ConfigureAwait(false) : null;
        RunConfig config = FineTuningConfiguration.Of(request, model, options.OutputRoot.Resolve(id), training, validation);
        (string device, long needed) = memory.Predict(config);
        var job = new Job
        {
            Id = id,
            ModelName = request.Model,
            TrainingDataPath = request.TrainingFile,
            OutputDir = id,
            Folder = config.OutputDir,
            Config = ConfigBinder.ToJson(config),
            Device = device,
            Memory = needed,
            KeyId = context.Key()?.Id,
            Asked = FineTuningView.ToAsked(request),
            RequestHash = Convert.ToHexStringLower(SHA256.HashData(bytes)),
            Created = DateTimeOffset.UtcNow,
        };
        (Job added, Addition outcome) = await store.AddAsync(job, options.Queue).ConfigureAwait(false);
        return outcome == Addition.QueueFull
            ? throw new RefusedException(StatusCodes.Status429TooManyRequests, $"{options.Queue} jobs wait already, as many as may (--queue).", code: "queue_full")
            : Results.Ok(FineTuningView.Of(added));

        async Task<string> PathAsync(string field, string name) => await store.FindFileAsync(name, context.RequestAborted).ConfigureAwait(false) is { } found
            ? Path.GetFullPath(files.PathOf(found))
            : throw new FieldException(field, $"there is no file '{name}'");
    }

    private static async Task<IResult> ListAsync(JobStore store, string? limit, string? after, CancellationToken cancellation)
    {
        int count = PageSize.Of(limit, 20, LargestPage);
        Job? last = after is null ? null : await store.FindAsync(after, cancellation).ConfigureAwait(false) ?? throw new FieldException("after", $"there is no job '{after}'");
        IReadOnlyList<Job> jobs = await store.ListAsync(count + 1, last, status: null, cancellation).ConfigureAwait(false);
        return Results.Ok(Page<FineTuningView>.Of(jobs.Select(FineTuningView.Of), count, job => job.Id));
    }

    private static async Task<IResult> EventsAsync(string id, JobStore store, string? limit, string? after, CancellationToken cancellation)
    {
        int count = PageSize.Of(limit, 20, LargestPage);
        long before = after is null ? long.MaxValue : EventView.NumberOf(after) ?? throw new FieldException("after", $"there is no event '{after}'");
        Job job = await FindAsync(store, id, cancellation).ConfigureAwait(false);
        IReadOnlyList<JobEvent> events = await store.EventsBeforeAsync(job, before, count + 1, cancellation).ConfigureAwait(false);
        return Results.Ok(Page<EventView>.Of(events.Select(EventView.Of), count, item => item.Id));
    }

    private static async Task<IResult> CheckpointsAsync(string id, JobStore store, string? limit, string? after, CancellationToken cancellation)
    {
        int count = PageSize.Of(limit, 10, LargestPage);
        IReadOnlyList<CheckpointView> all = CheckpointView.Of(await FindAsync(store, id, cancellation).ConfigureAwait(false));
        IEnumerable<CheckpointView> rest = after is null ? all
            : all.Any(item => item.Id == after) ? all.SkipWhile(item => item.Id != after).Skip(1)
            : throw new FieldException("after", $"there is no checkpoint '{after}'");
        return Results.Ok(Page<CheckpointView>.Of(rest, count, item => item.Id));
    }

    private static async Task<IResult> StopAsync(string id, JobWish wish, JobStore store, CancellationToken cancellation)
    {
        (Job? job, bool accepted) = await JobStop.WaitAsync(id, wish, store, cancellation).ConfigureAwait(false);
        return accepted ? Results.Ok(FineTuningView.Of(job!)) : throw Refused(id, job, "only a job that is not over can be paused or cancelled");
    }

    private static async Task<IResult> ResumeAsync(string id, JobStore store)
    {
        (Job? job, bool accepted) = await store.ResumeAsync(id).ConfigureAwait(false);
        return accepted ? Results.Ok(FineTuningView.Of(job!)) : throw Refused(id, job, "only a paused job can be resumed");
    }

    private static async Task<Job> FindAsync(JobStore store, string id, CancellationToken cancellation) =>
        await store.FindAsync(id, cancellation).ConfigureAwait(false) ?? throw NoJob(id);

    private static RefusedException NoJob(string id) => new(StatusCodes.Status404NotFound, $"There is no fine-tuning job '{id}'.", "fine_tuning_job_id");

    private static RefusedException Refused(string id, Job? job, string rule) => job is null ? NoJob(id)
        : new RefusedException(StatusCodes.Status400BadRequest, $"The job is {FineTuningView.StatusOf(job.Status)}; {rule}.", "status");
}
