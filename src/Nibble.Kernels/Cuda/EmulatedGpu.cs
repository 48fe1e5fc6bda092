namespace Nibble.Kernels.Cuda;

/// <summary>
/// For tests: as long as it lives, operators of its thread compute CPU tensors with the kernels of an emulated GPU, so that
/// the way from a tensor to a launched kernel is the one that CUDA tensors take.
/// </summary>
internal sealed class EmulatedGpu : IDisposable
{
    [ThreadStatic]
    private static CudaDevice? current;

    public EmulatedGpu(CudaDevice device) => current = device;

    /// <summary>The GPU that stands in for the CPU; null outside of tests.</summary>
    public static CudaDevice? Current => current;

    public void Dispose() => current = null;
}
