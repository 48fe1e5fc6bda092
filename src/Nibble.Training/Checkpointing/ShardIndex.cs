using System.Globalization;
using System.Text.Json;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Training.Checkpointing;

/// <summary>
/// What lies where in a checkpoint that several ranks wrote, each its own file. It is written when all files are there, so that what has an
/// index is whole.
/// </summary>
/// <param name="Bytes">The length of each rank's file.</param>
/// <param name="Parts">Of each parameter, which elements each file has.</param>
internal sealed record ShardIndex(IReadOnlyList<long> Bytes, IReadOnlyDictionary<string, IReadOnlyList<ShardIndex.Part>> Parts)
{
    /// <summary>Its name in the checkpoint.</summary>
    public const string FileName = "shards.json";

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true };

    /// <summary>The name of a rank's file.</summary>
    public static string FileOf(int rank, int ranks) => string.Create(CultureInfo.InvariantCulture, $"shard-{rank + 1:00000}-of-{ranks:00000}.safetensors");

    /// <summary>Waits for the files of all ranks, which appear when they are whole, and writes the index.</summary>
    /// <exception cref="IOException">One did not appear in time.</exception>
    public static void Write(string folder, int ranks, IReadOnlyDictionary<string, IReadOnlyList<Part>> parts, TimeSpan limit)
    {
        DateTime end = DateTime.UtcNow + limit;
        string[] files = [.. Enumerable.Range(0, ranks).Select(rank => Path.Combine(folder, FileOf(rank, ranks)))];
        for (int rank = 0; rank < ranks; rank++)
        {
            while (!File.Exists(files[rank]))
            {
                if (DateTime.UtcNow > end)
                {
                    throw new IOException(string.Create(CultureInfo.InvariantCulture, $"rank {rank} did not write its part within {limit.TotalSeconds:0} s"));
                }

                Thread.Sleep(Pause);
            }
        }

        var index = new ShardIndex([.. files.Select(file => new FileInfo(file).Length)], parts);
        AtomicFile.WriteText(Path.Combine(folder, FileName), JsonSerializer.Serialize(index, Json));
    }

    /// <summary>Reads a checkpoint's index and makes sure that its files are there and as long as they were.</summary>
    /// <exception cref="InvalidDataException">They are not.</exception>
    public static ShardIndex Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        ShardIndex index = DamagedCheckpoint.ReadJson<ShardIndex>(path, Json) is { Bytes.Count: > 0, Parts: not null } read
            ? read
            : throw new InvalidDataException($"{path} names no files");
        for (int rank = 0; rank < index.Bytes.Count; rank++)
        {
            var file = new FileInfo(Path.Combine(folder, FileOf(rank, index.Bytes.Count)));
            if (!file.Exists || file.Length != index.Bytes[rank])
            {
                throw new InvalidDataException($"{file.FullName} {(file.Exists ? $"has {file.Length} bytes" : "is missing")}, expected {index.Bytes[rank]} bytes");
            }
        }

        return index;
    }

    /// <summary>Elements of a parameter in a file.</summary>
    /// <param name="Rank">Who wrote the file.</param>
    /// <param name="Start">First element.</param>
    /// <param name="Count">Elements.</param>
    internal sealed record Part(int Rank, long Start, long Count);
}
