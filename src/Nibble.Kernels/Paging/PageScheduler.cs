using Nibble.Kernels.Cuda;

namespace Nibble.Kernels.Paging;

/// <summary>
/// Brings pages of host memory to a GPU, one after another, each while the one before it is in use, and back. Pages stay
/// there as long as memory allows; when an allocation fails, the one that was used longest ago makes room.
/// </summary>
internal sealed class PageScheduler : IDisposable
{
    private readonly IPageDevice device;
    private readonly Page[] pages;

    /// <summary>Pages on the GPU, the one that was used longest ago first.</summary>
    private readonly List<Page> resident = [];
    private bool full;
    private bool backwards;

    /// <summary>Takes over the device.</summary>
    public PageScheduler(IPageDevice device)
    {
        this.device = device;
        pages = [.. Enumerable.Range(0, device.Pages).Select(index => new Page(index, device.CreateMark(), device.CreateMark(), device.CreateMark()))];
    }

    /// <summary>Hands every page once, with its device memory, to <paramref name="use"/>, which queues work that may change it.</summary>
    /// <exception cref="CudaException">There is not even memory for one page.</exception>
    public void Sweep(Action<int, IDisposable> use)
    {
        // There and back in turn: where pages do not all fit, those used last, which are still there, come first.
        Page[] order = backwards ? [.. pages.Reverse()] : pages;
        backwards = !backwards;
        full = false;
        for (int i = 0; i < order.Length; i++)
        {
            Page page = order[i];
            if (!TryBring(page, inUse: null))
            {
                throw new CudaException($"paging: no GPU memory for one page of {device.PageBytes} bytes", CudaStatus.OutOfMemory);
            }

            if (i + 1 < order.Length)
            {
                TryBring(order[i + 1], inUse: page);
            }

            device.Wait(PageQueue.Compute, page.Loaded);
            try
            {
                use(page.Index, page.Memory!);
            }
            finally
            {
                device.Record(page.Used, PageQueue.Compute);
            }

            resident.Remove(page);
            resident.Add(page);
        }
    }

    /// <summary>Writes all pages back and frees their device memory; the host's copies are the valid ones now.</summary>
    /// <returns>Whether there was any.</returns>
    public bool Release()
    {
        bool any = resident.Count > 0;
        resident.ForEach(Save);
        device.Finish();
        FreeMemory();
        return any;
    }

    public void Dispose()
    {
        FreeMemory();
        foreach (Page page in pages)
        {
            page.Loaded.Dispose();
            page.Used.Dispose();
            page.Saved.Dispose();
        }

        device.Dispose();
    }

    /// <summary>False when there is no memory, that of the page in use excepted.</summary>
    private bool TryBring(Page page, Page? inUse)
    {
        if (page.Memory is not null)
        {
            return true;
        }

        page.Memory = Allocate() ?? Evict(inUse);
        if (page.Memory is null)
        {
            return false;
        }

        device.Load(page.Index, page.Memory);
        device.Record(page.Loaded, PageQueue.Incoming);
        resident.Add(page);
        return true;
    }

    /// <summary>Asks once a sweep: a failed allocation takes long, and the next would fail as well.</summary>
    private IDisposable? Allocate()
    {
        IDisposable? memory = full ? null : device.TryAllocate();
        full = memory is null;
        return memory;
    }

    private IDisposable? Evict(Page? inUse)
    {
        if (resident.Find(page => page != inUse) is not { } victim)
        {
            return null;
        }

        // All that comes in later waits for this copy: what takes the memory over, and the page itself when it returns.
        Save(victim);
        device.Wait(PageQueue.Incoming, victim.Saved);
        resident.Remove(victim);
        IDisposable? memory = victim.Memory;
        victim.Memory = null;
        return memory;
    }

    private void Save(Page page)
    {
        device.Wait(PageQueue.Outgoing, page.Loaded); // Where a sweep failed, a page may have come and not been used.
        device.Wait(PageQueue.Outgoing, page.Used);
        device.Save(page.Index, page.Memory!);
        device.Record(page.Saved, PageQueue.Outgoing);
    }

    private void FreeMemory()
    {
        foreach (Page page in resident)
        {
            page.Memory!.Dispose();
            page.Memory = null;
        }

        resident.Clear();
    }

    /// <summary>A page, and the marks behind its copy to the GPU, its use there, and its copy back.</summary>
    private sealed class Page(int index, IDisposable loaded, IDisposable used, IDisposable saved)
    {
        public int Index => index;

        public IDisposable Loaded => loaded;

        public IDisposable Used => used;

        public IDisposable Saved => saved;

        /// <summary>Where it lies on the GPU; null when it does not.</summary>
        public IDisposable? Memory { get; set; }
    }
}
