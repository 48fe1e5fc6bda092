using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Nibble.Serving.Chat;

namespace Nibble.Serving.OpenAi;

/// <summary>An answer as server-sent events; nothing is sent before there is some of it, so that what fails at once gets its status code.</summary>
/// <param name="context">The request.</param>
/// <param name="view">Makes a part from its choices.</param>
/// <param name="json">How parts are written.</param>
internal sealed class ChatStream(HttpContext context, Func<IReadOnlyList<ChoiceView>, ChatView> view, JsonSerializerOptions json)
{
    /// <summary>Sends some text.</summary>
    public async Task SayAsync(string text)
    {
        await BeginAsync().ConfigureAwait(false);
        await SendAsync(view([new ChoiceView(FinishReason: null) { Delta = new MessageView { Content = text } }])).ConfigureAwait(false);
    }

    /// <summary>Sends why the answer ends, and the count of its tokens if asked for.</summary>
    public async Task EndAsync(ChatReply reply, bool counts)
    {
        await BeginAsync().ConfigureAwait(false);
        await SendAsync(view([new ChoiceView(reply.Finish) { Delta = new MessageView() }])).ConfigureAwait(false);
        if (counts)
        {
            await SendAsync(view([]) with { Usage = UsageView.Of(reply) }).ConfigureAwait(false);
        }

        await SendAsync("[DONE]").ConfigureAwait(false);
    }

    /// <summary>Sends what went wrong after some text had been sent.</summary>
    public Task FailAsync(RefusedException exception) => SendAsync(ErrorBody.Of(exception));

    private Task BeginAsync()
    {
        if (context.Response.HasStarted)
        {
            return Task.CompletedTask;
        }

        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-cache";
        return SendAsync(view([new ChoiceView(FinishReason: null) { Delta = new MessageView { Role = "assistant", Content = "" } }]));
    }

    private Task SendAsync<T>(T part) => SendAsync(JsonSerializer.Serialize(part, json));

    private async Task SendAsync(string data)
    {
        await context.Response.WriteAsync($"data: {data}\n\n", context.RequestAborted).ConfigureAwait(false);
        await context.Response.Body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }
}
