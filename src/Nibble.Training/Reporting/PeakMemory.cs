using System.Diagnostics;
using System.Globalization;

namespace Nibble.Training.Reporting;

/// <summary>Resident memory of this process.</summary>
public static class PeakMemory
{
    /// <summary>Begins anew: the largest is what it is now. Only Linux can; elsewhere nothing happens.</summary>
    public static void Reset()
    {
        const string References = "/proc/self/clear_refs";
        const string ResetPeak = "5";
        if (File.Exists(References))
        {
            File.WriteAllText(References, ResetPeak);
        }
    }

    /// <summary>The largest it has been, in bytes.</summary>
    public static long Bytes
    {
        get
        {
            const string Status = "/proc/self/status";
            if (File.Exists(Status) && File.ReadLines(Status).FirstOrDefault(line => line.StartsWith("VmHWM:", StringComparison.Ordinal)) is { } line)
            {
                return 1024 * long.Parse(line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
            }

            using var process = Process.GetCurrentProcess();
            return process.PeakWorkingSet64;
        }
    }
}
