using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.AI;
using Nibble.Data.Files;

namespace Nibble.Data.Augmentation;

/// <summary>
/// Asks a model with patience: a limit on requests at once, repetition after failures that pass, replies kept on disk (so an interrupted
/// run goes on where it was), and a count of what it took.
/// </summary>
public sealed class ResilientChatClient : DelegatingChatClient
{
    private readonly ResilienceOptions options;
    private readonly SemaphoreSlim slots;
    private readonly Lock counting = new();
    private ChatSpending spending = new(0, 0, 0, 0);

    /// <summary>Asks through another client, whose own retries should be off.</summary>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public ResilientChatClient(IChatClient client, ResilienceOptions? options = null)
        : base(client)
    {
        this.options = options ?? new ResilienceOptions();
        if (this.options.Concurrency < 1 || this.options.Retries < 0)
        {
            throw new ArgumentException($"Concurrency is {this.options.Concurrency} and retries {this.options.Retries}; expected at least 1 and 0.");
        }

        slots = new SemaphoreSlim(this.options.Concurrency);
        if (this.options.CacheFolder is { } folder)
        {
            Directory.CreateDirectory(folder);
        }
    }

    /// <summary>What asking has taken so far.</summary>
    public ChatSpending Spending
    {
        get
        {
            lock (counting)
            {
                return spending;
            }
        }
    }

    /// <summary>The model's reply, from disk if it was given before.</summary>
    /// <exception cref="TimeoutException">No attempt was answered in time.</exception>
    public override async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        ChatMessage[] asked = [.. messages];
        string? kept = this.options.CacheFolder is { } folder ? Path.Combine(folder, $"{Key(asked, options)}.json") : null;
        if (kept is not null && Load(kept) is { } known)
        {
            Count(new ChatSpending(0, 1, 0, 0));
            return new ChatResponse(new ChatMessage(ChatRole.Assistant, known.Text));
        }

        await slots.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            ChatResponse response = await AskAsync(asked, options, cancellationToken).ConfigureAwait(false);
            Count(new ChatSpending(1, 0, response.Usage?.InputTokenCount ?? 0, response.Usage?.OutputTokenCount ?? 0));
            if (kept is not null)
            {
                Store(kept, new Reply(response.Text));
            }

            return response;
        }
        finally
        {
            slots.Release();
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            slots.Dispose();
        }

        base.Dispose(disposing);
    }

    private async Task<ChatResponse> AskAsync(ChatMessage[] messages, ChatOptions? chat, CancellationToken cancellation)
    {
        for (int attempt = 0; ; attempt++)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            limit.CancelAfter(options.Timeout);
            Exception failure;
            try
            {
                return await base.GetResponseAsync(messages, chat, limit.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException exception) when (!cancellation.IsCancellationRequested)
            {
                failure = new TimeoutException($"The model did not answer within {options.Timeout.TotalSeconds:0.#} seconds, {attempt + 1} times.", exception);
                if (attempt >= options.Retries)
                {
                    throw failure;
                }
            }
            catch (Exception exception) when (exception is not OperationCanceledException && attempt < options.Retries && options.IsTransient(exception))
            {
                failure = exception;
            }

            TimeSpan wait = options.Backoff * Math.Pow(2, attempt);
            options.OnRetry?.Invoke(failure, wait);
            await Task.Delay(wait, cancellation).ConfigureAwait(false);
        }
    }

    private void Count(ChatSpending more)
    {
        lock (counting)
        {
            spending = new ChatSpending(
                spending.Requests + more.Requests, spending.Cached + more.Cached, spending.InputTokens + more.InputTokens, spending.OutputTokens + more.OutputTokens);
        }
    }

    /// <summary>What decides a reply: who is asked, what, and how.</summary>
    private string Key(ChatMessage[] messages, ChatOptions? chat)
    {
        var metadata = GetService(typeof(ChatClientMetadata)) as ChatClientMetadata;
        string question = JsonSerializer.Serialize(new
        {
            endpoint = metadata?.ProviderUri?.ToString(),
            model = chat?.ModelId ?? metadata?.DefaultModelId,
            chat?.Temperature,
            chat?.MaxOutputTokens,
            messages = messages.Select(message => new { role = message.Role.Value, message.Text }),
        });
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(question)));
    }

    private static Reply? Load(string path)
    {
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<Reply>(File.ReadAllText(path)) : null;
        }
        catch (JsonException)
        {
            return null; // Somebody else's file, or a disk that was full: ask again.
        }
    }

    private static void Store(string path, Reply reply)
    {
        string partial = $"{path}.{Guid.NewGuid():N}.partial";
        File.WriteAllText(partial, JsonSerializer.Serialize(reply, JsonText.Writing));
        File.Move(partial, path, overwrite: true);
    }

    private sealed record Reply(string Text);
}
