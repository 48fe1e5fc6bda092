using System.Collections.Concurrent;

namespace Nibble.Serving.Chat;

/// <summary>
/// A base model's own process, so that a crash takes an answer and not the service. It reads a <see cref="ChatOrder"/> and then
/// conversations, a JSON line each, and answers one after the other in JSON lines. It lives by its standard input.
/// </summary>
public static class ChatWorker
{
    /// <summary>Answers until the input ends.</summary>
    /// <exception cref="InvalidDataException">The model cannot be used.</exception>
    public static void Run(TextReader input, TextWriter output)
    {
        ArgumentNullException.ThrowIfNull(input);
        ArgumentNullException.ThrowIfNull(output);
        using var prompts = new BlockingCollection<(ChatPrompt Prompt, CancellationTokenSource Stop)>();
        ChatOrder order = ChatLine.Parse<ChatOrder>(input.ReadLine() ?? throw new ArgumentException("standard input is empty. Chat workers are started by 'nibble serve'."));
        new Thread(Listen) { IsBackground = true }.Start();
        using var model = new ChatModel(order);
        foreach ((ChatPrompt prompt, CancellationTokenSource stop) in prompts.GetConsumingEnumerable())
        {
            Say(model.Answer(prompt, text => Say(new ChatReply { Text = text }), stop.Token));
        }

        void Say(ChatReply reply) => output.WriteLine(ChatLine.Of(reply));

        void Listen()
        {
            CancellationTokenSource? last = null; // Of the conversation that came last; what ends it may come when it has ended.
            while (input.ReadLine() is { } line)
            {
                if (line.Length == 0)
                {
                    last?.Cancel();
                    continue;
                }

                last = new CancellationTokenSource();
                prompts.Add((ChatLine.Parse<ChatPrompt>(line), last));
            }

            Environment.Exit(0); // Whatever it does: nobody hears it any more.
        }
    }
}
