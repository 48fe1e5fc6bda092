using System.Security.Cryptography;
using Nibble.Kernels.Runtime;

namespace Nibble.Serving.Files;

/// <summary>
/// Contents on the disk, each known by its SHA-256, with the extension of the file that it came from, by which readers know its format.
/// A content is written under another name, synced and renamed, so that one that is there is whole.
/// </summary>
/// <param name="root">The folder.</param>
internal sealed class ContentFolder(string root)
{
    private const string Unfinished = ".tmp";

    /// <summary>How long an upload may take before it is held to be dead.</summary>
    private static readonly TimeSpan Longest = TimeSpan.FromDays(1);

    /// <summary>A content that has come in and has no place yet; one that gets none goes when this is disposed of.</summary>
    /// <param name="Path">Where it lies.</param>
    /// <param name="Sha256">In lower-case hexadecimal digits.</param>
    /// <param name="Content">Its name, once it has its place.</param>
    /// <param name="Bytes">Its length.</param>
    internal sealed record Received(string Path, string Sha256, string Content, long Bytes) : IDisposable
    {
        public void Dispose() => File.Delete(Path);
    }

    /// <summary>The path of a content.</summary>
    public string PathOf(string content) => Path.Combine(root, content[..2], content);

    /// <summary>Writes what a stream brings to the disk, and hashes it on the way.</summary>
    /// <param name="source">The stream.</param>
    /// <param name="name">The file's name, which gives the extension.</param>
    /// <param name="most">Bytes at most.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="InvalidDataException">It is longer.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public async Task<Received> ReceiveAsync(Stream source, string name, long most, CancellationToken cancellation)
    {
        DurableFolder.Create(root);
        string path = Path.Combine(root, $"{Guid.NewGuid():N}{Unfinished}");
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using var target = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None);
            byte[] buffer = new byte[128 * 1024];
            while (await source.ReadAsync(buffer, cancellation).ConfigureAwait(false) is > 0 and int count)
            {
                if (target.Length + count > most)
                {
                    throw new InvalidDataException($"the file has more than {most} bytes");
                }

                hash.AppendData(buffer, 0, count);
                await target.WriteAsync(buffer.AsMemory(0, count), cancellation).ConfigureAwait(false);
            }

            target.Flush(flushToDisk: true);
            string sha = Convert.ToHexStringLower(hash.GetHashAndReset());
            return new Received(path, sha, sha + ExtensionOf(name), target.Length);
        }
        catch
        {
            File.Delete(path);
            throw;
        }
    }

    /// <summary>Gives a content its place; the same content may have it already.</summary>
    public void Place(Received received)
    {
        string path = PathOf(received.Content);
        string folder = Path.GetDirectoryName(path)!;
        DurableFolder.Create(folder);
        File.Move(received.Path, path, overwrite: true);
        DurableFolder.Sync(folder);
    }

    /// <summary>Deletes a content.</summary>
    public void Delete(string content)
    {
        if (Directory.Exists(Path.GetDirectoryName(PathOf(content))))
        {
            File.Delete(PathOf(content));
        }
    }

    /// <summary>Deletes contents that nobody has, and uploads that ended half-way.</summary>
    public void Collect(IReadOnlySet<string> used)
    {
        if (!Directory.Exists(root))
        {
            return;
        }

        foreach (string file in Directory.EnumerateFiles(root, $"*{Unfinished}").Where(file => File.GetLastWriteTimeUtc(file) < DateTime.UtcNow - Longest)
            .Concat(Directory.EnumerateDirectories(root, "??").SelectMany(Directory.EnumerateFiles).Where(file => !used.Contains(Path.GetFileName(file)))))
        {
            File.Delete(file);
        }
    }

    /// <summary>The last extension, and the one before it where that says how a file is packed: of letters and digits only.</summary>
    private static string ExtensionOf(string name)
    {
        string last = Path.GetExtension(name);
        string all = last is ".gz" ? Path.GetExtension(name[..^last.Length]) + last : last;
        return all.Length <= 16 && all.All(letter => letter == '.' || char.IsAsciiLetterOrDigit(letter)) ? all.ToLowerInvariant() : "";
    }
}
