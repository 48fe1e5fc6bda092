namespace Nibble.Kernels.Cuda;

/// <summary>CUresult: what a function of the driver answers. Only those are named on which the engine acts.</summary>
internal enum CudaStatus
{
    Success = 0,
    OutOfMemory = 2,
    DeviceUnavailable = 46,
    NoDevice = 100,
    InvalidImage = 200,
    NoBinaryForGpu = 209,
    EccUncorrectable = 214,
    InvalidPtx = 218,
    UnsupportedPtxVersion = 222,
    IllegalAddress = 700,
    LaunchTimeout = 702,
    ContextIsDestroyed = 709,
    Assert = 710,
    HardwareStackError = 714,
    IllegalInstruction = 715,
    MisalignedAddress = 716,
    InvalidAddressSpace = 717,
    InvalidProgramCounter = 718,
    LaunchFailed = 719,
}

internal static class CudaStatuses
{
    /// <summary>Whether the driver refused the image: it knows neither the chip nor the language that the image is in.</summary>
    public static bool RefusesImage(this CudaStatus status) =>
        status is CudaStatus.InvalidImage or CudaStatus.NoBinaryForGpu or CudaStatus.InvalidPtx or CudaStatus.UnsupportedPtxVersion;

    /// <summary>Whether every later call of the process will fail as well: a kernel broke the context, or the GPU is gone.</summary>
    public static bool IsSticky(this CudaStatus status) =>
        status is CudaStatus.DeviceUnavailable or CudaStatus.EccUncorrectable or CudaStatus.ContextIsDestroyed or CudaStatus.Assert
            or CudaStatus.IllegalAddress or CudaStatus.LaunchTimeout or (>= CudaStatus.HardwareStackError and <= CudaStatus.LaunchFailed);
}
