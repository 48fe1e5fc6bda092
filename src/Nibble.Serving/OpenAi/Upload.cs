using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;
using Nibble.Serving.Files;
using Nibble.Serving.Jobs;

namespace Nibble.Serving.OpenAi;

/// <summary>A form with a file, which goes to the disk as it comes.</summary>
/// <param name="File">The file; goes with this unless it is kept.</param>
/// <param name="Name">Its name.</param>
/// <param name="Purpose">What it is for.</param>
internal sealed record Upload(ContentFolder.Received File, string Name, string Purpose) : IDisposable
{
    private const int LongestText = 255;
    private const int LongestBoundary = 70; // RFC 2046.
    private const int Overhead = 64 * 1024;

    /// <summary>Reads the form.</summary>
    /// <exception cref="RefusedException">It is no such form, or the file is too large.</exception>
    public static async Task<Upload> ReceiveAsync(HttpContext context, FileLibrary files, long most)
    {
        if (!MediaTypeHeaderValue.TryParse(context.Request.ContentType, out MediaTypeHeaderValue? type) || type.MediaType != "multipart/form-data"
            || HeaderUtilities.RemoveQuotes(type.Boundary).Value is not { Length: > 0 and <= LongestBoundary } boundary)
        {
            throw new RefusedException(StatusCodes.Status415UnsupportedMediaType, "The content type must be multipart/form-data.");
        }

        context.Features.GetRequiredFeature<IHttpMaxRequestBodySizeFeature>().MaxRequestBodySize = most + Overhead;
        (ContentFolder.Received? file, string? name, string? purpose) = (null, null, null);
        try
        {
            var reader = new MultipartReader(boundary, context.Request.Body);
            while (await reader.ReadNextSectionAsync(context.RequestAborted).ConfigureAwait(false) is { } section)
            {
                string field = ContentDispositionHeaderValue.TryParse(section.ContentDisposition, out ContentDispositionHeaderValue? disposition)
                    ? HeaderUtilities.RemoveQuotes(disposition.Name).ToString() : "";
                switch (field)
                {
                    case "purpose":
                        purpose = await TextAsync(section.Body, context.RequestAborted).ConfigureAwait(false);
                        break;
                    case "file" when file is null:
                        name = NameOf(disposition!);
                        file = await FileAsync(section.Body, name, files, most, context.RequestAborted).ConfigureAwait(false);
                        break;
                    default:
                        throw new FieldException(field, "is not supported; the form has one file and its purpose");
                }
            }

            return new Upload(
                file ?? throw new FieldException("file", "is missing"), name!,
                purpose == "fine-tune" ? purpose : throw new FieldException("purpose", purpose is null ? "is missing; it must be fine-tune" : $"is '{purpose}'; it must be fine-tune"));
        }
        catch (Exception exception)
        {
            file?.Dispose();
            throw exception is InvalidDataException or IOException and not BadHttpRequestException
                ? new RefusedException(StatusCodes.Status400BadRequest, $"The form cannot be read: {exception.Message}")
                : exception;
        }
    }

    public void Dispose() => File.Dispose();

    private static async Task<ContentFolder.Received> FileAsync(Stream body, string name, FileLibrary files, long most, CancellationToken cancellation)
    {
        try
        {
            return await files.ReceiveAsync(body, name, most, cancellation).ConfigureAwait(false);
        }
        catch (InvalidDataException exception)
        {
            throw new RefusedException(StatusCodes.Status413PayloadTooLarge, $"file: {exception.Message}", "file");
        }
        catch (IOException exception) when (DiskQuota.IsFull(exception))
        {
            throw new RefusedException(StatusCodes.Status507InsufficientStorage, "The disk for uploaded files is full; nothing of the file was kept.");
        }
    }

    private static async Task<string> TextAsync(Stream body, CancellationToken cancellation)
    {
        byte[] text = new byte[LongestText];
        return Encoding.UTF8.GetString(text, 0, await body.ReadAtLeastAsync(text, text.Length, throwOnEndOfStream: false, cancellation).ConfigureAwait(false));
    }

    private static string NameOf(ContentDispositionHeaderValue disposition)
    {
        string name = HeaderUtilities.RemoveQuotes(disposition.FileNameStar.HasValue ? disposition.FileNameStar : disposition.FileName).ToString();
        name = name[(name.LastIndexOfAny(['/', '\\']) + 1)..]; // RFC 7578: folders of the sender mean nothing here.
        return name.Length <= LongestText && !name.Any(char.IsControl) && name.EndsWith(".jsonl", StringComparison.OrdinalIgnoreCase) ? name
            : throw new FieldException("file", $"must have a name of at most {LongestText} characters that ends with .jsonl");
    }
}
