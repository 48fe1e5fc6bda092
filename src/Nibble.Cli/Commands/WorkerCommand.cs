using System.CommandLine;
using Nibble.Serving.Workers;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble worker</c>, which <c>nibble serve</c> starts for each job.</summary>
internal static class WorkerCommand
{
    public static Command Create()
    {
        var command = new Command("worker", "Run a job of the service.") { Hidden = true };
        command.SetAction((_, cancellation) =>
        {
            Worker.Run(Console.In, Console.Out, cancellation);
            return Task.FromResult(0);
        });
        return command;
    }
}
