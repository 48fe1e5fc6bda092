using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>
/// Sums gradients over all processes, bucket by bucket: one is under way while the backward pass makes those of the next. Without shares every process
/// gets the sums (all-reduce); with them each gets those of its own (reduce-scatter), once a step or, from ZeRO 2 on, after each pass, so that no
/// process keeps the others'. Gradients in bfloat16 are sent as they are, and summed in float32. What is summed after each pass is added in the order
/// in which one process adds its passes' gradients.
/// </summary>
/// <param name="world">The processes.</param>
/// <param name="layout">Where the parameters lie.</param>
/// <param name="parameters">Those of the layout.</param>
/// <param name="stage">ZeRO's.</param>
/// <param name="eachPass">Whether gradients are summed after each pass also where the stage does not need it.</param>
/// <param name="overlaps">Whether a bucket may be under way while another is made.</param>
/// <param name="shares">The shares of each bucket; none in stage 0.</param>
/// <param name="summed">Takes parameters, or this process's parts of them, whose gradients are those of the whole step; null where all wait for its end.</param>
internal sealed class GradientReducer(
    ICommunicator world, FlatLayout layout, IReadOnlyList<Parameter> parameters, int stage, bool eachPass, bool overlaps, IReadOnlyDictionary<Bucket, ShardedBucket> shares,
    Action<IEnumerable<Parameter>>? summed = null)
{
    /// <summary>Kept, because the collector may free a scalar that nobody holds while libtorch reads it.</summary>
    private static readonly Scalar One = 1;

    private readonly bool sharesEachPass = stage > 1 || (stage == 1 && eachPass);

    /// <summary>What the passes before came to, in float32 whatever their dtype: this process's gradients or, where each pass is summed, those of its share.</summary>
    private readonly Dictionary<Bucket, Tensor> earlier = [];
    private Queue<Bucket> unsent = [];
    private Action receive = Nothing;
    private bool isLast;

    /// <summary>Begins one of a step's passes, of which all processes make as many.</summary>
    public void BeginPass(bool last)
    {
        isLast = last;
        if (stage > 0 || (world.Size > 1 && (last || eachPass)) || (summed is not null && last))
        {
            unsent = new Queue<Bucket>(layout.Buckets.OrderByDescending(bucket => bucket.Unit));
        }
    }

    /// <summary>Sends the gradients that are complete when a unit's backward pass is through.</summary>
    public void UnitFinished(int unit)
    {
        while (unsent.TryPeek(out Bucket? bucket) && bucket.Unit >= unit)
        {
            Send(unsent.Dequeue());
        }
    }

    /// <summary>Ends a pass, which this process may have had no micro-batch for.</summary>
    public void EndPass()
    {
        UnitFinished(0);
        Receive();
    }

    /// <summary>Forgets what was summed so far.</summary>
    public void Drop()
    {
        foreach (Tensor flat in earlier.Values)
        {
            flat.Dispose();
        }

        earlier.Clear();
    }

    private static void Nothing()
    {
    }

    /// <summary>Takes in the bucket before, and starts to sum one over all processes: there are never messages of two.</summary>
    private void Send(Bucket bucket)
    {
        if (stage == 0 && world.Size == 1)
        {
            summed!(bucket.Places.Select(place => parameters[place.Parameter]));
            return;
        }

        using Profiler.Scope measured = Profiler.Operator("GradientReduction");
        using IDisposable noGrad = no_grad();
        Receive();
        Tensor flat = Flatten(bucket);
        if (stage > 0 && !sharesEachPass && !isLast)
        {
            earlier[bucket] = flat;
            return;
        }

        long[] counts = layout.Shares(bucket);
        Tensor sums = stage == 0 ? flat
            : sharesEachPass && earlier.Remove(bucket, out Tensor? before) ? before
            : zeros(counts[world.Rank], device: shares[bucket].Home).DetachFromDisposeScope(); // Updates are made where the share lies.
        ICollective pending = stage == 0 ? world.AllReduce(flat) : world.ReduceScatter(flat, counts, sums);
        receive = () =>
        {
            pending.Wait();
            if (sharesEachPass && !isLast)
            {
                earlier[bucket] = sums;
            }
            else
            {
                Give(bucket, sums);
                sums.Dispose();
            }

            flat.Dispose();
        };
        if (!overlaps)
        {
            Receive();
        }
    }

    private void Receive()
    {
        Action pending = receive;
        receive = Nothing;
        pending();
    }

    /// <summary>The gradients of a bucket's parameters end to end, taken from them and added to what there is of earlier passes; zero where this process has none.</summary>
    private Tensor Flatten(Bucket bucket)
    {
        Tensor? flat = null;
        bool summed = stage > 0 && !sharesEachPass && earlier.Remove(bucket, out flat);
        if (!summed && bucket.Places is [(int only, 0, _)] && parameters[only].Value is { grad: { dtype: ScalarType.Float32 } gradient } alone && gradient.is_contiguous())
        {
            alone.grad = null;
            using (gradient)
            {
                return gradient.view(-1).DetachFromDisposeScope();
            }
        }

        bool asTheyAre = stage > 0 && (sharesEachPass || isLast) && bucket.DType == ScalarType.BFloat16; // What passes add up to has more digits.
        flat ??= zeros(bucket.Length, asTheyAre ? ScalarType.BFloat16 : ScalarType.Float32, world.Device).DetachFromDisposeScope();
        foreach ((int number, long offset, long count) in bucket.Places)
        {
            Tensor value = parameters[number].Value;
            using Tensor? own = value.grad;
            if (own is not null)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor place = flat.narrow(0, offset, count);
                Tensor slopes = own.reshape(-1);
                _ = summed ? place.add_(slopes, One) : place.copy_(slopes);
                value.grad = null;
            }
        }

        return flat;
    }

    private void Give(Bucket bucket, Tensor sums)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        if (stage == 0 && !isLast && world.Rank > 0)
        {
            return; // Rank 0, whose gradients are the first to be added, adds its next pass's to the sums.
        }

        if (stage == 0)
        {
            foreach ((int number, long offset, long count) in bucket.Places)
            {
                Tensor value = parameters[number].Value;
                value.grad = sums.narrow(0, offset, count).view(value.shape);
            }

            summed?.Invoke(bucket.Places.Select(place => parameters[place.Parameter]));
            return;
        }

        foreach ((Slice slice, Parameter part) in shares[bucket].Slices)
        {
            part.Value.grad = sums.narrow(0, slice.InShare, slice.Count);
        }

        summed?.Invoke(shares[bucket].Slices.Select(item => item.Part));
    }
}
