using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Store;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Serving.Api;

/// <summary>What the run of a job was told and has written so far: its configuration, all its figures, its samples.</summary>
internal static class RunApi
{
    private static readonly JsonSerializerOptions Figures = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals, // A loss may be NaN.
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    public static void MapRun(this IEndpointRouteBuilder jobs)
    {
        jobs.MapGet("{id}/config", (string id, JobStore store, ServiceOptions options, CancellationToken cancellation) =>
            OfAsync(id, store, job => Results.Text(ConfigBinder.ToJson(Shown(job, options)), "application/json"), cancellation)).Produces<JsonObject>().WithSummary("A job's configuration");
        jobs.MapGet("{id}/metrics", (string id, JobStore store, CancellationToken cancellation) => OfAsync(id, store, Metrics, cancellation)).Produces<JsonObject>().WithSummary("All figures that a job has logged");
        jobs.MapGet("{id}/samples", (string id, JobStore store, CancellationToken cancellation) =>
            OfAsync(id, store, job => Results.Ok(new { samples = RunSamples.Load(job.Folder) }), cancellation)).Produces<JsonObject>().WithSummary("A job's answers before training and after it");
    }

    private static async Task<IResult> OfAsync(string id, JobStore store, Func<Job, IResult> answer, CancellationToken cancellation) =>
        await store.FindAsync(id, cancellation).ConfigureAwait(false) is { } job ? answer(job) : Problems.NoJob(id);

    private static IResult Metrics(Job job)
    {
        string path = Path.Combine(job.Folder, MetricsLog.FileName);
        (IReadOnlyList<StepMetrics> steps, IReadOnlyList<EvalMetrics> evaluations) = File.Exists(path) ? MetricsLog.Read(path) : ([], []);
        return Results.Json(new { steps, evaluations }, Figures);
    }

    /// <summary>Paths as requests name them: where the service's folders lie is nobody's business.</summary>
    private static RunConfig Shown(Job job, ServiceOptions options)
    {
        RunConfig config = ConfigBinder.FromJson<RunConfig>(job.Config)!;
        return config with
        {
            Model = job.ModelName,
            OutputDir = job.OutputDir,
            Data = config.Data with
            {
                Train = job.TrainingDataPath,
                Eval = options.DataRoot.Below(config.Data.Eval),
                ChatTemplate = options.DataRoot.Below(config.Data.ChatTemplate),
            },
            Lora = config.Lora with { InitAdapter = options.OutputRoot.Below(config.Lora.InitAdapter) },
        };
    }
}
