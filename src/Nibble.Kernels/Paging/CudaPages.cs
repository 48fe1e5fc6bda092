using Nibble.Kernels.Cuda;

namespace Nibble.Kernels.Paging;

/// <summary>
/// Pages of several arrays of one length in pinned host memory: a page is the same range of each, one behind the other in
/// device memory.
/// </summary>
internal sealed class CudaPages : IPageDevice
{
    private readonly CudaDevice gpu;
    private readonly PinnedMemory[] arrays;
    private readonly long[] rangeBytes;
    private readonly CudaStream incoming;
    private readonly CudaStream outgoing;

    /// <param name="gpu">Where pages go.</param>
    /// <param name="arrays">The arrays; all of as many ranges.</param>
    /// <param name="rangeBytes">Bytes of a page's range of each array.</param>
    public CudaPages(CudaDevice gpu, PinnedMemory[] arrays, long[] rangeBytes)
    {
        this.gpu = gpu;
        this.arrays = arrays;
        this.rangeBytes = rangeBytes;
        incoming = gpu.CreateStream();
        outgoing = gpu.CreateStream();
    }

    public int Pages => (int)(((long)arrays[0].ByteLength + rangeBytes[0] - 1) / rangeBytes[0]);

    public long PageBytes => rangeBytes.Sum();

    public IDisposable? TryAllocate()
    {
        try
        {
            return gpu.Allocate(PageBytes);
        }
        catch (CudaException exception) when (exception.IsOutOfMemory)
        {
            return null;
        }
    }

    public void Load(int page, IDisposable memory)
    {
        foreach ((nint host, nint device, long bytes) in Ranges(page, (DeviceMemory)memory))
        {
            incoming.CopyToDevice(device, host, bytes);
        }
    }

    public void Save(int page, IDisposable memory)
    {
        foreach ((nint host, nint device, long bytes) in Ranges(page, (DeviceMemory)memory))
        {
            outgoing.CopyToHost(host, device, bytes);
        }
    }

    public IDisposable CreateMark() => gpu.CreateEvent();

    public void Record(IDisposable mark, PageQueue queue) => ((CudaEvent)mark).Record(StreamOf(queue));

    public void Wait(PageQueue queue, IDisposable mark) => ((CudaEvent)mark).Hold(StreamOf(queue));

    public void Finish() => outgoing.Synchronize();

    public void Dispose()
    {
        incoming.Dispose();
        outgoing.Dispose();
    }

    /// <summary>Null is the default stream.</summary>
    private CudaStream? StreamOf(PageQueue queue) => queue switch
    {
        PageQueue.Incoming => incoming,
        PageQueue.Outgoing => outgoing,
        _ => null,
    };

    /// <summary>The last page may be short.</summary>
    private IEnumerable<(nint Host, nint Device, long Bytes)> Ranges(int page, DeviceMemory memory)
    {
        nint device = memory.Value;
        for (int i = 0; i < arrays.Length; i++)
        {
            long start = page * rangeBytes[i];
            yield return (arrays[i].Address + (nint)start, device, Math.Min(rangeBytes[i], (long)arrays[i].ByteLength - start));
            device += (nint)rangeBytes[i];
        }
    }
}
