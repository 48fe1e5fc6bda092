using System.CommandLine;
using Nibble.Serving.Chat;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble chat-worker</c>, which <c>nibble serve</c> starts for each base model that is chatted with.</summary>
internal static class ChatWorkerCommand
{
    public static Command Create()
    {
        var command = new Command("chat-worker", "Chat with a model of the service.") { Hidden = true };
        command.SetAction((_, _) =>
        {
            ChatWorker.Run(Console.In, Console.Out);
            return Task.FromResult(0);
        });
        return command;
    }
}
