using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace Nibble.Serving.Api;

/// <summary>Lets requests through that bear the key (RFC 6750), and those that ask for health.</summary>
internal sealed class ApiKeyCheck(RequestDelegate next, string key)
{
    private const string Scheme = "Bearer ";

    private readonly byte[] expected = Hash(key);

    public Task InvokeAsync(HttpContext context)
    {
        string header = context.Request.Headers.Authorization.ToString();
        string found = header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? header[Scheme.Length..].Trim() : "";
        if (context.Request.Path.StartsWithSegments("/health", StringComparison.Ordinal) || CryptographicOperations.FixedTimeEquals(Hash(found), expected))
        {
            return next(context);
        }

        context.Response.Headers.WWWAuthenticate = "Bearer";
        context.Response.StatusCode = StatusCodes.Status401Unauthorized; // Which gets its body where all such do.
        return Task.CompletedTask;
    }

    /// <summary>Hashes are of one length, so the time of a comparison tells nothing of the key.</summary>
    private static byte[] Hash(string text) => SHA256.HashData(Encoding.UTF8.GetBytes(text));
}
