using System.Buffers.Binary;
using System.Numerics;
using Google.Protobuf;

namespace Nibble.Training.Reporting;

/// <summary>Scalars in TensorBoard's event files: protocol buffers framed as TFRecords.</summary>
public sealed class TensorBoardWriter : IDisposable
{
    private readonly FileStream file;

    /// <summary>Opens a new event file in a folder.</summary>
    public TensorBoardWriter(string folder)
    {
        long now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        file = new FileStream(
            Path.Combine(folder, $"events.out.tfevents.{now}.{Environment.MachineName}.{Environment.ProcessId}"), FileMode.Create, FileAccess.Write, FileShare.Read);
        Append(output =>
        {
            output.WriteTag(3, WireFormat.WireType.LengthDelimited); // Event.file_version
            output.WriteString("brain.Event:2");
        });
    }

    /// <summary>Adds a value of a named curve.</summary>
    public void Scalar(string name, int step, double value) => Append(output =>
    {
        byte[] scalar = Message(inner =>
        {
            inner.WriteTag(1, WireFormat.WireType.LengthDelimited); // Value.tag
            inner.WriteString(name);
            inner.WriteTag(2, WireFormat.WireType.Fixed32); // Value.simple_value
            inner.WriteFloat((float)value);
        });
        output.WriteTag(2, WireFormat.WireType.Varint); // Event.step
        output.WriteInt64(step);
        output.WriteTag(5, WireFormat.WireType.LengthDelimited); // Event.summary
        output.WriteBytes(ByteString.CopyFrom(Message(summary =>
        {
            summary.WriteTag(1, WireFormat.WireType.LengthDelimited); // Summary.value
            summary.WriteBytes(ByteString.CopyFrom(scalar));
        })));
    });

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    /// <summary>A record: its length, the length's checksum, the data, the data's checksum.</summary>
    private void Append(Action<CodedOutputStream> fields)
    {
        byte[] data = Message(output =>
        {
            output.WriteTag(1, WireFormat.WireType.Fixed64); // Event.wall_time
            output.WriteDouble(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0);
            fields(output);
        });
        Span<byte> length = stackalloc byte[12];
        BinaryPrimitives.WriteInt64LittleEndian(length, data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(length[8..], MaskedChecksum(length[..8]));
        Span<byte> checksum = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(checksum, MaskedChecksum(data));
        file.Write(length);
        file.Write(data);
        file.Write(checksum);
        file.Flush();
    }

    private static byte[] Message(Action<CodedOutputStream> write)
    {
        using var stream = new MemoryStream();
        var output = new CodedOutputStream(stream);
        write(output);
        output.Flush();
        return stream.ToArray();
    }

    /// <summary>CRC-32C, rotated and shifted as TFRecord files want it.</summary>
    internal static uint MaskedChecksum(ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in data)
        {
            crc = BitOperations.Crc32C(crc, value);
        }

        return BitOperations.RotateRight(~crc, 15) + 0xa282ead8;
    }
}
