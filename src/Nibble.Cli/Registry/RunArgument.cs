using System.CommandLine;
using System.Globalization;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Registry;

/// <summary>A run that the user names: by its folder, or by its number in the registry.</summary>
internal static class RunArgument
{
    public const string Description = "A run's folder, or its number in 'nibble runs'.";

    public static Argument<string> One() => new("RUN") { Description = Description };

    /// <summary>Reads the run.</summary>
    /// <exception cref="InvalidDataException">It is not there any more, or damaged.</exception>
    public static RunRecord Load(string run)
    {
        if (Directory.Exists(run) || !long.TryParse(run, NumberStyles.None, CultureInfo.InvariantCulture, out long id))
        {
            return RunRecord.Load(run);
        }

        RunEntry entry = RunRegistry.Find(id) ?? throw new InvalidDataException($"there is no run {id} in {RunRegistry.FilePath}; 'nibble runs' lists them.");
        if (!Directory.Exists(entry.Folder))
        {
            throw new InvalidDataException($"run {id} was in {entry.Folder}, which does not exist any more.");
        }

        var record = RunRecord.Load(entry.Folder);
        return entry.AdapterHash is null || record.Manifest.Hashes?.Adapter == entry.AdapterHash
            ? record
            : throw new InvalidDataException($"run {id} was in {entry.Folder}, which holds another run now.");
    }
}
