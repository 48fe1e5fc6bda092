using System.Globalization;
using Nibble.Modeling.Adapters;
using Nibble.Serving.Store;
using Nibble.Training.Configuration;

namespace Nibble.Serving.OpenAi;

/// <summary>A model that can be chatted with.</summary>
/// <param name="Name">As requests call it.</param>
/// <param name="Folder">The base model's folder.</param>
/// <param name="Adapter">The folder of the adapter over it; null for none.</param>
/// <param name="Created">When it came to be.</param>
internal sealed record ServedModel(string Name, string Folder, string? Adapter, DateTimeOffset Created);

/// <summary>Base models, which are folders below the service's, what finished jobs have made of them, and what any job had made by a checkpoint.</summary>
internal sealed class ModelCatalog(JobStore store, ServiceOptions options)
{
    private const string ConfigFile = "config.json";
    private const string CheckpointMark = ":ckpt-step-";
    private const int DeepestFolder = 3;
    private const int MostJobs = 1000;

    /// <summary>The name of what a job has made, if it came to its end.</summary>
    public static string? NameOf(Job job) => job.Status == JobStatus.Completed ? AnyNameOf(job) : null;

    /// <summary>The name of what a job had made at a step, by a checkpoint.</summary>
    public static string NameOf(Job job, int step) => $"{AnyNameOf(job)}{CheckpointMark}{step}";

    /// <summary>The folder of a base model; null where there is none of this name.</summary>
    public string? FindBase(string name)
    {
        try
        {
            string folder = options.ModelRoot.Resolve(name);
            return File.Exists(Path.Combine(folder, ConfigFile)) ? folder : null;
        }
        catch (Exception exception) when (exception is ArgumentException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The model of a name; null where there is none.</summary>
    public async Task<ServedModel?> FindAsync(string name, CancellationToken cancellation)
    {
        if (name.StartsWith("ft:", StringComparison.Ordinal))
        {
            string[] parts = name.Split(CheckpointMark, 2);
            Job? job = await store.FindAsync(parts[0][(parts[0].LastIndexOf(':') + 1)..], cancellation).ConfigureAwait(false);
            return job is null ? null
                : parts is [_, string text] ? int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int step) && NameOf(job, step) == name ? AtStep(job, step) : null
                : NameOf(job) == name ? Tuned(job) : null;
        }

        return FindBase(name) is { } folder ? Base(name, folder) : null;
    }

    /// <summary>All of them but checkpoints, base models first, of jobs the newest.</summary>
    public async Task<IReadOnlyList<ServedModel>> ListAsync(CancellationToken cancellation)
    {
        string root = Path.GetFullPath(options.Models);
        var every = new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = DeepestFolder, IgnoreInaccessible = true };
        IEnumerable<ServedModel> bases = Directory.EnumerateFiles(root, ConfigFile, every)
            .Select(file => Path.GetRelativePath(root, Path.GetDirectoryName(file)!)).Order(StringComparer.Ordinal)
            .Select(name => FindBase(name) is { } folder ? Base(name, folder) : null).OfType<ServedModel>();
        IReadOnlyList<Job> jobs = await store.ListAsync(MostJobs, after: null, JobStatus.Completed, cancellation).ConfigureAwait(false);
        return [.. bases, .. jobs.Select(Tuned).OfType<ServedModel>()];
    }

    private static string AnyNameOf(Job job) => $"ft:{job.ModelName}:{FineTuningView.Asked(job)?.Suffix}:{job.Id}";

    private static ServedModel Base(string name, string folder) => new(name, folder, null, Directory.GetLastWriteTimeUtc(folder));

    /// <summary>Null where its folder is gone.</summary>
    private static ServedModel? Tuned(Job job)
    {
        RunConfig config = ConfigBinder.FromJson<RunConfig>(job.Config)!;
        (string folder, string? adapter, string needed) = config.Method == Method.Full ? (job.Folder, null, ConfigFile) : (config.Model, job.Folder, AdapterFolder.ConfigFile);
        return File.Exists(Path.Combine(job.Folder, needed)) ? new ServedModel(NameOf(job)!, folder, adapter, job.Ended ?? job.Created) : null;
    }

    /// <summary>Null where there is no such checkpoint, or none of an adapter.</summary>
    private static ServedModel? AtStep(Job job, int step)
    {
        string folder = CheckpointView.FolderOf(job, step);
        return File.Exists(Path.Combine(folder, AdapterFolder.ConfigFile))
            ? new ServedModel(NameOf(job, step), ConfigBinder.FromJson<RunConfig>(job.Config)!.Model, folder, Directory.GetLastWriteTimeUtc(folder))
            : null;
    }
}
