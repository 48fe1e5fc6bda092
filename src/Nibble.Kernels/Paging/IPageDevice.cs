namespace Nibble.Kernels.Paging;

/// <summary>Queues of a GPU's work; each runs in order, beside the others.</summary>
internal enum PageQueue
{
    /// <summary>Where kernels run: the default stream.</summary>
    Compute,

    /// <summary>Copies from the host.</summary>
    Incoming,

    /// <summary>Copies to the host. Apart from the incoming ones, since the bus carries both at once.</summary>
    Outgoing,
}

/// <summary>What <see cref="PageScheduler"/> needs of a GPU: memory for pages, copies of them, and marks between queues.</summary>
internal interface IPageDevice : IDisposable
{
    /// <summary>Pages that there are on the host.</summary>
    int Pages { get; }

    /// <summary>Bytes of a page.</summary>
    long PageBytes { get; }

    /// <summary>Device memory for one page; null when there is none left.</summary>
    IDisposable? TryAllocate();

    /// <summary>Queues the copy of a page into device memory.</summary>
    void Load(int page, IDisposable memory);

    /// <summary>Queues the copy of a page back to the host.</summary>
    void Save(int page, IDisposable memory);

    /// <summary>A mark that stands nowhere yet.</summary>
    IDisposable CreateMark();

    /// <summary>Sets a mark behind the queue's work so far.</summary>
    void Record(IDisposable mark, PageQueue queue);

    /// <summary>Lets the queue's later work begin only after what is before the mark; a mark that stands nowhere holds nothing.</summary>
    void Wait(PageQueue queue, IDisposable mark);

    /// <summary>Blocks until the copies to the host are done.</summary>
    void Finish();
}
