using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Nibble.Serving.Store;

namespace Nibble.Serving.Keys;

/// <summary>What routes ask of who calls them, and who that is.</summary>
internal static class Access
{
    /// <summary>Lets a route be used with a scope, where its method would ask for another: reading for GET and HEAD, training for the rest.</summary>
    public static T NeedsScope<T>(this T route, KeyScope scope)
        where T : IEndpointConventionBuilder => route.WithMetadata(new ScopeNeeded(scope));

    /// <summary>What a request needs; that there is no such route needs a key to be told.</summary>
    public static KeyScope ScopeOf(HttpContext context) =>
        context.GetEndpoint()?.Metadata.GetMetadata<ScopeNeeded>()?.Scope
        ?? (HttpMethods.IsGet(context.Request.Method) || HttpMethods.IsHead(context.Request.Method) ? KeyScope.Read : KeyScope.Train);

    /// <summary>Lets a route change a job only for the key that asked for it, or one with the scope admin; jobs that nobody's key asked for are everybody's.</summary>
    public static RouteHandlerBuilder NeedsOwner(this RouteHandlerBuilder route) => route.AddEndpointFilter(async (context, next) =>
    {
        HttpContext http = context.HttpContext;
        if (http.Key() is { Scope: not KeyScope.Admin } key && http.GetRouteValue("id") is string id)
        {
            Job? job = await http.RequestServices.GetRequiredService<JobStore>().FindAsync(id, http.RequestAborted).ConfigureAwait(false);
            if (job?.KeyId is { } owner && owner != key.Id)
            {
                throw new BadHttpRequestException("The job is another key's; only that one, or a key with the scope admin, may change it.", StatusCodes.Status403Forbidden);
            }
        }

        return await next(context).ConfigureAwait(false);
    });

    /// <summary>The key that the request bears and that was found good; null where none is needed.</summary>
    public static ApiKey? Key(this HttpContext context) => context.Features.Get<ApiKey>();

    private sealed record ScopeNeeded(KeyScope Scope);
}
