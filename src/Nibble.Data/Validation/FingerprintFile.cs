using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Nibble.Data.Validation;

/// <summary>
/// Fingerprints of records, rows of words in a temporary file: millions of records are compared with the memory of one column
/// at a time.
/// </summary>
internal sealed class FingerprintFile : IDisposable
{
    private readonly int width;
    private readonly FileStream file;

    /// <param name="width">Words in a row.</param>
    public FingerprintFile(int width)
    {
        this.width = width;
        string path = Path.Combine(Path.GetTempPath(), $"nibble-{Guid.NewGuid():N}.fingerprints");
        file = new FileStream(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16, FileOptions.DeleteOnClose);
    }

    public int Rows { get; private set; }

    private SafeFileHandle Handle => file.SafeFileHandle;

    public void Append(ReadOnlySpan<ulong> row)
    {
        file.Write(MemoryMarshal.AsBytes(row));
        Rows++;
    }

    /// <summary>One word of one row. Reading follows all appending.</summary>
    public ulong Value(int row, int column)
    {
        Span<ulong> word = stackalloc ulong[1];
        Read(MemoryMarshal.AsBytes(word), (((long)row * width) + column) * sizeof(ulong));
        return word[0];
    }

    /// <summary>One row.</summary>
    public void Read(int row, Span<ulong> words) => Read(MemoryMarshal.AsBytes(words), (long)row * width * sizeof(ulong));

    /// <summary>Groups of two or more rows that agree in a column, each in order; rows with zero there agree with none.</summary>
    public IEnumerable<ArraySegment<int>> Groups(int column)
    {
        ulong[] keys = Column(column);
        int[] rows = new int[keys.Length];
        for (int i = 0; i < rows.Length; i++)
        {
            rows[i] = i;
        }

        Array.Sort(keys, rows);
        for (int start = 0, end; start < keys.Length; start = end)
        {
            end = start + 1;
            while (end < keys.Length && keys[end] == keys[start])
            {
                end++;
            }

            if (end - start > 1 && keys[start] != 0)
            {
                Array.Sort(rows, start, end - start);
                yield return new ArraySegment<int>(rows, start, end - start);
            }
        }
    }

    public void Dispose() => file.Dispose();

    private ulong[] Column(int column)
    {
        file.Flush();
        ulong[] values = new ulong[Rows];
        int atOnce = Math.Max(1, (1 << 20) / (width * sizeof(ulong)));
        byte[] buffer = new byte[atOnce * width * sizeof(ulong)];
        for (int row = 0; row < Rows; row += atOnce)
        {
            int count = Math.Min(atOnce, Rows - row);
            Read(buffer.AsSpan(0, count * width * sizeof(ulong)), (long)row * width * sizeof(ulong));
            for (int i = 0; i < count; i++)
            {
                values[row + i] = MemoryMarshal.Read<ulong>(buffer.AsSpan(((i * width) + column) * sizeof(ulong)));
            }
        }

        return values;
    }

    private void Read(Span<byte> bytes, long offset)
    {
        while (bytes.Length > 0)
        {
            int read = RandomAccess.Read(Handle, bytes, offset);
            if (read == 0)
            {
                throw new EndOfStreamException("The file of fingerprints was cut.");
            }

            bytes = bytes[read..];
            offset += read;
        }
    }
}
