using Nibble.Serving.Store;

namespace Nibble.Serving.Api;

/// <summary>Pauses and cancels jobs, and waits a while until their workers are gone.</summary>
internal static class JobStop
{
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(5);

    /// <returns>The job, whose wish is still to be done where that takes its time; null where there is none. And whether it could be stopped.</returns>
    public static async Task<(Job? Job, bool Accepted)> WaitAsync(string id, JobWish wish, JobStore store, CancellationToken cancellation)
    {
        (Job? job, bool accepted) = await store.WishAsync(id, wish).ConfigureAwait(false);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(LongestWait);
        while (accepted)
        {
            Task changed = store.Changed; // Taken before looking, so that no change is missed.
            job = (await store.FindAsync(id, cancellation).ConfigureAwait(false))!;
            if (job.Wish is null || patience.IsCancellationRequested)
            {
                break;
            }

            await JobStore.WaitAsync(changed, patience.Token).ConfigureAwait(false);
        }

        return (job, accepted);
    }
}
