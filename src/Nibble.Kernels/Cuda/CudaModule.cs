using System.Collections.Concurrent;

namespace Nibble.Kernels.Cuda;

/// <summary>The kernels of one image, loaded for one GPU.</summary>
internal sealed class CudaModule : CudaHandle
{
    /// <summary>Dynamic shared memory that every kernel may ask for without leave.</summary>
    private const uint SharedBytesWithoutLeave = 48 * 1024;

    private readonly ConcurrentDictionary<string, Function> functions = new();

    /// <exception cref="CudaException">The driver refuses the image.</exception>
    public CudaModule(ICudaDriver driver, nint context, byte[] image, string attempt)
        : base(driver, context)
    {
        driver.Check(driver.ModuleLoadData(out nint module, image), attempt);
        SetHandle(module);
    }

    /// <summary>Queues a kernel on a stream; zero is the legacy default stream.</summary>
    public void Launch(string kernel, ReadOnlySpan<uint> grid, uint threads, uint sharedBytes, nint stream, nint arguments, int argumentBytes)
    {
        Function function = functions.GetOrAdd(kernel, Find);
        if (sharedBytes > function.SharedBytes)
        {
            Driver.Check(Driver.FuncSetMaxDynamicSharedMemory(function.Handle, (int)sharedBytes), $"{kernel} with {sharedBytes} bytes of shared memory a block");
            function.SharedBytes = sharedBytes;
        }

        Driver.Check(
            Driver.LaunchKernel(function.Handle, grid[0], grid[1], grid[2], threads, sharedBytes, stream, arguments, argumentBytes),
            $"{kernel} over {grid[0]} x {grid[1]} x {grid[2]} blocks of {threads} threads");
    }

    protected override CudaStatus Release() => Driver.ModuleUnload(handle);

    private Function Find(string kernel)
    {
        Driver.Check(Driver.ModuleGetFunction(out nint function, Value, kernel), $"{kernel} is not in the image, which is of another build");
        return new Function(function);
    }

    private sealed class Function(nint handle)
    {
        public nint Handle => handle;

        /// <summary>Dynamic shared memory that it may ask for.</summary>
        public uint SharedBytes { get; set; } = SharedBytesWithoutLeave;
    }
}
