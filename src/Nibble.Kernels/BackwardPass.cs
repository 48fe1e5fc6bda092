using System.Runtime.ExceptionServices;
using Nibble.Kernels.Autograd;
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
    public static unsafe void Run(Tensor output, Tensor? gradient = null)
    {
        ArgumentNullException.ThrowIfNull(output);
        if (output.device_type == DeviceType.CUDA || EmulatedGpu.Current is not null)
        {
            AutogradThreads.KeepToCaller();
        }

        nint root = output.Handle;
        nint seed = gradient?.Handle ?? 0;
        NativeMethods.THSAutograd_backward(&root, 1, &seed, gradient is null ? 0 : 1, retainGraph: 0, createGraph: 0, inputs: null, inputCount: 0);
        GC.KeepAlive(output);
        GC.KeepAlive(gradient);
        GraphNode.Release();
        ExceptionDispatchInfo? noted = failure;
        failure = null;
        noted?.Throw();
        CheckForErrors();
    }

    /// <summary>Whether a backward function of the pass under way has failed: the others need not do anything.</summary>
    internal static bool HasFailed => failure is not null;

    /// <summary>Notes what a backward function threw.</summary>
    internal static void Fail(Exception exception) => failure = ExceptionDispatchInfo.Capture(exception);
}
