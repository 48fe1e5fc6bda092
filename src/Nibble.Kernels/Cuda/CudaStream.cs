namespace Nibble.Kernels.Cuda;

/// <summary>A queue of a GPU's work that runs beside the default stream.</summary>
internal sealed class CudaStream : CudaHandle
{
    public CudaStream(ICudaDriver driver, nint context)
        : base(driver, context)
    {
        driver.Check(driver.StreamCreate(out nint stream), "no stream");
        SetHandle(stream);
    }

    /// <summary>Queues a copy from pinned memory; both sides must outlive it.</summary>
    public void CopyToDevice(nint destination, nint source, long bytes) =>
        Driver.Check(Driver.MemcpyHtoDAsync(destination, source, bytes, Value), $"copy of {bytes} bytes to the GPU");

    /// <summary>Queues a copy into pinned memory; both sides must outlive it.</summary>
    public void CopyToHost(nint destination, nint source, long bytes) =>
        Driver.Check(Driver.MemcpyDtoHAsync(destination, source, bytes, Value), $"copy of {bytes} bytes from the GPU");

    /// <summary>Blocks until all work of the stream is done.</summary>
    public void Synchronize() => Driver.Check(Driver.StreamSynchronize(Value), "wait for a stream");

    protected override CudaStatus Release() => Driver.StreamDestroy(handle);
}

/// <summary>A mark in a stream that others can wait for.</summary>
internal sealed class CudaEvent : CudaHandle
{
    public CudaEvent(ICudaDriver driver, nint context)
        : base(driver, context)
    {
        driver.Check(driver.EventCreate(out nint mark), "no event");
        SetHandle(mark);
    }

    /// <summary>Marks all work that the stream has so far; null is the default stream.</summary>
    public void Record(CudaStream? stream) => Driver.Check(Driver.EventRecord(Value, stream?.Value ?? 0), "mark of an event");

    /// <summary>Lets later work of a stream, null being the default one, begin only after what this event marks.</summary>
    public void Hold(CudaStream? stream) => Driver.Check(Driver.StreamWaitEvent(stream?.Value ?? 0, Value), "wait for an event");

    protected override CudaStatus Release() => Driver.EventDestroy(handle);
}
