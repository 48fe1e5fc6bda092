using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;

namespace Nibble.Serving.Keys;

/// <summary>Something that somebody did or was refused.</summary>
/// <param name="Time">When it was over.</param>
/// <param name="Key">The key's public part; null for none, or one that is not known.</param>
/// <param name="Name">The key's name.</param>
/// <param name="Address">Where the request came from.</param>
/// <param name="Method">GET, POST and so on.</param>
/// <param name="Route">The pattern of its path, which nothing that somebody wrote is in; null where there is no such route.</param>
/// <param name="Status">What was answered.</param>
/// <param name="Job">The job, or what else the route names, where there is one.</param>
internal sealed record AuditEntry(DateTimeOffset Time, string? Key, string? Name, string? Address, string Method, string? Route, int Status, string? Job);

/// <summary>
/// Who did what, one JSON object a line, appended to a file that is opened for each, so that it can be rotated: requests that change something, and all
/// that are refused for want of a key, a scope or patience. Nothing that a request says is in it but the names of jobs that exist.
/// </summary>
internal sealed class AuditLog(ServiceOptions options, ILogger<AuditLog> log)
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, // Of a file, not a page; control characters are escaped all the same.
    };

    private readonly Lock writing = new();

    /// <summary>Lets a request go on, and notes what came of it.</summary>
    public async Task NoteAsync(HttpContext context, RequestDelegate next)
    {
        int? failed = StatusCodes.Status500InternalServerError;
        try
        {
            await next(context).ConfigureAwait(false);
            failed = null;
        }
        finally
        {
            if (IsWorthNoting(context))
            {
                Append(Entry(context, failed ?? context.Response.StatusCode));
            }
        }
    }

    /// <summary>The last entries, the newest first.</summary>
    public IReadOnlyList<AuditEntry> Newest(int count) => !File.Exists(options.AuditLog) ? []
        : [.. File.ReadLines(options.AuditLog).TakeLast(count).Reverse().Select(line => JsonSerializer.Deserialize<AuditEntry>(line, Json)!)];

    private bool IsWorthNoting(HttpContext context) => options.AuditLog is not null && (
        !(HttpMethods.IsGet(context.Request.Method) || HttpMethods.IsHead(context.Request.Method))
        || context.Response.StatusCode is StatusCodes.Status401Unauthorized or StatusCodes.Status403Forbidden or StatusCodes.Status429TooManyRequests);

    private static AuditEntry Entry(HttpContext context, int status)
    {
        string? job = status >= StatusCodes.Status400BadRequest ? null
            : context.GetRouteValue("id") as string ?? context.Response.Headers.Location.ToString().Split('/')[^1];
        return new AuditEntry(
            DateTimeOffset.UtcNow, context.Key()?.Id, context.Key()?.Name, context.Connection.RemoteIpAddress?.ToString(), context.Request.Method,
            (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText?.TrimEnd('/'), status, job is "" ? null : job);
    }

    private void Append(AuditEntry entry)
    {
        string line = JsonSerializer.Serialize(entry, Json);
        try
        {
            lock (writing)
            {
                Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(options.AuditLog!))!); // Nothing else may need it, with a database elsewhere.
                File.AppendAllText(options.AuditLog!, $"{line}\n");
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            log.LogError("{Entry} cannot be written to the audit log: {Problem}", line, exception.Message);
        }
    }
}
