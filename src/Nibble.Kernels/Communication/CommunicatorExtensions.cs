using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>Small values between processes.</summary>
public static class CommunicatorExtensions
{
    /// <summary>Every rank's values, <c>[Size][values.Length]</c>; all bring as many.</summary>
    public static double[][] Gather(this ICommunicator world, params double[] values)
    {
        ArgumentNullException.ThrowIfNull(world);
        ArgumentNullException.ThrowIfNull(values);
        using DisposeScope scope = NewDisposeScope();
        Tensor all = empty((long)values.Length * world.Size, ScalarType.Float64);
        world.AllGather(tensor(values, ScalarType.Float64), [.. Enumerable.Repeat((long)values.Length, world.Size)], all).Wait();
        return [.. all.data<double>().ToArray().Chunk(values.Length)];
    }

    /// <summary>The bytes that rank 0 has; what the others have is ignored.</summary>
    public static byte[] BroadcastBytes(this ICommunicator world, byte[] values)
    {
        ArgumentNullException.ThrowIfNull(world);
        ArgumentNullException.ThrowIfNull(values);
        using DisposeScope scope = NewDisposeScope();
        int length = (int)world.Gather(values.Length)[0][0];
        Tensor bytes = world.Rank == 0 ? tensor(values, ScalarType.Byte) : empty(length, ScalarType.Byte);
        world.Broadcast(bytes).Wait();
        return bytes.data<byte>().ToArray();
    }
}
