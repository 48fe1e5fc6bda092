using System.Diagnostics;
using Nibble.Training;

namespace Nibble.Serving.Files;

/// <summary>What jobs and uploads may take of the disk: all that lies in the folders of outputs and of files.</summary>
internal sealed class DiskQuota(ServiceOptions options)
{
    /// <summary>Looking through the folders takes no more than this share of the time.</summary>
    private const int Share = 20;

    private readonly Lock measuring = new();
    private TimeSpan fresh;
    private long measured = -1;
    private Stopwatch age = Stopwatch.StartNew();

    /// <summary>Bytes that may still be written.</summary>
    public long Left => options.DiskQuota is { } quota ? Math.Max(0, quota - Used()) : long.MaxValue;

    /// <summary>Why nothing more may be written; null while something may.</summary>
    public string? Problem => options.DiskQuota is { } quota && Used() is var used && used >= quota
        ? $"outputs and files take {ByteSize.Format(used)}, and --disk-quota is {ByteSize.Format(quota)}"
        : null;

    /// <summary>Whether what was written found no room: on the disk, or in what the system lets a user have of it.</summary>
    public static bool IsFull(IOException exception)
    {
        const int NoSpace = 28; // ENOSPC and EDQUOT of errno.h.
        const int QuotaExceeded = 122;
        return exception.HResult is NoSpace or QuotaExceeded;
    }

    private long Used()
    {
        lock (measuring)
        {
            if (measured < 0 || age.Elapsed > fresh)
            {
                var clock = Stopwatch.StartNew();
                measured = new[] { options.Outputs, options.Files }.Where(Directory.Exists).Sum(SizeOf);
                fresh = TimeSpan.FromSeconds(Math.Max(0.5, Share * clock.Elapsed.TotalSeconds));
                age = Stopwatch.StartNew();
            }

            return measured;
        }
    }

    /// <summary>Files that go meanwhile count nothing; links are not followed.</summary>
    private static long SizeOf(string folder)
    {
        var every = new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, AttributesToSkip = FileAttributes.ReparsePoint };
        long size = 0;
        foreach (FileInfo file in new DirectoryInfo(folder).EnumerateFiles("*", every))
        {
            try
            {
                size += file.Length;
            }
            catch (IOException)
            {
            }
        }

        return size;
    }
}
