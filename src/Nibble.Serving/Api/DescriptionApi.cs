using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.OpenApi;
using Scalar.AspNetCore;

namespace Nibble.Serving.Api;

/// <summary>What the service can do, as an OpenAPI document and as a page; both tell nothing of what it does, so anybody may read them.</summary>
internal static class DescriptionApi
{
    private const string Scheme = "key";

    /// <summary>The page runs its own scripts, and asks nobody but this service.</summary>
    private const string OwnOnly =
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

    public static IServiceCollection AddDescription(this IServiceCollection services) => services.AddOpenApi(options => options.AddDocumentTransformer((document, _, _) =>
    {
        document.Info = new OpenApiInfo { Title = "Nibble", Version = EngineVersion(), Description = "Fine-tunes large language models." };
        document.Components ??= new OpenApiComponents();
        document.Components.SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>
        {
            [Scheme] = new OpenApiSecurityScheme { Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "A key of 'nibble keys create'." },
        };
        document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(Scheme, document)] = [] }];
        return Task.CompletedTask;
    }));

    public static void MapDescription(this IEndpointRouteBuilder routes)
    {
        routes.MapOpenApi().AllowAnonymous();
        routes.MapScalarApiReference("/docs", (options, context) =>
        {
            context.Response.Headers.ContentSecurityPolicy = OwnOnly;
            options.ShowDeveloperTools = DeveloperToolsVisibility.Never;
            options.WithTitle("Nibble").DisableDefaultFonts().DisableTelemetry().DisableAgent().DisableMcp().HideClientButton(); // Which would ask others.
        }).AllowAnonymous();
    }

    private static string EngineVersion() => typeof(DescriptionApi).Assembly.GetName().Version!.ToString(3);
}
