using Nibble.Kernels.Cuda;
using Nibble.Kernels.Paging;

namespace Nibble.Kernels.Tests.Paging;

public class PageSchedulerTests
{
    private const int Pages = 7;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(20)]
    public void Every_page_is_used_once_a_sweep_whatever_the_memory_and_the_order_of_the_queues(int capacity) =>
        Assert.All(Enumerable.Range(0, 50), seed => Assert.Equal(Enumerable.Repeat(4, Pages), Sweep(new RandomGpu(Pages, capacity, seed), 4)));

    [Fact]
    public void Pages_that_fit_stay()
    {
        var gpu = new RandomGpu(Pages, Pages, seed: 1);
        Sweep(gpu, 5);
        Assert.Equal(Pages, gpu.Loads);
        Assert.True(gpu.AllFree);
    }

    [Fact]
    public void Where_some_do_not_fit_those_used_last_are_still_there()
    {
        var gpu = new RandomGpu(Pages, 4, seed: 1);
        Sweep(gpu, 5);
        // Each sweep after the first finds four pages of the one before it, and those come first.
        Assert.Equal(Pages + (4 * (Pages - 4)), gpu.Loads);
    }

    [Fact]
    public void The_page_used_longest_ago_makes_room()
    {
        var gpu = new RandomGpu(Pages, Pages, seed: 1);
        using var scheduler = new PageScheduler(gpu);
        scheduler.Sweep((_, memory) => gpu.Increment(memory));
        scheduler.Release();
        gpu.Capacity = 3;
        var order = new List<int>();
        scheduler.Sweep((page, memory) => order.Add(page));
        int loads = gpu.Loads;
        // The second sweep went down to page 0, so that 2, 1 and 0 are there.
        scheduler.Sweep((page, memory) =>
        {
            if (page < 2)
            {
                Assert.Equal(loads + Math.Max(0, page + 1 - 2), gpu.Loads);
            }
        });
        Assert.Equal([6, 5, 4, 3, 2, 1, 0], order);
    }

    [Fact]
    public void Memory_that_comes_free_between_sweeps_is_taken()
    {
        var gpu = new RandomGpu(Pages, 2, seed: 1);
        using var scheduler = new PageScheduler(gpu);
        void Once() => scheduler.Sweep((_, memory) => gpu.Increment(memory));
        Once();
        gpu.Capacity = Pages;
        Once();
        int loads = gpu.Loads;
        Once();
        Assert.Equal(loads, gpu.Loads);
    }

    [Theory]
    [InlineData(nameof(PageQueue.Compute), nameof(PageQueue.Incoming))]
    [InlineData(nameof(PageQueue.Outgoing), nameof(PageQueue.Compute))]
    [InlineData(nameof(PageQueue.Incoming), nameof(PageQueue.Outgoing))]
    public void A_scheduler_without_one_of_the_waits_would_be_found_out(string queue, string awaited)
    {
        (PageQueue, PageQueue) planted = (Enum.Parse<PageQueue>(queue), Enum.Parse<PageQueue>(awaited));
        Assert.Contains(
            Enumerable.Range(0, 50), seed => !Sweep(new RandomGpu(Pages, 3, seed) { Planted = planted }, 4).SequenceEqual(Enumerable.Repeat(4, Pages)));
    }

    [Fact]
    public void A_sweep_that_fails_leaves_what_was_done_and_the_rest_as_it_was() => Assert.All(Enumerable.Range(0, 1000), seed =>
    {
        var gpu = new RandomGpu(Pages, 3, seed);
        using var scheduler = new PageScheduler(gpu);
        scheduler.Sweep((_, memory) => gpu.Increment(memory));
        scheduler.Release();
        Assert.Throws<TimeoutException>(() => scheduler.Sweep((page, memory) =>
        {
            gpu.Increment(memory);
            if (page == 4)
            {
                throw new TimeoutException("on purpose");
            }
        }));
        scheduler.Release();
        Assert.Equal([1, 1, 1, 1, 2, 2, 2], gpu.Host);
    });

    [Fact]
    public void Not_even_one_page_is_an_error()
    {
        using var scheduler = new PageScheduler(new RandomGpu(Pages, 0, seed: 1));
        Assert.True(Assert.Throws<CudaException>(() => scheduler.Sweep((_, _) => { })).IsOutOfMemory);
    }

    private static int[] Sweep(RandomGpu gpu, int times)
    {
        using var scheduler = new PageScheduler(gpu);
        for (int i = 0; i < times; i++)
        {
            scheduler.Sweep((_, memory) => gpu.Increment(memory));
        }

        scheduler.Release();
        return gpu.Host;
    }
}
