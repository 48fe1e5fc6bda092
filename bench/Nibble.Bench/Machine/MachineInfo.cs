using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Kernels;

namespace Nibble.Bench.Machine;

/// <summary>What a report says of the machine that it was made on: never its name.</summary>
internal static partial class MachineInfo
{
    /// <summary>The CPU's model, as the kernel reads it.</summary>
    public static string Model { get; } =
        File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim() ?? "unknown CPU";

    /// <summary>A file name for it, such as <c>amd-epyc-9654-2-cores</c>.</summary>
    public static string Slug => string.Create(
        CultureInfo.InvariantCulture, $"{NotInFileNames().Replace(Model.ToLowerInvariant(), "-").Trim('-')}-{Environment.ProcessorCount}-cores");

    /// <summary>One line for the head of a report.</summary>
    public static string Describe() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Model}, {Environment.ProcessorCount} cores, {Cpu.Best} kernels, last-level cache {LastLevelCache()}, {GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1073741824.0:0} GiB.");

    private static string LastLevelCache()
    {
        const string Folder = "/sys/devices/system/cpu/cpu0/cache";
        return Directory.Exists(Folder)
            ? Directory.GetDirectories(Folder, "index*").Order(StringComparer.Ordinal).Select(index => File.ReadAllText(Path.Combine(index, "size")).Trim()).LastOrDefault("unknown")
            : "unknown";
    }

    [GeneratedRegex("[^a-z0-9]+")]
    private static partial Regex NotInFileNames();
}
