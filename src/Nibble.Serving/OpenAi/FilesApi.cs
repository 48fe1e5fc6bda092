using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Api;
using Nibble.Serving.Files;
using Nibble.Serving.Jobs;
using Nibble.Serving.Store;

namespace Nibble.Serving.OpenAi;

/// <summary>Files: to upload, list, read and delete.</summary>
internal static class FilesApi
{
    private const int LargestPage = 10_000;

    public static void MapFiles(this IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("").WithTags("Files");
        group.MapPost("/files", UploadAsync).TakesFile().Produces<FileView>().WithSummary("Upload a file of chats");
        group.MapGet("/files", ListAsync).Produces<Page<FileView>>().WithSummary("List files, the newest first");
        group.MapGet("/files/{id}", async (string id, JobStore store, CancellationToken cancellation) => FileView.Of(await FindAsync(store, id, cancellation).ConfigureAwait(false))).WithSummary("Read what is known of a file");
        group.MapGet("/files/{id}/content", async (string id, JobStore store, FileLibrary files, CancellationToken cancellation) =>
            Results.File(Path.GetFullPath(files.PathOf(await FindAsync(store, id, cancellation).ConfigureAwait(false))), "application/octet-stream")).Produces<string>(contentType: "application/octet-stream").WithSummary("Read a file");
        group.MapDelete("/files/{id}", DeleteAsync).Produces<JsonObject>().WithSummary("Delete a file");
    }

    private static async Task<IResult> UploadAsync(HttpContext context, FileLibrary files, JobStore store, ServiceOptions options, DiskQuota quota)
    {
        RequireSameOrigin(context.Request);
        if (quota.Problem is { } full)
        {
            throw new RefusedException(StatusCodes.Status507InsufficientStorage, $"{full}.");
        }

        if (await store.CountFilesAsync(context.RequestAborted).ConfigureAwait(false) >= options.MaxFiles)
        {
            throw TooMany(options); // Before a large one comes in for nothing.
        }

        using Upload upload = await Upload.ReceiveAsync(context, files, options.MaxUpload).ConfigureAwait(false);
        string? problem = await Task.Run(() => ChatFile.ProblemOf(upload.File.Path, context.RequestAborted)).ConfigureAwait(false);
        return problem is null
            ? Results.Ok(FileView.Of(await files.KeepAsync(upload.File, upload.Name, upload.Purpose).ConfigureAwait(false) ?? throw TooMany(options)))
            : throw new RefusedException(StatusCodes.Status400BadRequest, $"{upload.Name}: {problem}.", "file", "invalid_training_file");
    }

    private static async Task<IResult> ListAsync(JobStore store, string? limit, string? after, string? purpose, CancellationToken cancellation)
    {
        int count = PageSize.Of(limit, LargestPage, LargestPage);
        StoredFile? last = after is null ? null : await store.FindFileAsync(after, cancellation).ConfigureAwait(false) ?? throw new FieldException("after", $"there is no file '{after}'");
        IReadOnlyList<StoredFile> files = await store.ListFilesAsync(count + 1, last, purpose, cancellation).ConfigureAwait(false);
        return Results.Ok(Page<FileView>.Of(files.Select(FileView.Of), count, file => file.Id));
    }

    private static async Task<IResult> DeleteAsync(string id, FileLibrary files) => await files.DeleteAsync(id).ConfigureAwait(false) switch
    {
        Deletion.Deleted => Results.Ok(new { id, @object = "file", deleted = true }),
        Deletion.InUse => throw new RefusedException(StatusCodes.Status409Conflict, $"File '{id}' is used by a job that is not over.", "id"),
        _ => throw NoFile(id),
    };

    private static async Task<StoredFile> FindAsync(JobStore store, string id, CancellationToken cancellation) =>
        await store.FindFileAsync(id, cancellation).ConfigureAwait(false) ?? throw NoFile(id);

    /// <summary>A form is what a web page of another origin may send without asking.</summary>
    private static void RequireSameOrigin(HttpRequest request)
    {
        if (request.Headers.Origin.ToString() is { Length: > 0 } origin && (!Uri.TryCreate(origin, UriKind.Absolute, out Uri? from) || from.Authority != request.Host.Value))
        {
            throw new RefusedException(StatusCodes.Status403Forbidden, "Pages of other origins may not upload files.");
        }
    }

    private static RefusedException NoFile(string id) => new(StatusCodes.Status404NotFound, $"There is no file '{id}'.", "id");

    private static RefusedException TooMany(ServiceOptions options) =>
        new(StatusCodes.Status409Conflict, $"There are {options.MaxFiles} files already, as many as may be (--max-files); delete some.", code: "too_many_files");
}
