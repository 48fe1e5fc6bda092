using Nibble.Kernels.Runtime;

namespace Nibble.Kernels.Autograd;

/// <summary>
/// Keeps backward passes on the thread that asks for them, as <c>torch.autograd.set_multithreading_enabled(False)</c> does.
/// libtorch would run a GPU's share on a thread of its own, where no dispose scope frees what managed backward functions
/// make and whence no exception reaches the caller. TorchSharp does not export the switch; libtorch does.
/// </summary>
internal static class AutogradThreads
{
    // c10::AutogradState: std::optional of an object for Python's graphs, then these flags.
    private const int FlagsOffset = 24;
    private const byte GradMode = 1;
    private const byte InferenceMode = 2;
    private const byte ForwardGradMode = 4;
    private const byte Multithreading = 8;

    /// <summary>For all later passes of this thread.</summary>
    /// <exception cref="NotSupportedException">This libtorch keeps its flags elsewhere.</exception>
    public static unsafe void KeepToCaller()
    {
        byte* flags = NativeMethods.c10_AutogradState_get_tls_state() + FlagsOffset;
        int expected = ForwardGradMode | (TorchSharp.torch.is_grad_enabled() ? GradMode : 0);
        if ((*flags & ~Multithreading) != expected || (*flags & InferenceMode) != 0)
        {
            throw new NotSupportedException("This libtorch is of another version than the engine was made for (2.10): a backward pass on a GPU cannot be kept to its thread.");
        }

        *flags &= unchecked((byte)~Multithreading);
    }
}
