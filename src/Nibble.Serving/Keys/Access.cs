using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

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

    /// <summary>The key that the request bears and that was found good; null where none is needed.</summary>
    public static ApiKey? Key(this HttpContext context) => context.Features.Get<ApiKey>();

    private sealed record ScopeNeeded(KeyScope Scope);
}
