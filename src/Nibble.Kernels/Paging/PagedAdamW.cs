using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Paging;

/// <summary>
/// The states of <see cref="AdamW"/> for parameters on a GPU, kept in pinned host memory and paged to the GPU for each
/// update (QLoRA's paged optimizer, arXiv:2305.14314, with explicit copies in place of managed memory).
/// </summary>
public sealed class PagedAdamW : IDisposable
{
    /// <summary>Bytes of a page, about: long enough for the bus to reach its speed, short enough for two to find room.</summary>
    private const long PageBytes = 16 << 20;

    private readonly IReadOnlyList<Tensor> parameters;
    private readonly bool eightBit;
    private readonly long pageElements;
    private readonly PinnedMemory[] arrays;
    private readonly PageScheduler scheduler;

    /// <summary>Where each parameter's states begin, in elements of the arrays; then their end.</summary>
    private readonly long[] starts;

    internal PagedAdamW(CudaDevice gpu, IReadOnlyList<Tensor> parameters, bool eightBit, long pageElements)
    {
        this.parameters = parameters;
        this.eightBit = eightBit;
        this.pageElements = pageElements;
        starts = new long[parameters.Count + 1];
        for (int i = 0; i < parameters.Count; i++)
        {
            starts[i + 1] = starts[i] + (Blocks(parameters[i].NumberOfElements) * AdamW.StateBlock);
        }

        try
        {
            arrays = [.. BytesOf(starts[^1]).Select(gpu.AllocatePinned)];
        }
        catch (CudaException exception)
        {
            throw new CudaException($"paged AdamW states of {starts[^1]} elements: {exception.Message}", exception.Status, exception);
        }

        Array.ForEach(arrays, array => array.Clear());
        scheduler = new PageScheduler(new CudaPages(gpu, arrays, BytesOf(pageElements)));
    }

    /// <summary>Zero states for parameters, all float32 or bfloat16, contiguous and on one device; null on the CPU, whose memory is the host's.</summary>
    /// <exception cref="CudaException">There is not enough pinned memory.</exception>
    public static PagedAdamW? For(IReadOnlyList<Tensor> parameters, bool eightBit)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        return parameters.Count > 0 && CudaDevice.Of(parameters[0]) is { } gpu
            ? new PagedAdamW(gpu, parameters, eightBit, PageBytes / (eightBit ? 2 : 8))
            : null;
    }

    /// <summary>Updates every parameter that has a gradient.</summary>
    /// <param name="gradients">One for each parameter, contiguous; null for none.</param>
    /// <param name="updateOf">The update of a parameter, by its number.</param>
    public void Update(IReadOnlyList<Tensor?> gradients, Func<int, AdamW> updateOf)
    {
        ArgumentNullException.ThrowIfNull(gradients);
        ArgumentNullException.ThrowIfNull(updateOf);
        scheduler.Sweep((page, memory) =>
        {
            long begin = page * pageElements;
            for (int i = FirstIn(begin); i < parameters.Count && starts[i] < begin + pageElements; i++)
            {
                // Elements of the parameter that lie in the page: pages and parameters both begin at a state block.
                long from = Math.Max(begin, starts[i]);
                long count = Math.Min(begin + pageElements, starts[i] + parameters[i].NumberOfElements) - from;
                if (count > 0 && gradients[i] is { } gradient)
                {
                    updateOf(i).Update(parameters[i], gradient, from - starts[i], count, StatesAt(((DeviceMemory)memory).Value, from - begin), eightBit);
                }
            }
        });
    }

    /// <summary>
    /// A parameter's states on the host, as views that can be written: the two moments in float32, or, in eight bits, the
    /// parts of <see cref="AdamW.EightBitState"/>. Valid until the next update.
    /// </summary>
    public IReadOnlyList<Tensor> StatesOf(int parameter)
    {
        Release();
        long count = parameters[parameter].NumberOfElements;
        return
        [
            .. BytesOf(starts[parameter]).Select((start, i) => eightBit
                ? TensorMemory.FromBuffer(arrays[i], start, [i < 2 ? count : Blocks(count)], i < 2 ? ScalarType.Byte : ScalarType.Float32)
                : TensorMemory.FromBuffer(arrays[i], start, parameters[parameter].shape, ScalarType.Float32)),
        ];
    }

    /// <summary>Writes all states back to the host and frees the GPU memory that they hold; the next update fetches them again.</summary>
    /// <returns>Whether they held any.</returns>
    public bool Release() => scheduler.Release();

    /// <inheritdoc/>
    public void Dispose()
    {
        scheduler.Dispose();
        Array.ForEach(arrays, array => array.Dispose());
    }

    private static long Blocks(long count) => (count + AdamW.StateBlock - 1) / AdamW.StateBlock;

    /// <summary>Bytes that the states of whole blocks take in each array.</summary>
    private long[] BytesOf(long elements) => eightBit
        ? [elements, elements, elements / AdamW.StateBlock * sizeof(float), elements / AdamW.StateBlock * sizeof(float)]
        : [elements * sizeof(float), elements * sizeof(float)];

    /// <summary>Addresses of an element's states in a page: the arrays' ranges lie one behind the other.</summary>
    private nint[] StatesAt(nint page, long element)
    {
        long[] ranges = BytesOf(pageElements);
        long[] offsets = BytesOf(element);
        return [.. offsets.Select((offset, i) => page + (nint)(ranges.Take(i).Sum() + offset))];
    }

    /// <summary>The parameter that an element belongs to.</summary>
    private int FirstIn(long element)
    {
        int found = Array.BinarySearch(starts, element);
        return found >= 0 ? found : ~found - 1;
    }
}
