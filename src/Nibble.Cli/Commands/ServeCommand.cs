using System.CommandLine;
using Nibble.Cli.Registry;
using Nibble.Serving;
using Nibble.Training;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble serve</c></summary>
internal static class ServeCommand
{
    public static Command Create()
    {
        Option<string> models = Folder("--models", "The folder below which base models lie.");
        Option<string> data = Folder("--data", "The folder below which examples lie.");
        Option<string> outputs = Folder("--outputs", "The folder below which jobs write.");
        Option<string?> database = Database();
        var files = new Option<string?>("--files") { Description = "The folder that keeps uploaded files; by default files in the user's folder for data.", HelpName = "DIR" };
        var urls = new Option<string>("--urls") { Description = "Where to listen; others than loopback need a key.", HelpName = "URLS", DefaultValueFactory = _ => ServiceOptions.DefaultUrls };
        var audit = new Option<string?>("--audit-log") { Description = "The file to which it is added who did what; by default audit.jsonl in the user's folder for data.", HelpName = "FILE" };
        var concurrency = new Option<int?>("--concurrency") { Description = "Jobs that run at the same time on a device, by default 1; on a cluster, that it has at the same time, by default 100.", HelpName = "N" };
        var memory = new Option<string?>("--memory") { Description = "What jobs on the CPU may need together, such as 8GiB; by default the machine's memory.", HelpName = "SIZE" };
        var queue = new Option<int>("--queue") { Description = "Jobs that may wait.", HelpName = "N", DefaultValueFactory = _ => 1000 };
        var quota = new Option<string?>("--disk-quota") { Description = "What outputs and uploaded files may take of the disk, such as 100GiB.", HelpName = "SIZE" };
        var upload = new Option<string?>("--max-upload") { Description = "What an uploaded file may take, by default 512MiB.", HelpName = "SIZE" };
        var count = new Option<int>("--max-files") { Description = "Uploaded files that there may be.", HelpName = "N", DefaultValueFactory = _ => 1000 };
        var chats = new Option<int>("--chat-queue") { Description = "Chats that may wait for a base model.", HelpName = "N", DefaultValueFactory = _ => 16 };
        var idle = new Option<double>("--chat-idle") { Description = "Seconds after which a base model leaves the memory that nobody chats with.", HelpName = "SECONDS", DefaultValueFactory = _ => 300 };
        var time = new Option<double?>("--max-run-time") { Description = "Seconds for which a job may run.", HelpName = "SECONDS" };
        var lease = new Option<double>("--lease") { Description = "Seconds after which another server takes over the jobs of one that is silent.", HelpName = "SECONDS", DefaultValueFactory = _ => 60 };
        var executor = new Option<ExecutorKind>("--executor") { Description = "Where jobs run: in processes of this machine, or as jobs of a cluster over the same folders: local, slurm or kubernetes.", HelpName = "KIND", DefaultValueFactory = _ => ExecutorKind.Local };
        var template = new Option<string?>("--job-template") { Description = "What a cluster's jobs are made from: a batch script that ends with exec \"$@\" (Slurm), or a Job's manifest (Kubernetes).", HelpName = "FILE" };
        var command = new Command("serve", "Run fine-tunes for others, over HTTP.")
        {
            models, data, outputs, database, files, urls, audit, concurrency, memory, queue, quota, upload, count, chats, idle, time, lease, executor, template,
        };
        command.SetAction(async (result, cancellation) =>
        {
            string home = Path.GetDirectoryName(RunRegistry.FilePath)!;
            await TrainingService.RunAsync(
                new ServiceOptions
                {
                    Models = result.GetValue(models)!,
                    Data = result.GetValue(data)!,
                    Outputs = result.GetValue(outputs)!,
                    Database = result.GetValue(database) ?? DefaultDatabase,
                    Files = result.GetValue(files) ?? Path.Combine(home, "files"),
                    Urls = result.GetValue(urls)!,
                    AuditLog = result.GetValue(audit) ?? Path.Combine(home, "audit.jsonl"),
                    Concurrency = result.GetValue(concurrency) ?? (result.GetValue(executor) == ExecutorKind.Local ? 1 : 100),
                    Memory = result.GetValue(memory) is { } size ? ByteSize.Parse(size) : null,
                    Queue = result.GetValue(queue),
                    DiskQuota = result.GetValue(quota) is { } most ? ByteSize.Parse(most) : null,
                    MaxUpload = ByteSize.Parse(result.GetValue(upload) ?? "512MiB"),
                    MaxFiles = result.GetValue(count),
                    ChatQueue = result.GetValue(chats),
                    ChatIdle = TimeSpan.FromSeconds(result.GetValue(idle)),
                    MaxRunTime = result.GetValue(time) is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
                    Executor = result.GetValue(executor),
                    JobTemplate = result.GetValue(template),
                    Lease = TimeSpan.FromSeconds(result.GetValue(lease)),
                },
                address => Console.Error.WriteLine($"listening on {address}"),
                cancellation).ConfigureAwait(false);
            return 0;
        });
        return command;
    }

    public static Option<string?> Database() => new("--database")
    {
        Description = "What keeps the jobs: a file, by default jobs.db in the user's folder for data; or PostgreSQL, such as 'Host=db;Database=nibble'.",
        HelpName = "FILE",
    };

    public static string DefaultDatabase => Path.Combine(Path.GetDirectoryName(RunRegistry.FilePath)!, "jobs.db");

    private static Option<string> Folder(string name, string description) => new(name) { Description = description, HelpName = "DIR", Required = true };
}
