using System.CommandLine;
using Nibble.Serving.Clusters;
using Nibble.Serving.Workers;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble worker</c>, which <c>nibble serve</c> starts for each job.</summary>
internal static class WorkerCommand
{
    public static Command Create()
    {
        var exchange = new Option<string?>("--exchange") { Description = "The folder through which a worker on a cluster talks with its server.", HelpName = "DIR" };
        var command = new Command("worker", "Run a job of the service.") { exchange };
        command.Hidden = true;
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(exchange) is { } folder)
            {
                ClusterWorkerProgram.Run(folder, exception => (CommandLineProgram.CodeOf(exception), CommandLineProgram.OneLine(exception.Message)), cancellation);
            }
            else
            {
                Worker.Run(Console.In, Console.Out, cancellation);
            }

            return Task.FromResult(0);
        });
        return command;
    }
}
