using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;
using Nibble.Serving.Store;

namespace Nibble.Serving.Api;

/// <summary>Whether the service lives, and whether it can take jobs.</summary>
internal static class HealthApi
{
    private const string Ready = "Whether jobs can be taken";

    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder health = routes.MapGroup("/health").AllowAnonymous().WithTags("Health");
        health.MapGet("/live", () => new { status = "ok" }).WithSummary("Whether the service answers");
        health.MapGet("/ready", ReadyAsync).Produces<JsonObject>().ProducesProblem(StatusCodes.Status503ServiceUnavailable).WithSummary(Ready);
        health.MapGet("", ReadyAsync).Produces<JsonObject>().ProducesProblem(StatusCodes.Status503ServiceUnavailable).WithSummary(Ready);
    }

    private static async Task<IResult> ReadyAsync(JobStore store, ServiceOptions options, IHostApplicationLifetime lifetime, CancellationToken cancellation)
    {
        if (lifetime.ApplicationStopping.IsCancellationRequested)
        {
            return Results.Problem("The service is stopping.", statusCode: StatusCodes.Status503ServiceUnavailable);
        }

        try
        {
            IReadOnlyDictionary<JobStatus, int> jobs = await store.CountAsync(cancellation).ConfigureAwait(false);
            WriteTo(options.Outputs);
            return Results.Ok(new { status = "ok", pending = jobs.GetValueOrDefault(JobStatus.Pending), running = jobs.GetValueOrDefault(JobStatus.Running) });
        }
        catch (Exception exception) when (JobStore.IsUnreachable(exception))
        {
            return Problems.Unreachable();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return Results.Problem("The folder of outputs cannot be written.", statusCode: StatusCodes.Status503ServiceUnavailable);
        }
    }

    /// <summary>A byte, for a full disk has room for empty files.</summary>
    private static void WriteTo(string folder)
    {
        using var probe = new FileStream(Path.Combine(folder, $".ready-{Guid.NewGuid():N}"), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
        probe.WriteByte(0);
        probe.Flush();
    }
}
