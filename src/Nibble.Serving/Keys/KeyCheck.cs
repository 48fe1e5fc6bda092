using System.Globalization;
using System.Net;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Nibble.Serving.Api;
using Nibble.Serving.OpenAi;
using Nibble.Serving.Store;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Keys;

/// <summary>
/// Lets requests through that bear a key (RFC 6750) with the scope that their route needs. Routes that others map are behind it as well, unless they
/// say that anybody may use them. Nobody needs a key before the first one was made, and everybody afterwards, even if all are revoked.
/// </summary>
internal sealed class KeyCheck(RequestDelegate next, JobStore store, KeyRates rates)
{
    private const string Scheme = "Bearer ";

    public async Task InvokeAsync(HttpContext context)
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<IAllowAnonymous>() is null && await RefusalAsync(context).ConfigureAwait(false) is { } refusal)
        {
            await ErrorBody.InShapeOf(context.GetEndpoint(), refusal).ExecuteAsync(context).ConfigureAwait(false);
            return;
        }

        await next(context).ConfigureAwait(false);
    }

    private async Task<IResult?> RefusalAsync(HttpContext context)
    {
        try
        {
            string header = context.Request.Headers.Authorization.ToString();
            string text = header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? header[Scheme.Length..].Trim() : "";
            ApiKey? key = await store.FindKeyAsync(text, context.RequestAborted).ConfigureAwait(false);
            if (key is null)
            {
                return await store.HasKeysAsync(good: false, context.RequestAborted).ConfigureAwait(false) ? Unknown(context, text) : null;
            }

            context.Features.Set(key);
            KeyScope needed = Access.ScopeOf(context);
            return !rates.Admits(key) ? TooMany(context, $"The key may make {key.Rate} requests a minute.") : key.Scope < needed ? Lacks(needed) : null;
        }
        catch (Exception exception) when (JobStore.IsUnreachable(exception))
        {
            return Problems.Unreachable();
        }
    }

    private IResult Unknown(HttpContext context, string text)
    {
        if (text.Length > 0 && !rates.AdmitsWrong(context.Connection.RemoteIpAddress ?? IPAddress.None))
        {
            return TooMany(context, $"This address has tried {KeyRates.MostWrong} keys in a minute that are none.");
        }

        context.Response.Headers.WWWAuthenticate = "Bearer";
        return Results.Problem("This needs a key that is good: Authorization: Bearer KEY.", statusCode: StatusCodes.Status401Unauthorized);
    }

    private static IResult TooMany(HttpContext context, string problem)
    {
        context.Response.Headers.RetryAfter = KeyRates.RetryAfter.TotalSeconds.ToString("0", CultureInfo.InvariantCulture);
        return Results.Problem(problem, statusCode: StatusCodes.Status429TooManyRequests);
    }

    private static IResult Lacks(KeyScope needed)
    {
        string name = ConfigBinder.KeyOf(needed.ToString());
        return Results.Problem($"This needs a key with the scope {name}.", statusCode: StatusCodes.Status403Forbidden, extensions: [new("scope", name)]);
    }
}
