using System.Collections.Frozen;
using System.Reflection;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.StaticFiles;
using Microsoft.Net.Http.Headers;

namespace Nibble.Serving.Api;

/// <summary>The web page, whose files this assembly holds. It has no secrets: browsers get it without a key, and ask the user for one.</summary>
internal static class WebPage
{
    private const string Index = "/index.html";
    private const string Absent = "This build of Nibble has no web page, for it was made without Node.js; the service itself is at /v1/jobs.\n";

    /// <summary>Nothing but what comes from here runs or loads, and no other page frames it.</summary>
    private const string Policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private static readonly FrozenDictionary<string, Asset> Assets = Load();

    public static void UseWebPage(this IApplicationBuilder app) => app.Use(next => context =>
    {
        HttpRequest request = context.Request;
        bool reads = HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method);
        string path = request.Path == "/" ? Index : request.Path.Value ?? "";
        return !reads ? next(context) : Assets.TryGetValue(path, out Asset? asset) ? SendAsync(context, asset) : path == Index ? SayAsync(context) : next(context);
    });

    private static async Task SendAsync(HttpContext context, Asset asset)
    {
        HttpResponse response = context.Response;
        response.Headers.ContentSecurityPolicy = Policy;
        response.Headers.XContentTypeOptions = "nosniff";
        response.Headers["Referrer-Policy"] = "no-referrer";
        response.Headers.ETag = asset.Tag;
        response.Headers.CacheControl = "no-cache"; // A browser keeps it, and asks whether it is still the same.
        if (context.Request.GetTypedHeaders().IfNoneMatch.Any(tag => tag.Compare(EntityTagHeaderValue.Parse(asset.Tag), useStrongComparison: false)))
        {
            response.StatusCode = StatusCodes.Status304NotModified;
            return;
        }

        response.ContentType = asset.Type;
        response.ContentLength = asset.Content.Length;
        if (HttpMethods.IsGet(context.Request.Method))
        {
            await response.Body.WriteAsync(asset.Content, context.RequestAborted).ConfigureAwait(false);
        }
    }

    private static Task SayAsync(HttpContext context)
    {
        context.Response.StatusCode = StatusCodes.Status404NotFound;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(Absent, context.RequestAborted);
    }

    private static FrozenDictionary<string, Asset> Load()
    {
        const string Prefix = "page/";
        Assembly assembly = typeof(WebPage).Assembly;
        var types = new FileExtensionContentTypeProvider();
        return assembly.GetManifestResourceNames().Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)).ToFrozenDictionary(name => $"/{name[Prefix.Length..]}", name =>
        {
            using Stream stream = assembly.GetManifestResourceStream(name)!;
            byte[] content = new byte[stream.Length];
            stream.ReadExactly(content);
            string type = types.TryGetContentType(name, out string? found) ? found : "application/octet-stream";
            return new Asset(content, type.StartsWith("text/", StringComparison.Ordinal) ? $"{type}; charset=utf-8" : type, $"\"{Convert.ToHexStringLower(SHA256.HashData(content))[..32]}\"");
        });
    }

    private sealed record Asset(byte[] Content, string Type, string Tag);
}
