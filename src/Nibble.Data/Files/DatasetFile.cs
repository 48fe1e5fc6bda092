using System.IO.Compression;

namespace Nibble.Data.Files;

/// <summary>
/// Rows of a file, whatever holds them: JSON lines, a JSON array or object, CSV, TSV, plain text (each also gzipped) or Parquet. Content
/// decides, except that only the name tells comma- and tab-separated values and plain text. One row is in memory at a time, of Parquet one row group.
/// </summary>
public static class DatasetFile
{
    private static ReadOnlySpan<byte> Gzip => [0x1F, 0x8B];

    /// <summary>All rows, in order; a row that is bad by itself comes with its problem.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file cannot be read to its end; a row that is bad by itself is no reason.</exception>
    public static IEnumerable<SourceRow> Rows(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException(Directory.Exists(path) ? $"{path} is a folder; expected a file." : $"{path} does not exist.", path);
        }

        return Guarded(path);
    }

    private static IEnumerable<SourceRow> Container(string path)
    {
        if (BeginsWith(path, "PAR1"u8))
        {
            return ParquetRows.Read(path);
        }

        string name = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path;
        return Path.GetExtension(name).ToLowerInvariant() switch
        {
            ".csv" => DelimitedText.Read(Text(path), ','),
            ".tsv" => DelimitedText.Read(Text(path), '\t'),
            ".txt" => PlainText.Read(() => Text(path)),
            _ => BeginsArray(path) ? JsonItems.Read(PastMark(path)) : JsonWrapper.Read(new FileInfo(path).Length, () => Text(path)) ?? JsonLines.Read(Text(path)),
        };
    }

    /// <summary>Failures of the file itself, with its name and how far it could be read.</summary>
    private static IEnumerable<SourceRow> Guarded(string path)
    {
        int line = 0;
        using IEnumerator<SourceRow> items = Try(() => Container(path).GetEnumerator());
        while (Try(items.MoveNext))
        {
            line = items.Current.Line;
            yield return items.Current;
        }

        T Try<T>(Func<T> read)
        {
            try
            {
                return read();
            }
            catch (Exception exception) when (exception is InvalidDataException or FormatException or EndOfStreamException)
            {
                throw new InvalidDataException($"{path}:{line + 1}: {exception.Message.TrimEnd('.')}.", exception);
            }
        }
    }

    private static StreamReader Text(string path) => new(Open(path));

    private static Stream Open(string path)
    {
        FileStream file = File.OpenRead(path);
        Span<byte> first = stackalloc byte[2];
        int read = file.ReadAtLeast(first, 2, throwOnEndOfStream: false);
        file.Position = 0;
        return first[..read].SequenceEqual(Gzip) ? new GZipStream(file, CompressionMode.Decompress) : file;
    }

    private static Stream PastMark(string path)
    {
        bool marked = BeginsWith(path, "\uFEFF"u8);
        Stream stream = Open(path);
        if (marked)
        {
            stream.ReadExactly(stackalloc byte[3]);
        }

        return stream;
    }

    private static bool BeginsWith(string path, ReadOnlySpan<byte> mark)
    {
        using Stream stream = Open(path);
        Span<byte> first = stackalloc byte[mark.Length];
        int read = Guarded(path, stream, first);
        return first[..read].SequenceEqual(mark);
    }

    private static int Guarded(string path, Stream stream, Span<byte> first)
    {
        try
        {
            return stream.ReadAtLeast(first, first.Length, throwOnEndOfStream: false);
        }
        catch (InvalidDataException exception)
        {
            throw new InvalidDataException($"{path}: {exception.Message}", exception);
        }
    }

    private static bool BeginsArray(string path)
    {
        using StreamReader reader = Text(path);
        int next;
        while ((next = reader.Read()) >= 0 && char.IsWhiteSpace((char)next))
        {
        }

        return next == '[';
    }
}
