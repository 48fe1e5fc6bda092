using System.CommandLine;
using Nibble.Cli.Registry;
using Nibble.Serving;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble serve</c></summary>
internal static class ServeCommand
{
    public static Command Create()
    {
        Option<string> models = Folder("--models", "The folder below which base models lie.");
        Option<string> data = Folder("--data", "The folder below which examples lie.");
        Option<string> outputs = Folder("--outputs", "The folder below which jobs write.");
        var database = new Option<string?>("--database") { Description = "The file that keeps the jobs; by default jobs.db in the user's folder for data.", HelpName = "FILE" };
        var urls = new Option<string>("--urls") { Description = "Where to listen; others than loopback need a key.", HelpName = "URLS", DefaultValueFactory = _ => ServiceOptions.DefaultUrls };
        var key = new Option<string?>("--api-key-env") { Description = "The environment variable that holds the key which requests must bear.", HelpName = "NAME" };
        var concurrency = new Option<int>("--concurrency") { Description = "Jobs that run at the same time.", HelpName = "N", DefaultValueFactory = _ => 1 };
        var command = new Command("serve", "Run fine-tunes for others, over HTTP.") { models, data, outputs, database, urls, key, concurrency };
        command.SetAction(async (result, cancellation) =>
        {
            string? variable = result.GetValue(key);
            await TrainingService.RunAsync(
                new ServiceOptions
                {
                    Models = result.GetValue(models)!,
                    Data = result.GetValue(data)!,
                    Outputs = result.GetValue(outputs)!,
                    Database = result.GetValue(database) ?? Path.Combine(Path.GetDirectoryName(RunRegistry.FilePath)!, "jobs.db"),
                    Urls = result.GetValue(urls)!,
                    ApiKey = variable is null ? null : Environment.GetEnvironmentVariable(variable) ?? throw new UsageException($"--api-key-env names {variable}, which is not set."),
                    ApiKeyVariable = variable,
                    Concurrency = result.GetValue(concurrency),
                },
                address => Console.Error.WriteLine($"listening on {address}"),
                cancellation).ConfigureAwait(false);
            return 0;
        });
        return command;
    }

    private static Option<string> Folder(string name, string description) => new(name) { Description = description, HelpName = "DIR", Required = true };
}
