using Nibble.Kernels.Cuda;
using Nibble.Kernels.Paging;
using Nibble.Tests;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Tests.Paging;

/// <summary>The paged optimizer on an emulated GPU against the unpaged one there.</summary>
public class PagedAdamWTests
{
    private static readonly long[] Sizes = [300, 1, 2048, 700, 256];

    [Theory]
    [InlineData(false, 0, ScalarType.Float32)]
    [InlineData(true, 0, ScalarType.BFloat16)]
    [InlineData(false, 2, ScalarType.BFloat16)]
    [InlineData(true, 2, ScalarType.Float32)]
    public void Parameters_and_states_equal_the_unpaged_ones_to_the_bit(bool eightBit, int pagesThatFit, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(1, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        Tensor[] expected = [.. Sizes.Select(size => randn(size, dtype))];
        Tensor[][] states = [.. expected.Select(parameter => Unpaged(parameter, eightBit))];
        Tensor[] paged = [.. expected.Select(parameter => parameter.clone())];
        using var optimizer = new PagedAdamW(device, paged, eightBit, pageElements: 512);
        int allocations = witness.Calls(nameof(ICudaDriver.MemAlloc));
        for (int step = 1; step <= 4; step++)
        {
            AdamW update = new(1e-2, 0.9, 0.999, 1e-8, 0.1, 1, step) { Rounding = new AdamW.StochasticRounding(7, 3, First: 0) };
            Tensor?[] gradients = [.. Sizes.Select((size, i) => i == 3 && step == 2 ? null : randn(size))];
            for (int i = 0; i < Sizes.Length; i++)
            {
                if (gradients[i] is { } gradient && eightBit)
                {
                    update.Update(expected[i], gradient, new AdamW.EightBitState(states[i][0], states[i][1], states[i][2], states[i][3]));
                }
                else if (gradients[i] is { } slope)
                {
                    update.Update(expected[i], slope, states[i][0], states[i][1]);
                }
            }

            if (pagesThatFit > 0)
            {
                witness.RefuseWhen = (function, call) =>
                    function == nameof(ICudaDriver.MemAlloc) && call > allocations + pagesThatFit ? CudaStatus.OutOfMemory : CudaStatus.Success;
            }

            optimizer.Update(gradients, _ => update);
        }

        const int Pages = 8;
        int copies = witness.Calls(nameof(ICudaDriver.MemcpyHtoDAsync)) / states[0].Length;
        Assert.Equal(pagesThatFit > 0 ? Pages + (3 * (Pages - pagesThatFit)) : Pages, copies);
        for (int i = 0; i < Sizes.Length; i++)
        {
            Assert.Equal(expected[i].bytes.ToArray(), paged[i].bytes.ToArray());
            Assert.All(states[i].Zip(optimizer.StatesOf(i)), pair => Assert.Equal(pair.First.bytes.ToArray(), pair.Second.bytes.ToArray()));
        }
    }

    [Fact]
    public void States_written_on_the_host_are_those_of_the_next_update()
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(0, out _);
        using var emulation = new EmulatedGpu(device);
        Tensor parameter = zeros(10);
        using var optimizer = new PagedAdamW(device, [parameter], eightBit: false, pageElements: 512);
        var update = new AdamW(1, 0.5, 0.5, 0, 0, 1, 1);
        optimizer.Update([ones(10)], _ => update);
        foreach (Tensor state in optimizer.StatesOf(0))
        {
            state.fill_(4);
        }

        optimizer.Update([ones(10)], _ => update);
        Assert.Equal(2.5f, optimizer.StatesOf(0)[0][9].item<float>());
    }

    [Fact]
    public void Memory_that_is_missing_on_either_side_is_named()
    {
        using DisposeScope scope = NewDisposeScope();
        CudaDevice device = EmulatedCuda.Open(0, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        Tensor parameter = zeros(300);
        witness.Refusals[nameof(ICudaDriver.MemHostAlloc)] = CudaStatus.OutOfMemory;
        Assert.StartsWith(
            "paged AdamW states of 512 elements: no 2,048 bytes of pinned host memory: ",
            Assert.Throws<CudaException>(() => PagedAdamW.For([parameter], eightBit: false)).Message,
            StringComparison.Ordinal);
        witness.Refusals.Clear();
        using var optimizer = new PagedAdamW(device, [parameter], eightBit: false, pageElements: 512);
        witness.Refusals[nameof(ICudaDriver.MemAlloc)] = CudaStatus.OutOfMemory;
        void Update() => optimizer.Update([ones(300)], _ => new AdamW(1, 0.5, 0.5, 0, 0, 1, 1));
        Assert.Equal("paging: no GPU memory for one page of 4096 bytes", Assert.Throws<CudaException>(Update).Message);
        witness.Refusals.Clear();
        Update();
        Assert.Equal(-1, parameter[299].item<float>(), 1e-5f);
    }

    [Fact]
    public void On_the_CPU_there_is_nothing_to_page() => Assert.Null(PagedAdamW.For([zeros(4)], eightBit: true));

    private static Tensor[] Unpaged(Tensor parameter, bool eightBit)
    {
        if (!eightBit)
        {
            return [zeros(parameter.NumberOfElements), zeros(parameter.NumberOfElements)];
        }

        AdamW.EightBitState zero = AdamW.EightBitState.Zero(parameter.NumberOfElements);
        return [zero.Codes1, zero.Codes2, zero.Absmax1, zero.Absmax2];
    }
}
