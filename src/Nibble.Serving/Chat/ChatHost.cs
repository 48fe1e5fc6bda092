using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Nibble.Serving.Workers;

namespace Nibble.Serving.Chat;

/// <summary>A base model that is chatted with: at most one worker, which answers one after the other those who wait.</summary>
internal sealed class ChatHost(string folder, ChatHosts hosts, ServiceOptions options) : IDisposable
{
    /// <summary>How long a worker may say nothing.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly SemaphoreSlim turn = new(1);
    private readonly Stopwatch sinceUsed = Stopwatch.StartNew();
    private int present;
    private Loaded? loaded;

    /// <summary>For how long nobody has chatted with it.</summary>
    public TimeSpan Idle => Volatile.Read(ref present) > 0 ? TimeSpan.Zero : sinceUsed.Elapsed;

    /// <summary>Answers, when those before are answered.</summary>
    /// <param name="prompt">The conversation.</param>
    /// <param name="onText">Is told of the text as it comes.</param>
    /// <param name="cancellation">Whoever asked is gone, or the service stops.</param>
    /// <exception cref="ChatException">It cannot be answered; the message says why.</exception>
    public async Task<ChatReply> AnswerAsync(ChatPrompt prompt, Func<string, Task> onText, CancellationToken cancellation)
    {
        try
        {
            if (Interlocked.Increment(ref present) > options.ChatQueue + 1)
            {
                throw new ChatException(ChatFailure.Busy, $"{options.ChatQueue} chats wait for this model already, as many as may (--chat-queue).");
            }

            await turn.WaitAsync(cancellation).ConfigureAwait(false);
            try
            {
                loaded ??= await LoadAsync(cancellation).ConfigureAwait(false);
                return await AnswerAsync(loaded, prompt, onText, cancellation).ConfigureAwait(false);
            }
            finally
            {
                sinceUsed.Restart();
                turn.Release();
            }
        }
        finally
        {
            Interlocked.Decrement(ref present);
        }
    }

    /// <summary>Takes the model out of the memory, unless somebody chats with it.</summary>
    public void Unload()
    {
        if (turn.Wait(0))
        {
            End();
            turn.Release();
        }
    }

    public void Dispose()
    {
        End();
        turn.Dispose();
    }

    private async Task<Loaded> LoadAsync(CancellationToken cancellation)
    {
        (string device, long bytes) = await hosts.TakeMemoryAsync(folder, this, cancellation).ConfigureAwait(false);
        try
        {
            return new Loaded(new WorkerProcess("chat-worker", ChatLine.Of(new ChatOrder(folder, device))), device, bytes);
        }
        catch
        {
            hosts.GiveMemory(device, bytes);
            throw;
        }
    }

    private async Task<ChatReply> AnswerAsync(Loaded model, ChatPrompt prompt, Func<string, Task> onText, CancellationToken cancellation)
    {
        model.Worker.Tell(ChatLine.Of(prompt));
        await using CancellationTokenRegistration onGone = cancellation.Register(() => model.Worker.Tell(""));
        bool hears = true;
        while (true)
        {
            ChatReply reply = await NextAsync(model).ConfigureAwait(false);
            if (reply.IsLast)
            {
                return reply.Problem is not null ? throw new ChatException(ChatFailure.Conversation, $"{reply.Problem}.", reply.Code)
                    : reply.Finish == ChatReply.Cancelled ? throw new ChatException(ChatFailure.Ended, "The answer was ended before it was whole.")
                    : reply;
            }

            try
            {
                await (hears ? onText(reply.Text!) : Task.CompletedTask).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is IOException or OperationCanceledException)
            {
                hears = false; // And the next is answered when this one has been ended.
                model.Worker.Tell("");
            }
        }
    }

    private async Task<ChatReply> NextAsync(Loaded model)
    {
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            return ChatLine.Parse<ChatReply>(await model.Replies.ReadAsync(patience.Token).ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
            End();
            throw new ChatException(ChatFailure.Worker, $"The model said nothing for {Patience.TotalMinutes:0} minutes and was ended.");
        }
        catch (ChannelClosedException)
        {
            WorkerExit exit = await model.Exit.ConfigureAwait(false);
            End();
            throw new ChatException(ChatFailure.Worker, $"The model cannot answer: {exit.Description}.".Replace("..", ".", StringComparison.Ordinal));
        }
    }

    private void End()
    {
        if (loaded is { } model)
        {
            model.Dispose();
            hosts.GiveMemory(model.Device, model.Bytes);
            loaded = null;
        }
    }

    /// <summary>A worker, and what it has said and nobody has heard.</summary>
    private sealed class Loaded : IDisposable
    {
        private readonly Channel<JsonObject> replies = Channel.CreateUnbounded<JsonObject>();
        private readonly StopOrder stop = new();

        public Loaded(WorkerProcess worker, string device, long bytes)
        {
            (Worker, Device, Bytes) = (worker, device, bytes);
            Exit = ListenAsync();
        }

        public WorkerProcess Worker { get; }

        public string Device { get; }

        public long Bytes { get; }

        public ChannelReader<JsonObject> Replies => replies.Reader;

        public Task<WorkerExit> Exit { get; }

        public void Dispose()
        {
            Worker.Kill();
            Exit.Wait(); // Or its memory would be given away while it still has it.
            Worker.Dispose();
            stop.Dispose();
        }

        private async Task<WorkerExit> ListenAsync()
        {
            try
            {
                return await Worker.ListenAsync(message => replies.Writer.TryWrite(message), stop).ConfigureAwait(false);
            }
            finally
            {
                replies.Writer.Complete();
            }
        }
    }
}
