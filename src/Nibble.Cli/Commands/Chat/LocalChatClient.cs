using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Microsoft.Extensions.AI;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands.Chat;

/// <summary>A model of this engine as a chat client; it answers one request at a time.</summary>
internal sealed class LocalChatClient : IChatClient
{
    private const int MostTokens = 1024;

    private readonly string folder;
    private readonly DecoderModel model;
    private readonly HfTokenizer tokenizer;
    private readonly ChatEncoder encoder;
    private readonly SemaphoreSlim turn = new(1);

    /// <exception cref="InvalidDataException">The folder has no model, or the model no chat template.</exception>
    public LocalChatClient(string folder, string device, CancellationToken cancellation)
    {
        this.folder = Path.GetFullPath(folder);
        tokenizer = CommonOptions.Tokenizer(folder);
        encoder = new ChatEncoder(tokenizer, ChatTemplate.Parse(
            tokenizer.ChatTemplate ?? throw new InvalidDataException($"{folder} has no chat template, which asking it needs.")));
        (model, _) = CommonOptions.Load(folder, adapter: null, dtype: null, device, cancellation);
    }

    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        var turns = new JsonArray([.. messages.Select(message => new JsonObject { ["role"] = message.Role.Value, ["content"] = message.Text })]);
        int[] prompt = encoder.EncodeIds(turns, new JsonObject { ["add_generation_prompt"] = true });
        var generation = new GenerationOptions
        {
            MaxNewTokens = Math.Min(options?.MaxOutputTokens ?? MostTokens, model.Config.MaxPositionEmbeddings - prompt.Length),
            Temperature = options?.Temperature ?? 0,
        };
        if (generation.MaxNewTokens < 1)
        {
            throw new InvalidDataException($"A question of {prompt.Length} tokens leaves no place for an answer in the model's {model.Config.MaxPositionEmbeddings} positions.");
        }

        await turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            int[] reply = await Task.Run(() => TextGenerator.Generate(model, [prompt], generation, cancellation: cancellationToken)[0], cancellationToken).ConfigureAwait(false);
            return new ChatResponse(new ChatMessage(ChatRole.Assistant, tokenizer.Decode(reply, skipSpecialTokens: true)))
            {
                Usage = new UsageDetails { InputTokenCount = prompt.Length, OutputTokenCount = reply.Length },
            };
        }
        finally
        {
            turn.Release();
        }
    }

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        foreach (ChatResponseUpdate update in (await GetResponseAsync(messages, options, cancellationToken).ConfigureAwait(false)).ToChatResponseUpdates())
        {
            yield return update;
        }
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceType == typeof(ChatClientMetadata) ? new ChatClientMetadata("nibble", defaultModelId: folder)
        : serviceType.IsInstanceOfType(this) ? this : null;

    public void Dispose()
    {
        turn.Dispose();
        model.Dispose();
    }
}
