using System.Runtime.ExceptionServices;
using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// Carries an exception out of a backward pass. libtorch calls backward functions from native code, through which no
/// exception may pass (the process would end); so they note it here and the one who started the pass rethrows it.
/// </summary>
public static class BackwardPass
{
    [ThreadStatic]
    private static ExceptionDispatchInfo? failure;

    /// <summary>Runs the backward pass of <paramref name="output"/> with <paramref name="gradient"/> (null: one, for a scalar).</summary>
    public static void Run(Tensor output, Tensor? gradient = null)
    {
        ArgumentNullException.ThrowIfNull(output);
        if (output.device_type == DeviceType.CUDA || EmulatedGpu.Current is not null)
        {
            AutogradThreads.KeepToCaller();
        }

        if (gradient is null)
        {
            output.backward();
        }
        else
        {
            autograd.backward([output], [gradient]);
        }

        ExceptionDispatchInfo? noted = failure;
        failure = null;
        noted?.Throw();
    }

    /// <summary>Runs the body of a backward function; a failure is noted and undefined gradients are returned.</summary>
    internal static List<Tensor> Guard(int gradients, Func<List<Tensor>> body)
    {
        try
        {
            return failure is null ? body() : Undefined(gradients);
        }
        catch (Exception exception)
        {
            failure = ExceptionDispatchInfo.Capture(exception);
            return Undefined(gradients);
        }
    }

    private static List<Tensor> Undefined(int count) => [.. new Tensor[count]];
}
