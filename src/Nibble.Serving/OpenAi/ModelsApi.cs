using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Nibble.Serving.OpenAi;

/// <summary>The models that can be chatted with.</summary>
internal static class ModelsApi
{
    public static void MapModels(this IEndpointRouteBuilder group)
    {
        group.MapGet("/models", async (ModelCatalog models, CancellationToken cancellation) =>
            new { @object = "list", data = (await models.ListAsync(cancellation).ConfigureAwait(false)).Select(View) })
            .WithTags("Models").WithSummary("List base models, and what completed jobs have made of them");
        group.MapGet("/models/{**name}", async (string name, ModelCatalog models, CancellationToken cancellation) =>
            View(await models.FindAsync(name, cancellation).ConfigureAwait(false) ?? throw NoModel(name))).WithTags("Models").WithSummary("Read a model");
    }

    public static RefusedException NoModel(string name) => new(StatusCodes.Status404NotFound, $"There is no model '{name}'.", "model", "model_not_found");

    private static object View(ServedModel model) => new { id = model.Name, @object = "model", created = model.Created.ToUnixTimeSeconds(), owned_by = model.Adapter is null ? "nibble" : "user" };
}
