using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Nibble.Serving.Api;
using Nibble.Serving.Chat;

namespace Nibble.Serving.OpenAi;

/// <summary>Chats with base models and with what jobs have made of them.</summary>
internal static class ChatApi
{
    public static void MapChat(this IEndpointRouteBuilder group) => group.MapPost("/chat/completions", AnswerAsync)
        .Takes<ChatRequest>().Produces<ChatView>().WithTags("Chat").WithSummary("Go on with a conversation");

    private static async Task<IResult> AnswerAsync(HttpContext context, ModelCatalog models, ChatHosts hosts, IOptions<JsonOptions> json, IHostApplicationLifetime lifetime)
    {
        (ChatRequest request, _) = await RequestBody.ReadAsync<ChatRequest>(context).ConfigureAwait(false);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, lifetime.ApplicationStopping);
        ServedModel model = await models.FindAsync(request.Model, end.Token).ConfigureAwait(false) ?? throw ModelsApi.NoModel(request.Model);
        ChatPrompt prompt = request.ToPrompt(model.Adapter);
        ChatHost host = hosts.Of(model.Folder);
        (string id, long created) = ($"chatcmpl-{Guid.CreateVersion7():N}", DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        if (request.Stream == true)
        {
            var stream = new ChatStream(context, choices => new ChatView(id, "chat.completion.chunk", created, request.Model, choices), json.Value.SerializerOptions);
            try
            {
                ChatReply last = await host.AnswerAsync(prompt, stream.SayAsync, end.Token).ConfigureAwait(false);
                await stream.EndAsync(last, request.CountsTokens).ConfigureAwait(false);
            }
            catch (ChatException exception) when (context.Response.HasStarted)
            {
                await stream.FailAsync(RefusedException.Of(exception)).ConfigureAwait(false);
            }

            return Results.Empty;
        }

        var text = new StringBuilder();
        ChatReply reply = await host.AnswerAsync(prompt, AddAsync, end.Token).ConfigureAwait(false);
        return Results.Ok(new ChatView(id, "chat.completion", created, request.Model, [new ChoiceView(reply.Finish) { Message = new MessageView { Role = "assistant", Content = text.ToString() } }])
        {
            Usage = UsageView.Of(reply),
        });

        Task AddAsync(string part)
        {
            text.Append(part);
            return Task.CompletedTask;
        }
    }
}
