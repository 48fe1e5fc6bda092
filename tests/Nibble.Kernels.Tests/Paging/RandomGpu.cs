using Nibble.Kernels.Paging;

namespace Nibble.Kernels.Tests.Paging;

/// <summary>
/// A GPU with pages of one number, whose three queues run at random, one before another only where a mark says so; new
/// memory holds rubbish. What is too early or too late by one wait therefore shows in the numbers.
/// </summary>
internal sealed class RandomGpu(int pages, int capacity, int seed) : IPageDevice
{
    private readonly Random lot = new(seed);
    private readonly Queue<Work>[] queues = [new(), new(), new()];
    private readonly List<Memory> allocated = [];

    /// <summary>The pages on the host.</summary>
    public int[] Host { get; } = new int[pages];

    /// <summary>Pages copied to the GPU so far.</summary>
    public int Loads { get; private set; }

    /// <summary>Leaves out the waits of one queue for another: what a scheduler without them would do.</summary>
    public (PageQueue Queue, PageQueue For)? Planted { get; set; }

    public int Capacity { get; set; } = capacity;

    public int Pages => pages;

    public long PageBytes => sizeof(int);

    public bool AllFree => allocated.Count == 0;

    public IDisposable? TryAllocate()
    {
        if (allocated.Count >= Capacity)
        {
            return null;
        }

        var memory = new Memory(this);
        allocated.Add(memory);
        return memory;
    }

    public void Load(int page, IDisposable memory)
    {
        Loads++;
        Enqueue(PageQueue.Incoming, () => ((Memory)memory).Value = Host[page]);
    }

    public void Save(int page, IDisposable memory) => Enqueue(PageQueue.Outgoing, () => Host[page] = ((Memory)memory).Value);

    /// <summary>A kernel that counts up.</summary>
    public void Increment(IDisposable memory) => Enqueue(PageQueue.Compute, () => ((Memory)memory).Value++);

    public IDisposable CreateMark() => new Mark();

    public void Record(IDisposable mark, PageQueue queue)
    {
        var stand = new Stand(queue);
        ((Mark)mark).Last = stand;
        Enqueue(queue, () => stand.Passed = true);
    }

    public void Wait(PageQueue queue, IDisposable mark)
    {
        if (((Mark)mark).Last is { } stand && Planted != (queue, stand.Queue))
        {
            queues[(int)queue].Enqueue(new Work(() => { }, stand));
        }
    }

    public void Finish()
    {
        while (queues[(int)PageQueue.Outgoing].Count > 0)
        {
            Step();
        }
    }

    public void Dispose()
    {
    }

    private void Enqueue(PageQueue queue, Action action)
    {
        queues[(int)queue].Enqueue(new Work(action, After: null));
        for (int steps = lot.Next(3); steps > 0; steps--)
        {
            Step();
        }
    }

    private void Step()
    {
        Queue<Work>[] able = [.. queues.Where(queue => queue.TryPeek(out Work? work) && work.After is null or { Passed: true })];
        if (able.Length > 0)
        {
            able[lot.Next(able.Length)].Dequeue().Action();
        }
        else
        {
            Assert.All(queues, queue => Assert.Empty(queue)); // Otherwise they wait for each other for ever.
        }
    }

    private sealed record Work(Action Action, Stand? After);

    private sealed class Stand(PageQueue queue)
    {
        public PageQueue Queue => queue;

        public bool Passed { get; set; }
    }

    private sealed class Mark : IDisposable
    {
        public Stand? Last { get; set; }

        public void Dispose()
        {
        }
    }

    private sealed class Memory(RandomGpu gpu) : IDisposable
    {
        public int Value { get; set; } = -1000;

        public void Dispose()
        {
            Value = -1000;
            gpu.allocated.Remove(this);
        }
    }
}
