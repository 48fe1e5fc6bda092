using System.Text;
using Nibble.Kernels.Runtime;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Serving.Clusters;

/// <summary>
/// A folder through which a server and a worker talk that share nothing but a file system: the server writes an order and, one day, that it is
/// enough; the worker appends its lines. A folder is one worker's; those of earlier workers of the job lie beside it.
/// </summary>
internal sealed class Exchange(string folder)
{
    private const string OrderFile = "order.json";
    private const string StopFile = "stop";
    private const string SaidFile = "said.jsonl";

    /// <summary>What the cluster keeps of the worker's standard output and error.</summary>
    public const string OutputFile = "output.log";

    private const int MostOutput = 64 * 1024;

    public string Folder => folder;

    /// <summary>The folder of a worker of a run.</summary>
    public static Exchange Of(string runFolder, string worker) => new(Path.Combine(runFolder, ".cluster", worker));

    /// <summary>Whether the worker has come to say anything.</summary>
    public bool HasSpoken => File.Exists(At(SaidFile));

    /// <summary>Whether the worker is to save a checkpoint and end.</summary>
    public bool IsStopped => File.Exists(At(StopFile));

    /// <summary>Gives the order, and ends whoever had an earlier one of the job.</summary>
    public void Order(string line)
    {
        DurableFolder.Create(folder);
        if (!File.Exists(At(OrderFile)))
        {
            AtomicFile.WriteText(At(OrderFile), line);
        }

        foreach (string earlier in Directory.EnumerateDirectories(Path.GetDirectoryName(folder)!).Where(other => other != folder))
        {
            new Exchange(earlier).Stop();
        }
    }

    /// <summary>The order.</summary>
    public string ReadOrder() => File.ReadAllText(At(OrderFile));

    public void Stop() => File.WriteAllText(At(StopFile), "");

    /// <summary>Where the worker writes its lines.</summary>
    public StreamWriter OpenToSay() => new(new FileStream(At(SaidFile), FileMode.Append, FileAccess.Write, FileShare.Read)) { AutoFlush = true };

    /// <summary>Whole lines of the worker from a position in bytes on, each with the position after it.</summary>
    public IEnumerable<(string Line, long Next)> Said(long position)
    {
        if (!HasSpoken)
        {
            yield break;
        }

        // Opened anew each time, which is when a network file system looks for what is new.
        using var stream = new FileStream(At(SaidFile), FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        stream.Position = position;
        var line = new List<byte>();
        var reader = new BufferedStream(stream, 1 << 16);
        for (int letter; (letter = reader.ReadByte()) >= 0;)
        {
            position++;
            if (letter != '\n')
            {
                line.Add((byte)letter);
                continue;
            }

            yield return (Encoding.UTF8.GetString([.. line]), position);
            line.Clear();
        }
    }

    /// <summary>The last lines of what the cluster kept of the worker's output.</summary>
    public IEnumerable<string> Output()
    {
        if (!File.Exists(At(OutputFile)))
        {
            return [];
        }

        using var stream = new FileStream(At(OutputFile), FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        stream.Position = Math.Max(0, stream.Length - MostOutput);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().Split('\n').Select(line => line.Trim());
    }

    private string At(string file) => Path.Combine(folder, file);
}
