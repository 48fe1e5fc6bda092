using Microsoft.AspNetCore.Builder;
using Microsoft.OpenApi;

namespace Nibble.Serving.Api;

/// <summary>What the description tells of routes that read requests and write answers themselves.</summary>
internal static class Described
{
    /// <summary>Names the JSON that a route takes. <c>Accepts</c> would refuse other types before the route, which says why.</summary>
    public static RouteHandlerBuilder Takes<T>(this RouteHandlerBuilder route) => route.AddOpenApiOperationTransformer(async (operation, context, cancellation) =>
    {
        OpenApiDocument document = context.Document!;
        document.AddComponent(typeof(T).Name, await context.GetOrCreateSchemaAsync(typeof(T), cancellationToken: cancellation).ConfigureAwait(false));
        operation.RequestBody = Body("application/json", new OpenApiSchemaReference(typeof(T).Name, document));
    });

    /// <summary>Says that a route takes a form with a file and its purpose.</summary>
    public static RouteHandlerBuilder TakesFile(this RouteHandlerBuilder route) => route.AddOpenApiOperationTransformer((operation, _, _) =>
    {
        operation.RequestBody = Body("multipart/form-data", new OpenApiSchema
        {
            Type = JsonSchemaType.Object,
            Required = new HashSet<string> { "file", "purpose" },
            Properties = new Dictionary<string, IOpenApiSchema>
            {
                ["file"] = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" },
                ["purpose"] = new OpenApiSchema { Type = JsonSchemaType.String, Enum = ["fine-tune"] },
            },
        });
        return Task.CompletedTask;
    });

    /// <summary>Names a header that a route heeds.</summary>
    public static RouteHandlerBuilder Heeds(this RouteHandlerBuilder route, string header, string description) => route.AddOpenApiOperationTransformer((operation, _, _) =>
    {
        operation.Parameters = [.. operation.Parameters ?? [], new OpenApiParameter
        {
            Name = header, In = ParameterLocation.Header, Description = description, Schema = new OpenApiSchema { Type = JsonSchemaType.String },
        }];
        return Task.CompletedTask;
    });

    private static OpenApiRequestBody Body(string type, IOpenApiSchema schema) =>
        new() { Required = true, Content = new Dictionary<string, OpenApiMediaType> { [type] = new OpenApiMediaType { Schema = schema } } };
}
