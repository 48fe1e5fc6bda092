using Nibble.Kernels.Runtime;

namespace Nibble.Modeling.Checkpoints;

/// <summary>Writes files so that a reader, or a restart after a crash or a power loss, sees the old content or the new one and nothing between.</summary>
public static class AtomicFile
{
    /// <summary>Lets <paramref name="write"/> fill a temporary neighbour, syncs it to the disk, renames it to <paramref name="path"/> and syncs the folder.</summary>
    /// <exception cref="IOException">The disk is full or not writable; the previous file is untouched.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            // A larger buffer lies among the objects whose collection takes longest.
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
            DurableFolder.Sync(Path.GetDirectoryName(Path.GetFullPath(path))!);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Copies a file's content; the copy of a read-only file can be written.</summary>
    public static void Copy(string source, string path) => Write(path, stream =>
    {
        using FileStream file = File.OpenRead(source);
        file.CopyTo(stream);
    });

    /// <summary>Writes text in UTF-8.</summary>
    public static void WriteText(string path, string text) => Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true);
        writer.Write(text);
    });
}
